"""The rules that come with the scan: each has one id, and one row in the guide that says the same as the code."""

from __future__ import annotations

import re

from blocks.settings import CHECKOUT
from models.report import Severity
from tasks.scan import compose, containers, licences, services, workflows
from tasks.scan.built_in import BuiltInRule, Hit, findings_of

RULES = (*containers.RULES, *compose.RULES, *workflows.RULES, *licences.RULES, *services.RULES)
GUIDE = (CHECKOUT / "docs/security-rules.md").read_text(encoding="utf-8")


def row(rule: BuiltInRule) -> str:
    what = f"{rule.what[0].upper()}{rule.what[1:]}"
    return f"| {rule.id} | {what} | {rule.severity.value} | {rule.why} | {rule.remedy} |"


def test_the_guide_says_of_every_rule_what_the_code_says() -> None:
    assert [row(rule) for rule in RULES if row(rule) not in GUIDE.splitlines()] == []
    assert re.findall(r"^\| ([A-Z]{2}\d{3}) \|", GUIDE, re.MULTILINE) == [rule.id for rule in RULES]


def test_ids_identify() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_one_finding_a_rule_and_file_as_severe_as_its_worst_place() -> None:
    rule = BuiltInRule("XX001", "it is so.", Severity.low, "Because.", "Do not.")
    hits = [Hit(rule, 7), Hit(rule, 3, "Here.", Severity.high), Hit(rule, 3, "\ud800\0")]
    (finding,) = findings_of("container", "app", "web/Dockerfile", hits)
    assert finding.key == "security.container:app/web/Dockerfile/XX001"
    assert (finding.severity, finding.evidence["lines"]) == (Severity.high, [3, 7])
    assert "\0" not in finding.model_dump_json()
    (planted,) = findings_of("container", "app", "tests/Dockerfile", hits)
    assert planted.severity is Severity.low
