"""How many planted secrets are found, and how much that is none: on files of many shapes, made from a seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.health_check import Checkout
from models.report import Severity
from tasks.result_cache import ResultCache
from tasks.scan import leaks
from tasks.scan.contents import digests_of
from tasks.scan.leaks import find_leaks
from tasks.scan.looked import Looked
from tasks.scan.secret_worth import is_made_up
from tasks.scan.sources import list_sources
from tests.scan.corpus import NAMED, ODD, SECRETS, Maker, look_alikes, planted, write

SEED = 20_261_121


async def looked(root: Path) -> Looked:
    sources = await list_sources(Checkout(name="app", path=root), timeout_s=20)
    digests = digests_of(sources.root, sources.files)
    found, _ = await find_leaks(sources, "salt", digests=digests, cache=ResultCache(None), timeout_s=60)
    return found


async def test_recall_and_precision_on_planted_secrets_and_look_alikes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets, others = planted(SEED), look_alikes(SEED)
    write(tmp_path, [*secrets, *others])
    found = await looked(tmp_path)
    told: dict[str, list[str]] = {}
    for finding in found.findings:
        if finding.severity.rank >= Severity.medium.rank:
            told.setdefault(str(finding.evidence["file"]), []).append(str(finding.evidence["type"]))
    missed = [one.kind for one in secrets if one.name not in told]
    wrong = [f"{one.kind}: {kind}" for one in others for kind in told.get(one.name, ())]
    right = sum(len(told.get(one.name, ())) for one in secrets)
    recall, precision = 1 - len(missed) / len(secrets), right / (right + len(wrong))
    with capsys.disabled():
        kinds = len(SECRETS) + len(NAMED) + len(ODD) + 2
        print(
            f"\n{len(secrets)} planted secrets of {kinds} kinds, {len(others)} look-alikes: "
            f"recall {recall:.3f}, precision {precision:.3f}; missed {missed}, wrong {wrong}"
        )
    assert recall >= 0.95
    assert precision >= 0.9
    assert found.skipped == ()
    everything = "".join(finding.model_dump_json() for finding in found.findings)
    assert not [one.kind for one in secrets if one.value[-12:] in everything]


async def test_keys_of_different_bodies_are_different_secrets_and_a_head_alone_is_hardly_one(tmp_path: Path) -> None:
    maker = Maker(SEED)
    first, second = (maker.pem("EC " + "PRIVATE KEY", 120) for _ in range(2))
    head = "-----BEGIN EC " + "PRIVATE KEY-----"
    for name, text in (("a", first), ("b", second), ("c", f"{first}\n# moved\n"), ("d", f"if '{head}' in text: pass")):
        (tmp_path / f"{name}.txt").write_text(text)
    found = {str(one.evidence["file"])[0]: one for one in (await looked(tmp_path)).findings}
    assert found["a"].evidence["fingerprint"] == found["c"].evidence["fingerprint"]
    assert found["a"].evidence["fingerprint"] != found["b"].evidence["fingerprint"]
    assert [found[name].severity for name in "abd"] == [Severity.high, Severity.high, Severity.low]


async def test_a_file_whose_name_is_no_text_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"odd-\xff.txt")).write_text(SECRETS["GitHub"](Maker(SEED)))
    (finding,) = (await looked(tmp_path)).findings
    assert finding.evidence["file"] == "odd-\\xff.txt"


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import secret_engine, random, re
from secret_search import LineSearch
with secret_engine.ready():
    search = secret_engine._search()
    patterns = [pattern for pattern, needles, _ in search._patterns if needles]
    chance = random.Random(int(sys.argv[2]))
    lines = open(sys.argv[3], encoding="utf-8").read().split("\\f")
    for _ in range(150):
        part = [line + "\\n" for line in chance.choices(lines, k=6)]
        slow = {n for n, line in enumerate(part) if any(p.search(line.rstrip()) for p, _, _ in search._patterns)}
        assert search.lines(part) == slow, part
    print(len(patterns))
"""


def test_the_search_for_letters_leaves_out_no_line_that_a_pattern_matches(tmp_path: Path) -> None:
    maker = Maker(SEED)
    lines = [line for one in planted(SEED)[:60] for line in one.content.decode("utf-8", "ignore").splitlines()]
    lines += [
        "pa\u017f\u017fword = 'x1y2z3a4b5'",
        "\u212aEY",
        "\u0130\u0131",
        "\u1e9e password: 'a'",
        "",
        maker.text("aA0-_=:'\"", 90),
    ]
    (tmp_path / "lines").write_text("\f".join(line for line in lines if len(line) < 400), encoding="utf-8")
    folder = str(Path(leaks.__file__).parent)
    command = [sys.executable, "-c", PROGRAM, folder, str(SEED), str(tmp_path / "lines")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 60


@given(st.text(max_size=200), st.sampled_from(["Secret Keyword", "JSON Web Token", "GitHub Token"]))
def test_whether_a_value_is_made_up_can_be_said_of_any(value: str, kind: str) -> None:
    assert is_made_up(kind, value) in {True, False}
