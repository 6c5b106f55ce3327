"""`lama.toml`: what a node watches, its thresholds, its schedules, its webhooks."""

from __future__ import annotations

from pydantic import Field, model_validator

from models.advisories import AdvisoriesSettings
from models.audit import AuditSettings
from models.cron import cron_problem
from models.docs import DocsSettings
from models.documents import DocumentsSettings
from models.draft import DraftSettings
from models.drift import DriftSettings
from models.graph_settings import GraphSettings
from models.handoff_route import HandoffsSettings, Route
from models.health_check import (
    OWN_SERVICES,
    ArchitectureSettings,
    Checkout,
    DocumentationSettings,
    GeminiSettings,
    HealthCheckSettings,
    PerformanceSettings,
    Service,
)
from models.mail import MailSettings
from models.market import MarketSettings
from models.model_host import ModelHostSettings
from models.place import PlaceError, second_of_a_name
from models.qualify import QualifySettings
from models.report import Value
from models.risk import Suppression
from models.scan import ScanSettings
from models.service_address import AddressError, parse_address
from models.sync import SyncSettings
from models.valuation import ValuationSettings
from models.webhook import WebhooksSettings


class Configuration(Value):
    """The whole file. Every part has a default: a node without a file watches itself and its own checkout."""

    checkouts: tuple[Checkout, ...] = Field(default=(), description="`[[checkouts]]`: source code that is watched.")
    services: tuple[Service, ...] = Field(default=(), description="`[[services]]`: what should answer.")
    schedules: dict[str, str] = Field(
        default_factory=dict,
        description="`[schedules]`: cron expressions by deployment, instead of those in `prefect.yaml`; empty: none.",
    )
    health_check: HealthCheckSettings = Field(default=HealthCheckSettings(), description="The health check as a whole.")
    architecture: ArchitectureSettings = Field(default=ArchitectureSettings(), description="Its architecture module.")
    performance: PerformanceSettings = Field(default=PerformanceSettings(), description="Its performance module.")
    documentation: DocumentationSettings = Field(
        default=DocumentationSettings(), description="Its documentation module."
    )
    advisories: AdvisoriesSettings = Field(
        default=AdvisoriesSettings(), description="Where known vulnerabilities are looked up."
    )
    audit: AuditSettings = Field(default=AuditSettings(), description="The audit of dependencies.")
    scan: ScanSettings = Field(default=ScanSettings(), description="The security scan.")
    suppressions: tuple[Suppression, ...] = Field(
        default=(), description="`[[suppressions]]`: findings of audits and scans that are set aside."
    )
    webhooks: WebhooksSettings = Field(default=WebhooksSettings(), description="What the gateway takes and starts.")
    handoffs: HandoffsSettings = Field(
        default=HandoffsSettings(),
        description="What becomes of messages that arrive by one protocol, in another system.",
    )
    mail: MailSettings = Field(default=MailSettings(), description="Where mail comes in.")
    model_host: ModelHostSettings = Field(
        default=ModelHostSettings(), description="Which language models there are, and their memory."
    )
    sync: SyncSettings = Field(
        default_factory=SyncSettings, description="Folders that are the same on several devices."
    )
    drift: DriftSettings = Field(
        default=DriftSettings(), description="Whether trained models still see what they were trained on."
    )
    valuation: ValuationSettings = Field(
        default=ValuationSettings(), description="The markets in which properties are valued."
    )
    qualify: QualifySettings = Field(default=QualifySettings(), description="How leads are graded.")
    market: MarketSettings = Field(default=MarketSettings(), description="How markets are analysed.")
    documents: DocumentsSettings = Field(default=DocumentsSettings(), description="How property documents are read.")
    draft: DraftSettings = Field(default=DraftSettings(), description="What is written to clients.")
    graph: GraphSettings = Field(default_factory=GraphSettings, description="The knowledge graph.")
    docs: DocsSettings = Field(default=DocsSettings(), description="Documentation of the checkouts.")
    gemini: GeminiSettings = Field(default=GeminiSettings(), description="The author of narratives, when a key is set.")

    @property
    def timetable(self) -> dict[str, str]:
        """Cron expressions by deployment, instead of those in `prefect.yaml`; what has nothing to do has none."""
        idle = {"mail": ""} if not self.mail.mailboxes else {}
        if self.sync.store is None:
            idle["sync"] = ""
        return idle | self.schedules

    def source_problem(self, route: Route) -> str | None:
        """What is wrong with the source that `route` names; None: there is such a one."""
        kind, _, name = route.source.partition(":")
        sources = self.webhooks.registry
        if kind in {"webhook", "whatsapp"} and name not in sources:
            return (
                f"the handoff route {route.name!r} names the webhook source {name!r}; "
                f"there are {', '.join(sorted(sources))}"
            )
        if kind == "email" and name not in self.mail.names:
            return (
                f"the handoff route {route.name!r} names the source of mail {name!r}; "
                f"there are {', '.join(self.mail.names) or 'none in [mail]'}"
            )
        return None

    def _hangs_on_nothing(self, service: Service) -> tuple[str, str] | None:
        """The key of `service` that names what is not there, and what is said of it."""
        code = [checkout.name for checkout in self.checkouts]
        if service.checkout is not None and code and service.checkout not in code:
            return "checkout", f"there is no checkout {service.checkout!r}; there are {', '.join(code)}"
        beside = [other.name for other in self.services if other is not service]
        for name in service.needs:
            if name not in {*beside, *OWN_SERVICES}:
                known = ", ".join((*beside, *OWN_SERVICES))
                return "needs", f"there is no other service {name!r}; there are {known}"
        return None

    @model_validator(mode="after")
    def _names_identify(self) -> Configuration:
        for kind, names in (
            ("checkouts", [checkout.name for checkout in self.checkouts]),
            ("services", [service.name for service in self.services]),
        ):
            if (again := second_of_a_name(names)) is not None:
                raise PlaceError(f"two {kind} are called {names[again]!r}; names identify them", kind, again, "name")
        for place, service in enumerate(self.services):
            if (wrong := self._hangs_on_nothing(service)) is not None:
                raise PlaceError(wrong[1], "services", place, wrong[0])
        for place, route in enumerate(self.handoffs.routes):
            if problem := self.source_problem(route):
                raise PlaceError(problem, "handoffs", "routes", place, "source")
        known = [market.name for market in self.valuation.markets]
        for caller, role in self.graph.callers.items():
            if role not in self.graph.roles:
                problem = f"there is no role {role!r}; there are {', '.join(self.graph.roles) or 'none'}"
                raise PlaceError(problem, "graph", "callers", caller)
        for place, listings in enumerate(self.market.listings):
            if listings.market not in known:
                problem = f"there is no market {listings.market!r}; there are {', '.join(known) or 'none'}"
                raise PlaceError(problem, "market", "listings", place, "market")
        return self

    @model_validator(mode="after")
    def _usable(self) -> Configuration:
        for name, cron in self.schedules.items():
            if cron and (problem := cron_problem(cron)):
                raise PlaceError(f"{cron!r} is no cron expression: {problem}", "schedules", name)
        for place, service in enumerate(self.services):
            try:
                parse_address(service.kind, service.url)
            except AddressError as error:
                raise PlaceError(str(error), "services", place, "url") from error
        return self
