"""Secrets, risky code and custom rules in planted trees, with the real engines; no value ever leaves them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import ConfigurationError
from models.health_check import Checkout
from models.report import Severity
from tasks.result_cache import ResultCache
from tasks.scan import leaks as leaks_module
from tasks.scan.contents import digests_of
from tasks.scan.leaks import find_leaks
from tasks.scan.looked import Looked
from tasks.scan.modes import look_at_checkout, look_at_home
from tasks.scan.risky_code import find_risky_code
from tasks.scan.rules import RuleBook, apply_rules, glob_pattern, load_rules, rules_or_skip
from tasks.scan.sources import Sources, list_sources
from tests.programs import require

ENGINE = Path(leaks_module.__file__).with_name("secret_engine.py")
GUESSED = {"Secret Keyword", "Base64 High Entropy String", "Hex High Entropy String"}
LETTERS = "Zx8Qp2Lm9Vk4Rt7Wn3Yc6Bd1Hf5Jg0SaTuEiOoNrMwKqPzXvCyDhFlGjUbA"
PLANTED = {  # put together here, so that this file itself holds none
    "letta": "sk-let-" + LETTERS[:48],
    "gemini": "AI" + "za" + LETTERS[:35],
    "notion": "ntn_" + "58305912746" + LETTERS[:35],
    "old_notion": "secret" + "_" + LETTERS[:43],
    "taskade": "tskdp_" + LETTERS[:40],
    "prefect": "pnu_" + LETTERS[:36],
    "github": "ghp_" + LETTERS[:36],
    "aws": "AKIA" + "Q2L7ZX8PM9VK4RTW",
}


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def git(root: Path, *arguments: str) -> None:
    require("git")
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)


async def sources(root: Path, **more: Any) -> Sources:
    return await list_sources(Checkout(name="app", path=root, **more), timeout_s=20)


async def leaks(root: Path) -> Looked:
    return await leaks_in(await sources(root), "salt")


async def leaks_in(listed: Sources, salt: str, *, timeout_s: float = 60) -> Looked:
    digests = digests_of(listed.root, listed.files)
    looked, _ = await find_leaks(listed, salt, digests=digests, cache=ResultCache(None), timeout_s=timeout_s)
    return looked


async def code_in(listed: Sources, *, timeout_s: float = 60) -> Looked:
    digests = digests_of(listed.root, listed.files)
    return await find_risky_code(listed, digests=digests, cache=ResultCache(None), timeout_s=timeout_s)


async def test_every_planted_secret_is_found_and_no_value_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    write(tmp_path, {f"{name}.txt": f"first line\nvalue: {value}\n" for name, value in PLANTED.items()})
    write(tmp_path, {"latin.txt": f"caf\xe9 {PLANTED['github']}".encode("latin-1")})
    write(tmp_path, {"wide.txt": f"x {PLANTED['github']}\n".encode("utf-16")})
    found = await leaks(tmp_path)
    assert found.skipped == ()
    places = {finding.evidence["file"]: finding for finding in found.findings}
    assert set(places) == {*(f"{name}.txt" for name in PLANTED), "latin.txt", "wide.txt"}
    assert {finding.severity for finding in found.findings} == {Severity.high}
    assert places["letta.txt"].evidence["lines"] == [2]
    told = "".join(finding.model_dump_json() for finding in found.findings) + caplog.text + "".join(capfd.readouterr())
    for value in PLANTED.values():
        assert value not in told
        assert value[:12] not in told


async def test_two_tokens_of_one_kind_are_two_and_one_token_is_one(tmp_path: Path) -> None:
    token, other = PLANTED["github"], PLANTED["github"][::-1].swapcase()[:36]
    write(tmp_path, {"a.py": f'password = "{token}"\nagain = "{token}"\nother = "ghp_{other}"\n'})
    found = (await leaks(tmp_path)).findings
    assert sorted(tuple(finding.evidence["lines"]) for finding in found) == [(1, 2), (3,)]
    assert {finding.evidence["type"] for finding in found} == {"GitHub Token"}


async def test_look_alikes_are_left_alone(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.py": f'key = "{PLANTED["github"]}"  # pragma: allowlist secret\n',
            "b.py": f"# pragma: allowlist nextline secret\nkey = '{PLANTED['github']}'\n",
            "c.py": "password = get_password()\nsecret = os.environ['SECRET']\napi_key = settings.api_key\n",
            "d.yaml": "password: ${PASSWORD}\nsecret: {{ vault }}\n",
            "uv.lock": f'hash = "{PLANTED["github"]}"\n',
            "package-lock.json": json.dumps({"integrity": PLANTED["aws"]}),
            "picture.png": b"\x89PNG\0\0" + PLANTED["aws"].encode(),
        },
    )
    found = await leaks(tmp_path)
    (allowed,) = found.findings
    assert allowed.key == "security.secret_hidden:app"
    assert found.skipped == ()
    assert found.metrics is not None
    assert found.metrics["security_binary_files_total"] == 1


async def test_what_comments_hide_is_counted_and_its_value_is_not_told(tmp_path: Path) -> None:
    allow = "pragma: allowlist"
    write(
        tmp_path,
        {
            "a.py": f'key = "{PLANTED["github"]}"  # {allow} secret\nplain = "x"  # {allow} secret\n',
            "b.yaml": f"# {allow} nextline secret\nkey: {PLANTED['github']}\nother: {PLANTED['aws']}\n",
            "c.py": "import os\nos.chmod('a', 0o777)  # nosec\nx = eval(y)  # nosec B307\nassert x  # nosec\n",
        },
    )
    listed = await sources(tmp_path)
    found = {finding.key: finding for finding in (*(await leaks(tmp_path)).findings, *(await code_in(listed)).findings)}
    secrets, code = found["security.secret_hidden:app"], found["security.code_hidden:app"]
    assert secrets.evidence == {"places": ["a.py:1", "b.yaml:2"], "types": ["GitHub Token"]}
    assert code.evidence == {"places": ["c.py:2", "c.py:3"], "tests": ["B103", "B307"]}
    assert {secrets.severity, code.severity} == {Severity.info}
    assert PLANTED["github"] not in str(found)


async def test_the_key_of_a_secret_stays_when_it_moves_and_depends_on_the_salt(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": f"x {PLANTED['github']}\n"})
    before = (await leaks(tmp_path)).findings[0].key
    write(tmp_path, {"a.txt": f"\n\n\nx {PLANTED['github']}\nagain {PLANTED['github']}\n"})
    after = (await leaks(tmp_path)).findings
    other = await leaks_in(await sources(tmp_path), "another salt")
    assert [finding.key for finding in after] == [before]
    assert after[0].evidence["lines"] == [4, 5]
    assert other.findings[0].key != before


def _by_detect_secrets(root: Path, names: list[str]) -> dict[str, set[tuple[int, str]]]:
    """What detect-secrets by itself finds in files, in a process of its own: its settings are global."""
    program = """if True:
        import sys, json
        sys.path.insert(0, sys.argv[1])
        import secret_engine
        from detect_secrets.core.scan import scan_file
        with secret_engine._configured():
            print(json.dumps([[[s.line_number, s.type] for s in scan_file(name)] for name in sys.argv[2:]]))
    """
    folder = str(ENGINE.parent)
    command = [sys.executable, "-c", program, folder, *names]
    done = subprocess.run(command, capture_output=True, check=True, cwd=root)
    return {
        name: {(line, kind) for line, kind in told} for name, told in zip(names, json.loads(done.stdout), strict=True)
    }


def test_the_fast_search_finds_exactly_what_detect_secrets_finds(tmp_path: Path) -> None:
    import random

    chance = random.Random(7)
    lines = [
        *(f"{name} = '{value}'" for name, value in PLANTED.items()),
        *(f'password: "{word}"' for word in ("hunter2", "x", "abcdefgh1234", "<fill in>", "${HOME}")),
        "url = 'postgres://user:pa55w0rd@host/db'",
        'digest = "' + "0123456789abcdef" * 4 + '"',
        'digest = "' + "c0ffee42deadbeef9137" * 2 + '"',
        'blob = "' + LETTERS + '"',
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "# pragma: allowlist nextline secret",
        "if secret == 'x9y8z7w6v5u4': # pragma: allowlist secret",
        *("def f(): pass", "", "text " * 20, "'a' 'b' 'c'", "api_key", 'apikey = "a1b2c3d4e5f6"'),
    ]
    names = []
    for number in range(12):
        names.append(f"file{number}{chance.choice(['.py', '.txt', '.yaml', '.ini', '.js'])}")
        (tmp_path / names[-1]).write_text("\n".join(chance.choices(lines, k=40)) + "\n")
    program = [sys.executable, "-I", str(ENGINE)]
    order = json.dumps({"root": str(tmp_path), "files": names, "salt": "00", "seconds": 60})
    done = subprocess.run(program, input=order.encode(), capture_output=True, check=True)
    expected = _by_detect_secrets(tmp_path, names)
    told = json.loads(done.stdout)["told"]
    for name in names:
        ours = {(one["line"], one["type"]) for one in told[name]["result"]["found"]}
        assert ours <= expected[name], (tmp_path / name).read_text()
        # Left out is only what is told of the same line in a better way already.
        assert {kind for _, kind in expected[name] - ours} <= GUESSED
        assert {line for line, _ in ours} == {line for line, _ in expected[name]}


async def test_weak_kinds_in_tests_are_one_remark_and_real_forms_stay_findings(tmp_path: Path) -> None:
    write(tmp_path, {"tests/test_a.py": f"password = 'Tr0ub4dor&3x'\ntoken = '{PLANTED['github']}'\n"})
    found = {finding.key.split(":")[0]: finding.severity for finding in (await leaks(tmp_path)).findings}
    assert found == {"security.secret": Severity.medium, "security.secret_alike": Severity.info}


async def test_files_that_cannot_be_read_whole_are_told(tmp_path: Path) -> None:
    write(tmp_path, {"big.txt": b"a\n" * 2_000_000, "ok.txt": "nothing"})
    found = await leaks(tmp_path)
    assert len(found.skipped) == 1
    assert found.skipped[0].may_hide("security.secret:app/big.txt/0123")
    assert not found.skipped[0].may_hide("security.secret:app/ok.txt/0123")


async def test_git_decides_what_belongs_and_links_lead_nowhere(tmp_path: Path) -> None:
    root, outside = tmp_path / "app", tmp_path / "outside"
    write(outside, {"secret.txt": PLANTED["aws"], "folder/deep.txt": PLANTED["aws"]})
    write(
        root, {".gitignore": "ignored.txt\n", "ignored.txt": "x", "tracked.txt": "x", "new.txt": "x", "sub/a.txt": "x"}
    )
    git(root, "init", "-q")
    git(root, "add", "tracked.txt", "sub/a.txt")
    (root / "link.txt").symlink_to(outside / "secret.txt")
    write(root / "inner", {"b.txt": "x"})
    git(root / "inner", "init", "-q")
    (root / "sub" / "a.txt").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(outside / "folder")
    write(outside, {"folder/a.txt": PLANTED["aws"]})
    seen = await sources(root)
    assert set(seen.files) == {".gitignore", "tracked.txt", "new.txt"}
    assert [skip.component for skip in seen.skipped] == ["app/inner"]
    assert (await sources(root, exclude=("inner/**", "new.*"))).files == (".gitignore", "tracked.txt")


async def test_a_program_that_a_repository_names_is_not_run(tmp_path: Path) -> None:
    root = tmp_path / "app"
    write(root, {"a.txt": "x"})
    git(root, "init", "-q")
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    hook.chmod(0o755)
    git(root, "config", "core.fsmonitor", str(hook))
    assert (await sources(root)).files == ("a.txt",)
    assert not (tmp_path / "was-run").exists()


async def test_a_checkout_that_is_not_there_or_no_repository_after_all_is_told(tmp_path: Path) -> None:
    assert (await sources(tmp_path / "gone")).skipped
    require("git")
    write(tmp_path, {".git": "gitdir: /nowhere\n", "a.txt": "x"})
    broken = await sources(tmp_path)
    assert broken.files == ()
    assert broken.skipped


async def test_risky_code_is_graded_and_tests_are_left_out(tmp_path: Path) -> None:
    risky = "import subprocess\nimport yaml\nsubprocess.run(input(), shell=True)\nyaml.load('x')\nassert True\n"
    write(tmp_path, {"src/a.py": risky, "tests/test_a.py": risky, "src/conftest.py": risky, "src/b.py": "x = (\n"})
    write(tmp_path, {"src/named.py": "eval(input())  # nosec B307\n", "-r.py": "import pickle\n"})
    found = await code_in(await sources(tmp_path))
    keys = {finding.key: finding.severity for finding in found.findings}
    assert keys["security.code:app/src/a.py/B602"] is Severity.high
    assert keys["security.code:app/src/a.py/B506"] is Severity.medium
    assert keys["security.code_remarks:app"] is Severity.info
    assert keys["security.code_hidden:app"] is Severity.info
    assert len(keys) == 4
    assert len(found.skipped) == 1
    assert found.skipped[0].may_hide("security.code:app/src/b.py/B602")


async def test_a_checkout_cannot_switch_bandit_off_or_stand_in_for_its_modules(tmp_path: Path) -> None:
    ran = tmp_path / "was-run"
    trap = f"open({str(ran)!r}, 'w')\nraise SystemExit(0)\n"
    root = tmp_path / "app"
    write(
        root,
        {
            ".bandit": "[bandit]\nskips: B602\nexclude: /\n",
            "a.py": "import subprocess\nsubprocess.run(x, shell=True)\n",
        },
    )
    write(root, dict.fromkeys(("bandit.py", "bandit/__init__.py", "ast.py", "json.py", "yaml.py", "re.py"), trap))
    write(root, {"pyproject.toml": "[tool.bandit]\nskips = ['B602']\n", "setup.cfg": "[bandit]\nskips = B602\n"})
    found = await code_in(await sources(root))
    assert "security.code:app/a.py/B602" in {finding.key for finding in found.findings}
    await leaks(root)
    assert not ran.exists()


async def test_an_engine_that_takes_too_long_is_a_skip(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "x = 1\n"})
    listed = await sources(tmp_path)
    for looked in (await leaks_in(listed, "salt", timeout_s=0.01), await code_in(listed, timeout_s=0.01)):
        assert len(looked.skipped) == 1
    assert (await leaks_in(listed, "salt", timeout_s=0.01)).skipped[0].may_hide("security.secret:app/a.py/1")


RULES = """
[[rules]]
id = "no-print"
title = "Services log, they do not print."
severity = "high"
pattern = '\\bprint\\('
paths = ["services/**/*.py"]
remedy = "Use the logger."

[[rules]]
id = "evil"
title = "Takes for ever."
pattern = '^(a+)+$'
"""


async def test_custom_rules_hit_where_they_apply_and_a_slow_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(RULES)
    root = tmp_path / "app"
    write(root, {"services/x.py": "print(1)\n", "services/a/b.py": "x\nprint(2)\n", "other.py": "print(3)\n"})
    write(root, {"zz.txt": "a" * 40 + "!"})
    begun = time.monotonic()
    listed = await sources(root)
    digests = digests_of(listed.root, listed.files)
    book = load_rules(tmp_path / "rules.toml")
    found = await apply_rules(book, listed, digests=digests, cache=ResultCache(None), timeout_s=60)
    assert time.monotonic() - begun < 30
    assert {finding.key: finding.evidence["lines"] for finding in found.findings} == {
        "security.rule:app/no-print/services/a/b.py": [2],
        "security.rule:app/no-print/services/x.py": [1],
    }
    assert [skip.hides for skip in found.skipped] == [("security.rule:app/evil/",)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[rules]]\nid = 'a'\ntitle = 't'\npattern = '('\n", "rules.toml:4: rules[0].pattern: "),
        ("[[rules]]\nid = 'Bad Id'\ntitle = 't'\npattern = 'x'\n", "rules.toml:2: rules[0].id: "),
        ("[[rules]]\nid = 'a'\ntitle = 't'\npattern = 'x'\nseverity = 'awful'\n", "rules.toml:5: rules[0].severity: "),
        ("[[rules]]\nid = 'a'\ntitle = 't'\n", "rules.toml:1: rules[0].pattern: "),
        ("[[rule]]\n", "rules.toml:1: rule: "),
        ("[[rules]\n", "not valid TOML"),
        ("[[rules]]\nid='a'\ntitle='t'\npattern='x'\n" * 2, "two rules are called 'a'"),
    ],
)
def test_a_bad_file_of_rules_is_refused_by_line_and_becomes_a_skip(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_rules(path)
    assert expected in str(caught.value)
    book, skipped = rules_or_skip(path)
    assert book == RuleBook()
    assert expected in skipped[0].reason
    assert rules_or_skip(tmp_path / "gone.toml")[1]


def test_the_documented_rules_are_valid(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "security-rules.md").read_text()
    path = tmp_path / "rules.toml"
    path.write_text(text.split("```toml\n")[1].split("```")[0])
    assert len(load_rules(path).rules) >= 3


@given(st.lists(st.sampled_from(["a", "b.py", "c*", "x+y"]), min_size=1, max_size=4).map("/".join))
def test_globs_span_folders_only_with_two_stars(name: str) -> None:
    assert glob_pattern("**").fullmatch(name)
    assert glob_pattern("**/" + name.rsplit("/", 1)[-1].replace("*", "?")).fullmatch(name)
    assert bool(glob_pattern("*").fullmatch(name)) == ("/" not in name)


def test_modes_of_the_home_and_its_secrets(tmp_path: Path) -> None:
    home, secrets = tmp_path / "home", tmp_path / "home" / "secrets"
    write(home, {"secrets/good": "x", "secrets/bad": "x"})
    home.chmod(0o700)
    (secrets / "good").chmod(0o600)
    (secrets / "bad").chmod(0o644)
    assert {one.key: one.severity for one in look_at_home(home, secrets).findings} == {
        "security.mode:home/secrets/bad": Severity.high
    }
    (secrets / "bad").chmod(0o600)
    write(secrets, {"webhooks/github": "x"})
    (secrets / "webhooks").chmod(0o755)
    (secrets / "webhooks" / "github").chmod(0o644)
    told = {one.key: one.remedy for one in look_at_home(home, secrets).findings}
    assert told == {
        "security.mode:home/secrets/webhooks": f"chmod 700 {secrets / 'webhooks'}",
        "security.mode:home/secrets/webhooks/github": f"chmod 600 {secrets / 'webhooks' / 'github'}",
    }
    (secrets / "webhooks").chmod(0o700)
    (secrets / "webhooks" / "github").chmod(0o600)
    home.chmod(0o755)
    assert {one.key: one.severity for one in look_at_home(home, secrets).findings} == {
        "security.mode:home": Severity.medium
    }
    assert look_at_home(tmp_path / "none", tmp_path / "none" / "secrets") == Looked()


def test_delicate_files_that_others_can_read(tmp_path: Path) -> None:
    root = tmp_path / "app"
    key = "-----BEGIN " + "PRIVATE KEY-----\n"
    write(root, {".env": "A=1", ".env.example": "A=", "server.key": key, "ca.pem": "-----BEGIN CERTIFICATE-----\n"})
    write(root, {"private/.env": "A=1", "own.key": key, ".venv/x.key": key, "id_ed25519.pub": "x", "empty/.env": ""})
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (root / "private").chmod(0o700)
    (root / "own.key").chmod(0o600)
    reachable = all(parent.stat().st_mode & 0o001 for parent in root.parents)
    for parent in (tmp_path, *tmp_path.parents):  # pytest's own folders are closed to others
        if not parent.stat().st_mode & 0o001 and parent.owner() == tmp_path.owner() and "pytest" in str(parent):
            parent.chmod(0o711)
            reachable = True
    found = {one.key: one.severity for one in look_at_checkout(Checkout(name="app", path=root)).findings}
    expected = {f"security.mode:app/{name}": Severity.medium for name in (".env", "server.key")} if reachable else {}
    assert found == expected
    tmp_path.chmod(0o700)
    assert look_at_checkout(Checkout(name="app", path=root)).findings == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root enters everything")
def test_a_folder_that_cannot_be_entered_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"closed/.env": "x"})
    (tmp_path / "closed").chmod(0)
    try:
        assert look_at_checkout(Checkout(name="app", path=tmp_path)).skipped
    finally:
        (tmp_path / "closed").chmod(0o700)
