"""VEX documents are believed where they say enough, about exactly what they name; and what is written can be read."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import ConfigurationError
from models.report import Finding, Severity, compose
from models.risk import RiskReport, Suppressed
from tasks.risk.vex import Standing, believe, load_vex, read_vex, subject_of, to_openvex


def weak(
    id_: str = "CVE-1",
    name: str = "alpha",
    *versions: str,
    ecosystem: str = "PyPI",
    component: str = "web",
    names: tuple[str, ...] = (),
) -> Finding:
    family = ecosystem.partition(":")[0].lower()
    return Finding(
        key=f"dependencies.vulnerability:{component}/{family}/{name}/{id_}",
        severity=Severity.high,
        component=component,
        title=f"{name} has {id_}.",
        remedy="Upgrade it.",
        evidence={
            "id": id_,
            "package": name,
            "ecosystem": ecosystem,
            "versions": list(versions or ("1.0",)),
            "names": [id_, *names],
        },
    )


def openvex(*statements: dict[str, Any], **more: Any) -> bytes:
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://example.org/vex",
        "author": "team",
        "timestamp": "2026-01-01T00:00:00Z",
        "version": 1,
        "statements": list(statements),
    }
    return json.dumps(document | more).encode()


def statement(product: Any = "pkg:pypi/alpha", *, name: str = "CVE-1", **more: Any) -> dict[str, Any]:
    told = {
        "vulnerability": {"name": name},
        "products": [{"@id": product} if isinstance(product, str) else product],
        "status": "not_affected",
        "justification": "vulnerable_code_not_in_execute_path",
    }
    return told | more


def aside(content: bytes, finding: Finding | None = None) -> bool:
    return bool(believe([finding or weak()], read_vex(content, name="vex.json")).suppressed)


INSIDE = {"@id": "pkg:oci/web", "subcomponents": [{"@id": "pkg:pypi/alpha@1.0"}]}
ELSEWHERE = {"@id": "pkg:oci/shop", "subcomponents": [{"@id": "pkg:pypi/alpha@1.0"}]}


@pytest.mark.parametrize(
    ("told", "finding", "expected"),
    [
        (statement(), weak(), True),
        (statement("pkg:pypi/alpha@1.0"), weak(), True),
        (statement("pkg:pypi/alpha@1.1"), weak(), False),
        (statement("pkg:pypi/alpha@1.0"), weak("CVE-1", "alpha", "1.0", "2.0"), False),  # 2.0 is in use as well
        (statement("pkg:pypi/beta"), weak(), False),
        (statement("pkg:npm/alpha"), weak(), False),
        (statement("pkg:pypi/Alpha_X"), weak("CVE-1", "alpha-x"), True),
        (statement("pkg:npm/%40scope/alpha@1.0"), weak("CVE-1", "@scope/alpha", ecosystem="npm"), True),
        (statement("pkg:deb/debian/alpha@1.0"), weak(ecosystem="Debian:12"), True),
        (statement(name="CVE-2"), weak(), False),
        (statement(name="ghsa-x"), weak(names=("GHSA-x",)), True),
        (statement("pkg:generic/web"), weak(), True),
        (statement("https://example.org/web"), weak(), True),
        (statement("pkg:generic/we"), weak(), False),
        (statement(INSIDE), weak(), True),
        (statement(INSIDE), weak("CVE-1", "alpha", "2.0"), False),
        (statement(ELSEWHERE), weak(), False),  # the statement is about another product
        (statement({"@id": "x", "identifiers": {"purl": "pkg:pypi/alpha"}}), weak(), True),
        (statement(justification=None), weak(), False),  # says nothing that could be believed
        (statement(justification=None, impact_statement="We never call it."), weak(), True),
        (statement("pkg:pypi/alpha@1.0", status="fixed"), weak(), True),
        (statement(status="fixed"), weak(), False),  # fixed in which version?
        (statement(status="affected"), weak(), False),
        (statement(status="under_investigation"), weak(), False),
        (statement(), weak().model_copy(update={"key": "security.code:web/x"}), False),
    ],
)
def test_a_statement_sets_aside_exactly_what_it_is_about(
    told: dict[str, Any], finding: Finding, expected: bool
) -> None:
    assert aside(openvex(told), finding) is expected


def test_two_products_may_cover_two_versions() -> None:
    both = statement() | {"products": [{"@id": "pkg:pypi/alpha@1.0"}, {"@id": "pkg:pypi/alpha@2.0"}]}
    assert aside(openvex(both), weak("CVE-1", "alpha", "1.0", "2.0"))


def test_the_latest_statement_counts_and_of_equally_late_ones_the_one_that_sets_nothing_aside() -> None:
    later = statement(status="affected", timestamp="2026-02-01T00:00:00+00:00")
    earlier = statement(timestamp="2026-01-31T23:00:00-05:00")  # which is later after all
    assert not aside(openvex(later, statement()))
    assert aside(openvex(later, earlier))
    assert not aside(openvex(statement(), statement(status="under_investigation")))


def test_documents_of_before_0_2_0_are_understood() -> None:
    old = {
        "vulnerability": "CVE-1",
        "products": ["pkg:oci/web"],
        "subcomponents": ["pkg:pypi/alpha"],
        "status": "not_affected",
        "justification": "component_not_present",
    }
    assert aside(openvex(old, **{"@context": "https://openvex.dev/ns"}))


def cyclonedx(state: str, *, ref: str = "a", justification: str | None = "code_not_reachable", **more: Any) -> bytes:
    return json.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "metadata": {"timestamp": "2026-01-01T00:00:00Z", "component": {"bom-ref": "us", "name": "web"}},
            "components": [{"bom-ref": "a", "name": "alpha", "purl": "pkg:pypi/alpha@1.0"}],
            "vulnerabilities": [
                {
                    "id": "CVE-1",
                    "analysis": {"state": state, "justification": justification},
                    "affects": [{"ref": ref, **more}],
                },
                {"id": "CVE-9", "affects": [{"ref": "a"}]},
            ],
        }
    ).encode()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (cyclonedx("not_affected"), True),
        (cyclonedx("not_affected", justification=None), False),
        (cyclonedx("false_positive", justification=None), True),
        (cyclonedx("resolved"), True),
        (cyclonedx("exploitable"), False),
        (cyclonedx("in_triage"), False),
        (cyclonedx("not_affected", ref="us"), True),
        (cyclonedx("not_affected", ref="urn:cdx:3e671687-395b-41f5-a30f-a58921a69b79/1#pkg%3Apypi/alpha%401.0"), True),
        (cyclonedx("not_affected", ref="urn:cdx:3e671687-395b-41f5-a30f-a58921a69b79/1#pkg:pypi/beta"), False),
        (cyclonedx("not_affected", versions=[{"version": "2.0"}]), False),
    ],
)
def test_cyclonedx_is_understood_as_well(content: bytes, expected: bool) -> None:
    assert aside(content) is expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        openvex(statement())[:-5],
        openvex({"status": "not_affected"}),
        openvex(statement(status="perhaps")),
        openvex(statement(justification="because")),
        openvex(statement() | {"products": []}),
        openvex(statement() | {"products": [7]}),
        openvex(statement("pkg:")),
        openvex(statement(timestamp="yesterday")),
        openvex(statements="many"),
        cyclonedx("whatever"),
    ],
)
def test_a_malformed_document_is_refused_by_its_name(content: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"vex\.json"):
        read_vex(content, name="vex.json")


def test_a_document_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.json"):
        load_vex([tmp_path / "gone.json"])
    (tmp_path / "vex.json").write_bytes(openvex(statement()))
    (one,) = load_vex([tmp_path / "vex.json"])
    assert (one.standing, one.names) == (Standing.not_affected, frozenset({"cve-1"}))


def report(findings: list[Finding], suppressed: list[Suppressed]) -> RiskReport:
    moment = datetime(2026, 11, 21, 12, tzinfo=UTC)
    return compose(
        RiskReport,
        capability="audit",
        summary="x",
        started_at=moment,
        finished_at=moment,
        run_id="run",
        findings=findings,
        suppressed=tuple(suppressed),
    )


def test_what_is_written_can_be_read_and_sets_the_same_aside() -> None:
    not_affected = weak("CVE-1", names=("GHSA-1",))
    fixed, accepted, open_ = weak("CVE-2"), weak("CVE-3"), weak("CVE-4")
    other = weak("CVE-5", "@scope/alpha", ecosystem="npm")
    made = report(
        [open_],
        [
            Suppressed(finding=not_affected, reason="component_not_present: not in the image.", by="vex.json"),
            Suppressed(finding=fixed, reason="fixed: as the document says.", by="vex.json"),
            Suppressed(finding=accepted, reason="We live with it.", by="lama.toml", expires=date(2027, 1, 1)),
            Suppressed(finding=other, reason="not_affected: never called.", by="vex.json"),
        ],
    )
    text = to_openvex(made)
    assert text == to_openvex(made)
    told = {one["vulnerability"]["name"]: one for one in json.loads(text)["statements"]}
    assert told["CVE-1"]["justification"] == "component_not_present"
    assert told["CVE-3"]["status"] == "affected"
    assert told["CVE-3"]["action_statement"] == "Accepted until 2027-01-01: We live with it."
    assert told["CVE-4"]["status"] == "affected"
    assert told["CVE-4"]["products"] == [{"@id": "pkg:generic/web", "subcomponents": [{"@id": "pkg:pypi/alpha@1.0"}]}]
    everything = [not_affected, fixed, accepted, open_, other]
    kept, suppressed = believe(everything, read_vex(text.encode(), name="out.json"))
    assert [one.finding for one in suppressed] == [not_affected, fixed, other]
    assert kept == (accepted, open_)
    assert suppressed[0].reason == "component_not_present: not in the image."


def test_products_are_understood_by_what_they_are() -> None:
    assert subject_of("pkg:github/Actions/checkout@v4") == ("github-actions", "actions/checkout", "v4")
    assert subject_of("pkg:pypi/alpha") == ("pypi", "alpha", None)
    assert subject_of("https://example.org/team/web/") == ("", "web", None)
