"""Bills of materials, read and written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.advisories.package import ACTIONS, DOCKER, NPM, PYPI, Package
from tasks.audit.component import Component, Evidence, Scope
from tasks.audit.cyclonedx_out import to_cyclonedx
from tasks.audit.inventory.cyclonedx_in import read_cyclonedx
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.spdx_in import read_spdx
from tasks.audit.purls import purl_of, read_purl

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Record:
    target: str
    ecosystem: str
    name: str
    version: str | None
    requirement: str = ""
    file: str = "package-lock.json"
    line: int | None = None
    evidence: str = "locked"
    scope: str = "runtime"
    direct: bool | None = True
    via: tuple[str, ...] = ()
    licence: str = ""


RECORDS = (
    Record("site", NPM, "express", "4.22.3", licence="MIT"),
    Record("site", NPM, "@scope/debug", "2.6.9", direct=False, via=("express",), licence="(MIT OR Apache-2.0)"),
    Record("site", NPM, "ms", "2.0.0", direct=False, via=("express", "@scope/debug"), licence="Custom licence"),
    Record("site", NPM, "ms", "2.0.0", file="web/package-lock.json", scope="dev"),
    Record("site", NPM, "express", None, "^4.18.0", file="package.json", line=4, evidence="declared"),
    Record("site", PYPI, "requests", "2.31.0", file="requirements.txt", line=3, scope="dev"),
    Record("site", "Debian:12", "openssl", "3.0.11-1~deb12u2", direct=None),
    Record("site", "Ubuntu:22.04:LTS", "curl", "1:7.81.0-1ubuntu1"),
    Record("site", DOCKER, "docker.io/library/python", "3.12-slim"),
    Record("site", DOCKER, "ghcr.io/a/b/c", "sha256:" + "a" * 64),
    Record("site", ACTIONS, "actions/checkout", "v4.1.1"),
)

WEAKNESS: dict[str, Any] = {
    "key": "dependencies.vulnerability:site/pypi/requests/CVE-2024-1",
    "target": "site",
    "ecosystem": PYPI,
    "package": "requests",
    "versions": ["2.31.0"],
    "id": "CVE-2024-1",
    "names": ["CVE-2024-1", "GHSA-aaaa-bbbb-cccc"],
    "summary": "Something leaks",
    "severity": "high",
    "score": 7.5,
    "vector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H",
    "epss": 0.12,
    "exploited": True,
    "fixed": "2.32.0",
    "url": "https://example.org/advisory",
}


def write(
    *records: Record, weaknesses: tuple[dict[str, Any], ...] = (), suppressed: dict[str, str] | None = None
) -> str:
    return to_cyclonedx(
        records, weaknesses, suppressed=suppressed, timestamp=MOMENT, serial=UUID(int=7), tool_version="1.0"
    )


def read(content: Any, file: str = "bom.json") -> Reading:
    if isinstance(content, dict):
        content = json.dumps(content)
    return read_cyclonedx(Document("site", file, content if isinstance(content, bytes) else content.encode()))


def versions(reading: Reading) -> set[tuple[Package, str | None]]:
    return {(one.package, one.version) for one in reading.components}


def named(reading: Reading) -> dict[str, Component]:
    return {one.package.name: one for one in reading.components}


def test_what_is_written_is_read_again() -> None:
    reading = read(write(*RECORDS))
    assert versions(reading) == {(Package(one.ecosystem, one.name), one.version) for one in RECORDS if one.version}
    found = named(reading)
    assert found["ms"].via == ("express", "@scope/debug") or found["ms"].direct
    assert found["express"].requires == (("@scope/debug", "2.6.9"),)
    assert found["express"].licence == "MIT"
    assert found["ms"].licence == "Custom licence"
    assert found["requests"].scope is Scope.dev
    assert found["requests"].evidence is Evidence.sbom
    assert not reading.gaps


def test_several_targets_keep_what_each_brings_in() -> None:
    text = write(*RECORDS, *(replace(one, target="other") for one in RECORDS[:3]))
    reading = read(text)
    assert versions(reading) == versions(read(write(*RECORDS)))
    assert named(reading)["@scope/debug"].via == ("express",)
    assert not reading.gaps
    places = next(one for one in json.loads(text)["components"] if one["name"] == "express")["evidence"]["occurrences"]
    assert [place["location"] for place in places] == ["other/package-lock.json", "site/package-lock.json"]


def test_the_same_values_give_the_same_text_which_the_schema_allows() -> None:
    from cyclonedx.model.bom import Bom
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = write(*RECORDS, weaknesses=(WEAKNESS,), suppressed={"CVE-2024-1": "accepted until summer"})
    assert text == write(*reversed(RECORDS), weaknesses=(WEAKNESS,), suppressed={"CVE-2024-1": "accepted until summer"})
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom: Any = Bom.from_json(json.loads(text))  # type: ignore[attr-defined]
    assert bom.validate()
    assert bom.metadata.timestamp == MOMENT
    assert len(bom.components) == 9


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("vulnerable_code_not_in_execute_path: nothing calls it", "not_affected"),
        ("not_affected: as the document says", "not_affected"),
        ("fixed: patched by the distribution", "resolved"),
        ("we accept the risk", "exploitable"),
        (None, None),
    ],
)
def test_vulnerabilities_come_with_what_was_decided_about_them(reason: str | None, state: str | None) -> None:
    suppressed = {WEAKNESS["key"]: reason} if reason else {}
    (told,) = json.loads(write(*RECORDS, weaknesses=(WEAKNESS,), suppressed=suppressed))["vulnerabilities"]
    assert told.get("analysis") == ({"state": state, "detail": reason} if reason else None)
    assert [one["ref"] for one in told["affects"]] == ["pkg:pypi/requests@2.31.0"]
    assert [one["id"] for one in told["references"]] == ["GHSA-aaaa-bbbb-cccc"]
    assert told["ratings"][0]["method"] == "CVSSv31"
    assert (told["ratings"][0]["score"], told["ratings"][0]["severity"]) == (7.5, "high")
    assert {one["name"]: one["value"] for one in told["properties"]} == {"lama:exploited": "true", "lama:epss": "0.12"}


def test_a_package_that_only_a_range_asks_for_is_listed_without_a_version() -> None:
    text = write(Record("site", NPM, "left", None, "^1.0.0", evidence="declared"))
    (component,) = json.loads(text)["components"]
    assert component["purl"] == "pkg:npm/left"
    assert {"name": "lama:requirement", "value": "^1.0.0"} in component["properties"]
    assert "has no version" in read(text).gaps[0].reason


def test_bills_of_other_tools_are_read() -> None:
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "metadata": {
            "component": {"bom-ref": "root", "type": "application", "name": "app", "purl": "pkg:npm/app@1.0.0"}
        },
        "components": [
            {
                "bom-ref": "1",
                "type": "library",
                "name": "requests",
                "version": "2.31.0",
                "purl": "pkg:pypi/Requests@2.31.0",
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "hashes": [{"alg": "SHA-256", "content": "00"}],
                "components": [{"type": "library", "name": "inner", "purl": "pkg:npm/%40s/inner@1.0.0"}],
            },
            {
                "bom-ref": "2",
                "type": "library",
                "name": "libssl3",
                "purl": "pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&upstream=openssl&distro=debian-12.5",
            },
            {"bom-ref": "3", "type": "application", "name": "package-lock.json"},
            {"bom-ref": "4", "type": "file", "name": "/etc/passwd"},
            {"bom-ref": "5", "type": "library", "name": "mystery"},
            {"bom-ref": "6", "type": "library", "name": "odd", "purl": "pkg:generic/odd@1"},
        ],
        "dependencies": [
            {"ref": "root", "dependsOn": ["3"]},
            {"ref": "3", "dependsOn": ["1"]},
            {"ref": "1", "dependsOn": ["2"]},
        ],
    }
    reading = read(bom)
    assert versions(reading) == {
        (Package(PYPI, "requests"), "2.31.0"),
        (Package(NPM, "@s/inner"), "1.0.0"),
        (Package("Debian:12", "openssl"), "3.0.11-1~deb12u2"),
    }
    found = named(reading)
    assert (found["requests"].direct, found["requests"].hashed, found["requests"].licence) == (True, True, "Apache-2.0")
    assert found["openssl"].via == ("requests",)
    assert reading.own == {Package(NPM, "app")}
    assert "'mystery' has no package URL; 'odd' has a package URL of an unknown type" in reading.gaps[0].reason


XML = """<?xml version="1.0"?>
<bom xmlns="http://cyclonedx.org/schema/bom/1.4" version="1">
  <metadata><component type="application" bom-ref="root"><name>app</name></component></metadata>
  <components>
    <component type="library" bom-ref="a">
      <group>org.x</group><name>y</name><version>1.0</version><scope>optional</scope>
      <licenses><license><id>MIT</id></license></licenses>
      <purl>pkg:maven/org.x/y@1.0</purl>
      <components><component type="library"><name>z</name><purl>pkg:cargo/z@0.1.0</purl></component></components>
    </component>
  </components>
  <dependencies><dependency ref="root"><dependency ref="a"/></dependency></dependencies>
</bom>"""


def test_xml_says_the_same() -> None:
    reading = read(XML, "bom.xml")
    assert versions(reading) == {(Package("Maven", "org.x:y"), "1.0"), (Package("crates.io", "z"), "0.1.0")}
    found = named(reading)["org.x:y"]
    assert (found.direct, found.scope, found.licence) == (True, Scope.optional, "MIT")
    assert not reading.gaps


SPDX = {
    "spdxVersion": "SPDX-2.3",
    "documentDescribes": ["SPDXRef-app"],
    "packages": [
        {"SPDXID": "SPDXRef-app", "name": "app"},
        {
            "SPDXID": "SPDXRef-a",
            "name": "requests",
            "versionInfo": "2.31.0",
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "Apache-2.0",
            "externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:pypi/requests@2.31.0"}],
        },
        {
            "SPDXID": "SPDXRef-b",
            "name": "idna",
            "versionInfo": "3.6",
            "externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:pypi/idna"}],
        },
        {"SPDXID": "SPDXRef-c", "name": "mystery", "versionInfo": "1"},
    ],
    "relationships": [
        {"spdxElementId": "SPDXRef-app", "relationshipType": "DEPENDS_ON", "relatedSpdxElement": "SPDXRef-a"},
        {"spdxElementId": "SPDXRef-b", "relationshipType": "DEPENDENCY_OF", "relatedSpdxElement": "SPDXRef-a"},
    ],
}


def test_bills_in_spdx_are_read() -> None:
    reading = read_spdx(Document("site", "app.spdx.json", json.dumps(SPDX).encode()))
    assert versions(reading) == {(Package(PYPI, "requests"), "2.31.0"), (Package(PYPI, "idna"), "3.6")}
    found = named(reading)
    assert (found["requests"].direct, found["requests"].licence) == (True, "Apache-2.0")
    assert found["idna"].via == ("requests",)
    assert "mystery" in reading.gaps[0].reason
    assert read_spdx(Document("site", "x.spdx.json", b'{"spdxVersion": "SPDX-9"}')).gaps


LAUGHS = (
    '<!DOCTYPE bom [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + ']><bom xmlns="http://cyclonedx.org/schema/bom/1.4">&j;</bom>'
)
OUTSIDE = (
    '<!DOCTYPE bom [<!ENTITY x SYSTEM "file:///etc/passwd">]><bom xmlns="http://cyclonedx.org/schema/bom/1.4">&x;</bom>'
)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"bomFormat": "CycloneDX", "specVersion": "9.9"}',
        b'{"bomFormat": "CycloneDX", "specVersion": "1.6"}',
        b"\xff\xfe",
        b"[" * 2_000_000,
        LAUGHS.encode(),
        OUTSIDE.encode(),
        b"<a>" * 2_000_000,
        b"<html></html>",
        b'<?xml version="1.0" encoding="nonsense"?><bom/>',
    ],
)
def test_hostile_bills_are_gaps(content: bytes) -> None:
    reading = read(content)
    assert not reading.components
    assert len(reading.gaps) == 1
    assert "root:" not in reading.gaps[0].reason


def test_xml_of_too_many_elements_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.audit.inventory.cyclonedx_in._MOST", 10)
    assert "more than" in read(XML, "bom.xml").gaps[0].reason


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}([._-][a-z0-9]{1,5})?", fullmatch=True)
PACKAGES = st.one_of(
    st.builds(Package, st.just(PYPI), st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,5})?", fullmatch=True)),
    st.builds(
        Package,
        st.sampled_from(
            [NPM, "crates.io", "RubyGems", "Debian", "Debian:12", "Ubuntu:23.10", "Alpine:v3.19", "Red Hat"]
        ),
        NAMES,
    ),
    st.builds(lambda scope, name: Package(NPM, f"@{scope}/{name}"), NAMES, NAMES),
    st.builds(lambda host, name: Package(DOCKER, f"{host}.io/{name}/x"), NAMES, NAMES),
    st.builds(lambda owner, name: Package(ACTIONS, f"{owner}/{name}"), NAMES, NAMES),
    st.builds(lambda group, name: Package("Maven", f"{group}:{name}"), NAMES, NAMES),
)
VERSIONS = st.from_regex(r"([0-9]:)?[0-9]{1,2}(\.[0-9]{1,2}){0,2}([-+~][a-z0-9+~.]{1,6})?", fullmatch=True)


@given(PACKAGES, VERSIONS)
@settings(deadline=None)
def test_a_package_url_says_which_package_it_is_of(package: Package, version: str) -> None:
    text = purl_of(package, version)
    assert text is not None
    assert read_purl(text) == (package, version)


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_what_is_no_package_url_is_none(text: str) -> None:
    for candidate in (text, f"pkg:{text}", f"pkg:npm/{text}", f"pkg:deb/debian/{text}"):
        found = read_purl(candidate)
        assert found is None or not re.search(r"[\x00-\x20]|^$", found[0].name)
