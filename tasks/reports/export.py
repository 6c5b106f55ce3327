"""The forms in which a report leaves Lama, by name. Each is imported when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from uuid import NAMESPACE_URL, uuid5

from blocks.errors import LamaError
from models.health_check import ReportLevel
from models.report import Report
from models.risk import AuditReport, RiskReport


def export(report: Report, form: str) -> str:
    """`report` in one of `FORMS`.

    Raises:
        LamaError: there is no such form, or it cannot hold a report of this kind.
    """
    if form not in FORMS:
        raise LamaError(f"there is no form {form!r}; there are {', '.join(FORMS)}.")
    return FORMS[form](report)


def _json(report: Report) -> str:
    return report.model_dump_json(indent=2)


def _markdown(report: Report) -> str:
    from tasks.reports.render import to_markdown  # noqa: PLC0415

    return to_markdown(report, ReportLevel.comprehensive)


def _sarif(report: Report) -> str:
    from tasks.reports.sarif import to_sarif  # noqa: PLC0415

    return to_sarif(report)


def _cyclonedx(report: Report) -> str:
    from tasks.audit.cyclonedx_out import to_cyclonedx  # noqa: PLC0415

    if not isinstance(report, AuditReport):
        raise LamaError("only an audit knows the components that a bill of materials lists.", component="cyclonedx")
    text = to_cyclonedx(
        report.components,
        report.weaknesses,
        suppressed={one.finding.key: one.reason for one in report.suppressed},
        timestamp=report.finished_at,
        serial=uuid5(NAMESPACE_URL, f"lama:audit:{report.run_id}"),
        tool_version=version("lama"),
    )
    # Whoever gets the document does not see the report: an audit that is incomplete must not look like a clean one.
    document = json.loads(text)
    document["compositions"] = [{"aggregate": "incomplete" if report.skipped else "unknown"}]
    properties = [{"name": "lama:status", "value": report.status.value}]
    properties += [{"name": "lama:not-looked-at", "value": f"{s.component}: {s.reason}"} for s in report.skipped[:100]]
    document["metadata"]["properties"] = properties
    return json.dumps(document, indent=2, ensure_ascii=False)


def _openvex(report: Report) -> str:
    from tasks.risk.vex import to_openvex  # noqa: PLC0415

    if not isinstance(report, RiskReport):
        raise LamaError("only audits and scans have something to say about being affected.", component="openvex")
    return to_openvex(report)


FORMS: Mapping[str, Callable[[Report], str]] = {
    "json": _json,
    "markdown": _markdown,
    "sarif": _sarif,
    "cyclonedx": _cyclonedx,
    "openvex": _openvex,
}
