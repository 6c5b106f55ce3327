"""The exit codes of `lama audit` and `lama scan`: 2 whenever something was not seen, never a clean 0."""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lama.cli import cli
from tests.loopback import BROKEN, Reply, Server, as_json

NOW = datetime.now(UTC)
CUT: Reply = (200, "application/json", b'{"vulnerabilities": []}', {"content-length": "1000"})


@pytest.fixture
def server() -> Iterator[Server]:
    serving = Server()
    yield serving
    serving.close()


def configure(configured: Path, advisories: str, more: str = "") -> str:
    folder = configured.parent
    code = folder / "code"
    (code / "requirements.txt").write_text("alpha==2.0\n")
    configured.write_text(
        f'[[checkouts]]\nname = "shop"\npath = "{code}"\n[advisories]\n{advisories}\n{more}\n'
        '[[suppressions]]\nid = "gap.unresolved:*"\nreason = "it brings in nothing"\nexpires = 2099-01-01\n'
    )
    return "shop"


def run(*words: str) -> int:
    return int(cli.main([*words, "--standalone"], standalone_mode=False))


def mirror(folder: Path, *, modified: datetime, fixed: str = "1.0") -> str:
    place = folder / "mirror" / "PyPI"
    place.mkdir(parents=True)
    events = [{"introduced": "0"}, {"fixed": fixed}]
    entry = {"package": {"ecosystem": "PyPI", "name": "alpha"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    record = {"id": "GHSA-1", "modified": modified.isoformat(), "summary": "bad", "affected": [entry]}
    with zipfile.ZipFile(place / "all.zip", "w") as archive:
        archive.writestr("GHSA-1.json", json.dumps(record))
    return f'mirror = "{folder / "mirror"}"'


def test_what_is_clean_ends_with_0_and_what_is_vulnerable_with_1(configured: Path) -> None:
    name = configure(configured, mirror(configured.parent, modified=NOW, fixed="2.0"))
    assert run("audit", name) == 0
    (configured.parent / "code" / "requirements.txt").write_text("alpha==1.0\n")
    assert run("audit", name) == 1


@pytest.mark.parametrize("source", ["osv", "pypi"])
@pytest.mark.parametrize("how", [*BROKEN, "slow", "cut short"])
def test_an_audit_whose_source_is_broken_ends_with_2(source: str, how: str, server: Server, configured: Path) -> None:
    if source == "pypi" and how in {"404", "too few results", "no ids"}:
        pytest.skip("to PyPI a package may be unknown, and these are answers of OSV")

    def route(_path: str, _body: Any) -> Reply:
        if how == "slow":
            time.sleep(1)
        return as_json({"results": [{}], "vulnerabilities": []}) if how == "slow" else BROKEN.get(how, CUT)

    server.route = route
    urls = (
        f'sources = ["{source}"]\nosv_url = "{server.url}"\npypi_url = "{server.url}"\ntimeout_s = 0.3\nbudget_s = 1.5'
    )
    assert run("audit", configure(configured, urls)) == 2


def test_without_a_mirror_or_with_a_stale_one_an_audit_ends_with_2(configured: Path) -> None:
    missing = f'mirror = "{configured.parent / "nowhere"}"'
    assert run("audit", configure(configured, missing)) == 2
    assert run("audit", configure(configured, mirror(configured.parent, modified=NOW - timedelta(days=30)))) == 2


@pytest.mark.parametrize("file", ["kev.json", "epss.csv.gz"])
def test_old_data_about_exploitation_is_told_as_old(file: str, configured: Path) -> None:
    name = configure(configured, mirror(configured.parent, modified=NOW))
    path = configured.parent / "mirror" / file
    path.write_text('{"vulnerabilities": []}' if file == "kev.json" else "cve,epss\n")
    assert run("audit", name) == 0
    old = (NOW - timedelta(days=30)).timestamp()
    os.utime(path, (old, old))
    assert run("audit", name) == 2


def test_a_scan_whose_rules_are_not_there_ends_with_2(configured: Path) -> None:
    name = configure(configured, "", f'[scan]\nrules = "{configured.parent / "nowhere.toml"}"\n')
    assert run("scan", name, "--engine", "rules") == 2
    assert run("scan", name, "--engine", "containers") == 0
