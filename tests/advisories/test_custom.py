"""Rules of one's own, and what is known of exploitation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.errors import ConfigurationError
from models.severity import Severity
from tasks.advisories import exploited
from tasks.advisories.custom import BUILT_IN, OwnRules, load_rules
from tasks.advisories.package import Package
from tasks.advisories.record import Verdict
from tasks.advisories.versions import ordering
from tests.advisories.records import ALPHA, hides

LETTA = Package("PyPI", "letta")


def rules(folder: Path, text: str) -> Path:
    path = folder / "rules.toml"
    path.write_text(text)
    return path


def one(folder: Path, affected: str, package: str = "Letta", ecosystem: str = "PyPI") -> Path:
    return rules(
        folder,
        f'[[advisories]]\nid = "ACME-1"\npackage = "{package}"\necosystem = "{ecosystem}"\n'
        f'affected = {affected}\nseverity = "high"\ntitle = "Agents see each other."\nremedy = "Set a password"\n',
    )


async def test_a_rule_is_about_its_versions_and_says_what_to_do(tmp_path: Path) -> None:
    path = one(tmp_path, '[">=0.16, <0.16.8", "<= 0.5", "==0.9"]')
    told = await OwnRules(path).tell({LETTA: frozenset({"0.16.7"}), ALPHA: frozenset({"1"})})
    ((package, (advisory,)),) = told.advisories.items()
    affected = ["0.1", "0.5", "0.9", "0.9.0", "0.16", "0.16.7"]
    clean = ["0.5.1", "0.8", "0.9.1", "0.16.8", "1.0"]
    assert {version: advisory.verdict(package, version) for version in affected + clean} == (
        dict.fromkeys(affected, Verdict.affected) | dict.fromkeys(clean, Verdict.clean)
    )
    assert (advisory.severity, advisory.summary) == (Severity.high, "Agents see each other. Set a password")
    assert "0.16.8" in advisory.fixes(package)
    assert (told.covers, told.gaps, told.state.records) == (frozenset(), (), 1)


@pytest.mark.parametrize(
    ("ecosystem", "affected", "inside", "outside"),
    [
        ("npm", '"<1.2.3 || >=2.0.0-beta <2.1.0"', ["1.2.2", "2.0.0-beta", "2.0.9"], ["1.2.3", "1.9.0", "2.1.0"]),
        ("npm", '"*"', ["0.0.1", "9.9.9"], []),
        ("Debian:12", '"<1:2.0-1+deb12u1"', ["2.0-1", "1:2.0-1"], ["1:2.0-1+deb12u1", "1:2.0-2"]),
        ("GitHub Actions", '"<4.1.2"', ["4.1.1"], ["4.1.2"]),
    ],
)
def test_ranges_are_those_of_the_ecosystem(
    tmp_path: Path, ecosystem: str, affected: str, inside: list[str], outside: list[str]
) -> None:
    (advisory,) = load_rules(one(tmp_path, affected, "own", ecosystem))
    package = Package(ecosystem, "own")
    verdicts = {version: advisory.verdict(package, version) for version in inside + outside}
    assert verdicts == dict.fromkeys(inside, Verdict.affected) | dict.fromkeys(outside, Verdict.clean)


@settings(max_examples=40)
@given(
    low=st.integers(0, 30), high=st.integers(0, 30), tried=st.integers(0, 30), ends=st.sampled_from(["<", "<="]),
)  # fmt: skip
def test_a_range_and_pips_understanding_of_it_agree(
    tmp_path_factory: pytest.TempPathFactory, low: int, high: int, tried: int, ends: str
) -> None:
    text = f">=1.{low},{ends}1.{high}"
    path = one(tmp_path_factory.mktemp("rules"), f'"{text}"')
    if low > high:
        with pytest.raises(ConfigurationError, match="ends before it begins"):
            load_rules(path)
        return
    (advisory,) = load_rules(path)
    order = ordering("PyPI")
    assert order is not None
    assert (advisory.verdict(LETTA, f"1.{tried}") is Verdict.affected) == order.allows(text, f"1.{tried}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('affected = ">1.0"', "name the first version that is affected"),
        ('affected = "~=1.0"', "is no range"),
        ('affected = ">=1.x"', "'1.x' is no version of PyPI"),
        ('affected = ">=1,>=2"', "more than one beginning"),
        ('affected = "<1,<=2"', "more than one beginning or end"),
        ('affected = ""', "is no range"),
        ('versions = ["later"]', "'later' is no version"),
        ('ecosystem = "Nowhere"\naffected = "<1"', "is not known"),
        ('affected = "<1"\nseverity = "awful"', "severity"),
        ('affected = "<1"\nseverty = "low"', "severty"),
        ('aliases = ["CVE-1"]', "say which versions"),
        ("affected = ", "not valid TOML"),
    ],
)
async def test_what_is_wrong_with_a_rule_is_said_with_its_place_and_is_a_gap(
    tmp_path: Path, line: str, message: str
) -> None:
    path = rules(tmp_path, f'[[advisories]]\nid = "ACME-1"\npackage = "letta"\ntitle = "Bad"\n{line}\n')
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_rules(path)
    assert "rules.toml:" in str(caught.value)
    told = await OwnRules(path).tell({LETTA: frozenset({"1"})})
    assert hides(told.gaps)


async def test_rules_that_are_not_there_and_ids_that_repeat_are_gaps(tmp_path: Path) -> None:
    assert hides((await OwnRules(tmp_path / "gone.toml").tell({LETTA: frozenset()})).gaps)
    one(tmp_path, '"<1"')
    (tmp_path / "rules.toml").write_text((tmp_path / "rules.toml").read_text() * 2)
    assert "two advisories" in (await OwnRules(tmp_path / "rules.toml").tell({LETTA: frozenset()})).gaps[0].reason


SCORES = "#model_version:v2025.03.14,score_date:2026-10-31T00:00:00Z\ncve,epss,percentile\n"
SCORES += "CVE-1,0.5,0.9\nCVE-2,0.00042,0.1\n"
CATALOGUE = {"title": "x", "vulnerabilities": [{"cveID": "CVE-2"}, {"cveID": "CVE-3"}]}


@pytest.mark.parametrize("packed", [True, False])
def test_scores_and_catalogue_are_looked_up_by_id(tmp_path: Path, packed: bool) -> None:
    epss, kev = tmp_path / "epss", tmp_path / "kev.json"
    epss.write_bytes(gzip.compress(SCORES.encode()) if packed else SCORES.encode())
    kev.write_text(json.dumps(CATALOGUE))
    found = exploited.load(epss, kev, {"CVE-1", "CVE-2", "GHSA-1"})
    assert (dict(found.scores), found.known, found.gaps) == ({"CVE-1": 0.5, "CVE-2": 0.00042}, {"CVE-2"}, ())
    assert exploited.load(None, None, {"CVE-1"}) == exploited.Exploited()


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"<html>not found</html>",
        gzip.compress(SCORES.encode())[:-12],
        b"cve,epss\nCVE-1,high\n",
        b"epss,cve\n0.1\n",
        b"cve,epss\nCVE-1,7\n",
        b"cve,epss\n\xff\xfe,1\n",
        b"[" * 100_000,
        b'{"vulnerabilities": [1]}',
    ],
)
def test_data_of_exploitation_that_cannot_be_read_is_a_gap(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    found = exploited.load(path, path, {"CVE-1"})
    assert [gap.component for gap in found.gaps] == ["EPSS", "KEV"]
    assert hides(found.gaps)


def test_a_file_that_unpacks_without_end_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploited, "_LARGEST", 100_000)
    path = tmp_path / "epss.csv.gz"
    path.write_bytes(gzip.compress(b"cve,epss\n" + b"CVE-9,0.1\n" * 50_000))
    assert exploited.load(path, None, {"CVE-9"}).gaps


def test_the_file_in_the_mirror_is_used_when_it_is_there_and_one_that_is_named_always(tmp_path: Path) -> None:
    assert exploited.default_or(None, tmp_path, exploited.KEV_FILE) is None
    (tmp_path / exploited.KEV_FILE).touch()
    assert exploited.default_or(None, tmp_path, exploited.KEV_FILE) == tmp_path / exploited.KEV_FILE
    assert exploited.default_or(tmp_path / "gone", tmp_path, exploited.KEV_FILE) == tmp_path / "gone"


async def test_what_comes_with_lama_knows_the_packages_that_it_works_with() -> None:
    letta = Package("PyPI", "letta")
    told = await OwnRules(BUILT_IN, name="lama").tell({letta: frozenset({"0.40.0"})})
    assert told.gaps == ()
    verdicts = {one.id: one.verdict(letta, "0.40.0") for one in told.advisories[letta]}
    assert verdicts == {
        "LAMA-2026-1": Verdict.affected,
        "LAMA-2026-2": Verdict.clean,
        "LAMA-2026-4": Verdict.clean,
    }


@pytest.mark.parametrize(
    ("version", "names"),
    [("3.6.13", {"3514", "7722", "7723"}), ("3.6.14", {"3514", "7722"}), ("3.6.22", set()), ("3.8.8", set())],
)
async def test_what_is_known_of_prefects_server_is_known_without_a_database(version: str, names: set[str]) -> None:
    prefect = Package("PyPI", "prefect")
    told = await OwnRules(BUILT_IN, name="lama").tell({prefect: frozenset({version})})
    affected = [one for one in told.advisories[prefect] if one.verdict(prefect, version) is Verdict.affected]
    assert {alias.rpartition("-")[2] for one in affected for alias in one.aliases if "CVE" in alias} == names
