"""What the audit's benchmark holds to be true about its invented advisories is true."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from packaging.version import Version
from semantic_version import Version as SemanticVersion

from tasks.advisories.mirror_build import build

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import _audit_mirror as mirrors
from _audit_osv import Records
from _audit_projects import monorepo, npm_lock, one_lock
from _audit_records import NPM, PYPI, Ecosystem

ROOT = Path(__file__).resolve().parents[2]
LOADED = """
import sys
from tasks.audit.__main__ import main
code = main()
slow = {"asyncio", "cvss", "httpx", "packaging.specifiers", "prefect", "pydantic", "ssl", "tomllib", "zipfile"}
print(*sorted(slow & sys.modules.keys()), file=sys.stderr)
sys.exit(code)
"""
COUNTS = {PYPI: 400, NPM: 1500}
ORDER: dict[str, Any] = {PYPI: Version, NPM: SemanticVersion}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mirrors.prepared(tmp_path_factory.mktemp("mirror"), COUNTS, seed=7)


@pytest.mark.parametrize("name", [PYPI, NPM])
def test_histories_are_in_the_order_of_their_ecosystem(name: str) -> None:
    ecosystem = Ecosystem(name, COUNTS[name], seed=7)
    assert sum(1 for _ in ecosystem.records()) == COUNTS[name]
    for history in ecosystem.histories.values():
        versions = [ORDER[name](version) for version in history.versions]
        assert all(earlier < later for earlier, later in pairwise(versions))


@pytest.mark.parametrize("name", [PYPI, NPM])
def test_what_is_true_is_what_the_records_say(name: str) -> None:
    ecosystem = Ecosystem(name, COUNTS[name], seed=7)
    records = list(ecosystem.records())
    told: dict[str, set[tuple[str, str]]] = {history: set() for history in ecosystem.histories}
    for record in records:
        for entry in record["affected"] if "withdrawn" not in record else ():
            history = ecosystem.histories.get(entry["package"]["name"].lower().replace("_", "-"))
            for version in history.versions if history else ():
                if _says(name, entry, version):
                    told[history.name].add((record["id"], version))
    for history in ecosystem.histories.values():
        assert told[history.name] == {
            (id_, version)
            for position, version in enumerate(history.versions)
            for _flaw, ids in history.flaws_at(position)
            for id_ in ids
        }
    assert sum(map(len, told.values())) > COUNTS[name] / 10


def _says(name: str, entry: dict[str, Any], version: str) -> bool:
    if version in entry.get("versions", ()):
        return True
    parse = ORDER[name]
    for described in entry.get("ranges", ()):
        if described["type"] == "GIT":
            continue
        inside = False
        for event in described["events"]:
            ((kind, bound),) = event.items()
            if kind == "introduced":
                inside = inside or bound == "0" or parse(version) >= parse(bound)
            elif parse(version) > parse(bound) or (kind == "fixed" and parse(version) == parse(bound)):
                inside = False
        if inside:
            return True
    return False


def test_the_same_seed_gives_the_same_mirror(mirror: Path, tmp_path: Path) -> None:
    again = mirrors.prepared(tmp_path, COUNTS, seed=7)
    other = mirrors.prepared(tmp_path, COUNTS, seed=7, revision=1)
    for name in COUNTS:
        assert mirrors.archive(again, name).read_bytes() == mirrors.archive(mirror, name).read_bytes()
        assert mirrors.archive(other, name).read_bytes() != mirrors.archive(mirror, name).read_bytes()
    assert mirrors.truth_of(other) == mirrors.truth_of(mirror)


def test_the_server_pages_through_the_records_of_a_version(mirror: Path) -> None:
    records = Records(mirror, 1)
    histories = mirrors.truth_of(mirror).histories[PYPI].values()
    name, version, ids = max(
        ((one.name, one.versions[at], records.ids(PYPI, one.name, one.versions[at]))
         for one in histories for at in range(len(one.versions))),
        key=lambda found: len(found[2]),
    )  # fmt: skip
    assert len(ids) > 1
    seen, begin = [], 0
    while True:
        page = orjson.loads(records.query(PYPI, name, version, begin))
        seen += [record["id"] for record in page["vulns"]]
        if "next_page_token" not in page:
            break
        begin = int(page["next_page_token"])
    assert tuple(seen) == ids
    assert records.query(PYPI, "nobody", "1.0", 0) == b"{}"


def test_projects_have_the_vulnerabilities_that_they_are_made_with(mirror: Path, tmp_path: Path) -> None:
    truth = mirrors.truth_of(mirror)
    index = "http://127.0.0.1:1/simple"
    lock = one_lock(tmp_path / "lock", truth, packages=60, seed=7, index=index)
    several = monorepo(tmp_path / "many", truth, projects=2, seed=7, index=index)
    npm = npm_lock(tmp_path / "npm", truth, packages=60, seed=7)
    assert len(lock.pins) == 60
    for project in (lock, npm, *several):
        found = project.expected(truth)
        assert 0 < len({package for package, _version, _flaw in found}) < len(project.pins)
    requirements = (tmp_path / "lock" / "requirements.txt").read_text().splitlines()
    assert dict(line.split("==") for line in requirements) == dict(lock.pins)


def test_the_engine_finds_what_is_true_and_loads_only_what_it_needs(mirror: Path, tmp_path: Path) -> None:
    truth = mirrors.truth_of(mirror)
    lock = one_lock(tmp_path / "lock", truth, packages=80, seed=7, index="https://index.example/simple")
    npm = npm_lock(tmp_path / "npm", truth, packages=80, seed=7)
    build(mirror, now=datetime.now(UTC))
    for project in (lock, npm):
        arguments = ["--mirror", str(mirror), "--max-age-days", "36500", str(project.folder)]
        command = [sys.executable, "-c", LOADED, *arguments]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        answer = json.loads(ended.stdout)
        assert (answer["gaps"], ended.returncode) == ([], 1)
        names = truth.group(project.ecosystem)
        assert project.expected(truth) == {
            (found["package"], version, names[found["id"]])
            for found in answer["weaknesses"]
            for version in found["versions"]
        }
        assert ended.stderr.split() == []
