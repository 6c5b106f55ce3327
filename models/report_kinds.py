"""Which class a stored report is read back as."""

from __future__ import annotations

from typing import Any

from models.docs import DocsReport
from models.documents import DocumentsReport
from models.draft import DraftReport
from models.drift import DriftReport
from models.graph_report import GraphReport
from models.health_check import HealthReport
from models.market import MarketReport
from models.qualify import QualifyReport
from models.report import Report
from models.risk import AuditReport, ScanReport
from models.training import TrainReport
from models.valuation import StudyReport, TrainMarketReport, ValuationReport

_KINDS: dict[str, type[Report]] = {
    "health_check": HealthReport,
    "audit": AuditReport,
    "scan": ScanReport,
    "docs": DocsReport,
    "drift": DriftReport,
    "qualify": QualifyReport,
    "market": MarketReport,
    "documents": DocumentsReport,
    "draft": DraftReport,
    "graph": GraphReport,
    "train": TrainReport,
    "value": ValuationReport,
    "value-train": TrainMarketReport,
    "value-study": StudyReport,
}


def read_report(body: dict[str, Any]) -> Report:
    """A stored report as the class of its capability; as a plain `Report` when the capability adds nothing.

    Raises:
        pydantic.ValidationError: the body is not a report.
    """
    return _KINDS.get(str(body.get("capability")), Report).model_validate(body)
