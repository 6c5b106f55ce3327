"""The architecture module: what there is, how it hangs together, and whether it is still as it was accepted."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError

from blocks.database import dsn
from blocks.errors import UnavailableError
from blocks.graph_access import GraphAccess, embedded_installed
from blocks.home import Home
from blocks.postgres import Postgres
from blocks.settings import CHECKOUT, Settings
from models.graph import Ref
from models.health_check import OWN_SERVICES, Checkout, Service, ServiceKind
from models.report import Finding, Report, Severity, Skip, compose
from tasks.engine import run_engine
from tasks.graph.exposure import with_exposure
from tasks.graph.ingest.architecture import component
from tasks.health_check.architecture import graph as code
from tasks.health_check.architecture import snapshot
from tasks.health_check.architecture.answer import AREA, Answer, Outcome, findings_of, platform_is_off, skip_of
from tasks.health_check.architecture.drift import View, code_view, drift, node_view
from tasks.health_check.architecture.graph import CodeGraph
from tasks.health_check.architecture.host import host_facts
from tasks.health_check.architecture.probe import probe
from tasks.reports.publish import reason_of
from tasks.step import step
from tasks.target import Target

_AT_ONCE = 32  # probes
_ENGINES = 2  # import graphs at once
_ENGINE_S = 60.0
_DATABASE_S = 30.0


@dataclass
class _Seen:
    """What one part of the module came back with."""

    findings: list[Finding] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)


async def look(target: Target) -> Report:
    """The architecture of this node: its host, its services, the code of its checkouts, and their drift."""
    started_at = datetime.now(UTC)
    parts = list(await asyncio.gather(_node(target), _code(target)))
    views = {subject: view for part in parts for subject, view in part.views.items()}
    parts.append(await _drift(target, views, started_at))
    found = [finding for part in parts for finding in part.findings]
    services = {service.name for service in target.configuration.services} | set(_OWN)
    findings = await with_exposure(found, lambda one: failing_service(one, target.host, services), target.settings)
    skipped = [skip for part in parts for skip in part.skipped]
    metrics = {name: value for part in parts for name, value in part.metrics.items()}
    return compose(
        Report,
        capability=f"health_check.{AREA}",
        summary=_summary(metrics, findings, skipped),
        findings=findings,
        skipped=skipped,
        metrics=metrics,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=target.run_id,
    )


async def _node(target: Target) -> _Seen:
    """The host, the services that it is told to watch, and Lama's own parts."""
    seen = _Seen()
    watched = [(service, *_secret(target.settings, service)) for service in target.configuration.services]
    named = {service.name for service in target.configuration.services}
    own = [
        (service, secret, None)
        for service, secret in own_parts(target.settings, graph=_graph_expected(target))
        if service.name not in named
    ]
    everything = [*watched, *own]
    answers = await probe_services([(service, secret) for service, secret, problem in everything if problem is None])
    by_name = {answer.service: answer for answer in answers}
    off = platform_is_off([by_name[service.name] for service, _, _ in own if service.name != _GRAPH])
    if not off and not _gateway_expected(target.settings) and by_name[_GATEWAY].outcome is Outcome.down:
        # A platform that a command started for itself has none, and a worker of its own machine neither.
        everything = [one for one in everything if one[0].name != _GATEWAY]
        answers = [answer for answer in answers if answer.service != _GATEWAY]
    for service, _, problem in everything:
        if problem is not None:
            seen.skipped.append(_no_secret(service, problem))
            continue
        answer = by_name[service.name]
        if (skip := skip_of(answer)) is not None:
            seen.skipped.append(skip)
        if not (off and answer.service in _OWN):
            seen.findings.extend(findings_of(service, answer))
        if answer.seconds is not None and answer.outcome is Outcome.up:
            seen.metrics[f"response_{_metric(service.name)}_seconds"] = answer.seconds
    if off:
        seen.findings.append(_off(target.host))
    facts = host_facts()
    seen.findings.append(_host_inventory(target.host, facts))
    seen.findings.append(_service_inventory(target.host, answers))
    seen.metrics["services_total"] = len(everything)
    seen.metrics["services_up_total"] = sum(answer.outcome is Outcome.up for answer in answers)
    seen.views[f"node:{target.host}"] = node_view(facts, list(by_name.values()), target.configuration.services)
    return seen


@step("probe services", retries=0)
async def probe_services(services: Sequence[tuple[Service, SecretStr | None]]) -> list[Answer]:
    """How every service answers, in their order; each has its own time limit, and many are asked at once."""
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def ask(service: Service, secret: SecretStr | None) -> Answer:
        async with at_once:
            return await probe(service, secret)

    return list(await asyncio.gather(*(ask(service, secret) for service, secret in services)))


async def _code(target: Target) -> _Seen:
    """The code of every checkout."""
    seen = _Seen()
    turn = asyncio.Semaphore(_ENGINES)
    layers = target.configuration.architecture.layers
    known = {checkout.name for checkout in (*target.checkouts, *target.configuration.checkouts)}
    for name in sorted(layers.keys() - known):
        seen.findings.append(_layers_of_nobody(name))

    async def read(checkout: Checkout) -> tuple[Checkout, CodeGraph | Skip]:
        async with turn:
            try:
                return checkout, await read_imports(checkout)
            except UnavailableError as error:
                return checkout, _unknown_code(checkout, reason_of(error))

    for checkout, found in await asyncio.gather(*(read(checkout) for checkout in target.checkouts)):
        if isinstance(found, Skip):
            seen.skipped.append(found)
            continue
        order = layers.get(checkout.name, ())
        seen.findings.extend(
            code.findings_of(checkout.name, found, order, target.configuration.architecture.max_fan_out)
        )
        seen.findings.append(code.inventory_of(checkout.name, found))
        seen.skipped.extend(code.skips_of(checkout.name, found))
        seen.views[f"code:{checkout.name}"] = code_view(found)
        for name, value in (("packages", found.packages), ("modules", found.modules), ("imports", found.imports)):
            seen.metrics[f"{name}_total"] = seen.metrics.get(f"{name}_total", 0) + len(value)
        circles = len(code.cycles(found.edges()))
        seen.metrics["cycles_total"] = seen.metrics.get("cycles_total", 0) + circles
    return seen


@step("read the import graph", retries=1)
async def read_imports(checkout: Checkout, timeout_s: float = _ENGINE_S) -> CodeGraph | Skip:
    """The import graph of `checkout`, or why there is none. Its code is read, never run.

    Raises:
        UnavailableError: the engine failed or took longer than `timeout_s` seconds.
    """
    if not await asyncio.to_thread(checkout.path.is_dir):
        there = await asyncio.to_thread(checkout.path.exists)
        reason = f"{checkout.path} is not a folder." if there else f"{checkout.path} does not exist."
        return _unknown_code(checkout, f"{reason} Correct its path in lama.toml, or check it out there.")
    question = {"root": str(checkout.path), "packages": checkout.packages, "exclude": checkout.exclude}
    outcome = await run_engine(
        [sys.executable, "-m", "tasks.health_check.architecture.imports"],
        timeout_s=timeout_s,
        cwd=CHECKOUT,  # never the checkout that is looked at: Python would import from there
        stdin=json.dumps(question).encode(),
        max_output=64 * 1024 * 1024,
    )
    if outcome.code != 0:
        last = outcome.stderr.strip().rpartition("\n")[2][:300]
        return _unknown_code(checkout, f"grimp could not read it: {last or f'exit code {outcome.code}'}")
    answer = json.loads(outcome.stdout)
    if "problem" in answer:
        return _unknown_code(checkout, answer["problem"])
    return CodeGraph.model_validate(answer["graph"])


async def _drift(target: Target, views: dict[str, View], now: datetime) -> _Seen:
    """What differs from the accepted architecture; the first one that is seen is accepted."""
    try:
        accepted = await remember(Postgres.of(target.settings), views, now)
    except (SQLAlchemyError, OSError) as error:
        reason = f"drift is not known, because the database cannot be used: {reason_of(error)}"
        return _Seen(skipped=[Skip(area=AREA, component="drift", reason=reason, hides=(f"{AREA}.drift:",))])
    found = [finding for subject, view in accepted.items() for finding in drift(subject, view, views[subject])]
    return _Seen(findings=found, metrics={"drift_total": len(found)})


@step("compare with the accepted architecture", retries=1, timeout_s=_DATABASE_S)
async def remember(database: Postgres, views: dict[str, View], now: datetime) -> dict[str, View]:
    """Store `views` and return what was accepted of each subject."""
    return await asyncio.to_thread(snapshot.record, database, views, now)


_BROKEN = frozenset({"down", "credentials", "failing", "hanging", "slow"})
_OWN = OWN_SERVICES
_GATEWAY, _GRAPH = _OWN[2:]


def own_parts(settings: Settings, *, graph: bool = False) -> list[tuple[Service, SecretStr | None]]:
    """Lama's own platform as services, with what they ask for; with `graph`, that of the knowledge graph, too."""
    database, prefect, gateway, _ = _OWN
    at = (settings.gateway_outside or settings.gateway_url).rstrip("/")
    return [
        (Service(name=database, kind=ServiceKind.postgresql, url=dsn(settings)), None),
        (Service(name=prefect, kind=ServiceKind.prefect, url=settings.api_url), settings.prefect_auth),
        (Service(name=gateway, kind=ServiceKind.http, url=f"{at}/health"), None),
        *([_graph_part(settings)] if graph else ()),
    ]


def _graph_part(settings: Settings) -> tuple[Service, SecretStr | None]:
    block = GraphAccess.of(settings, reader=True)
    parts = urlsplit(block.uri)
    url = urlunsplit(parts._replace(netloc=f"{quote(block.user, safe='')}@{parts.netloc.rpartition('@')[2]}"))
    return Service(name=_GRAPH, kind=ServiceKind.bolt, url=url), block.password


def _gateway_expected(settings: Settings) -> bool:
    """Whether a gateway should be up: a `lama up` keeps one here, or the settings say where it is."""
    return settings.gateway_outside is not None or Home(settings).keep_mark.exists()


def _graph_expected(target: Target) -> bool:
    """Whether a graph server should be up: the settings name one, or a `lama up` keeps the embedded one here."""
    config = target.settings
    if not config.embeds_graph:
        return True
    return target.configuration.graph.embedded and embedded_installed() and Home(config).keep_mark.exists()


def _secret(settings: Settings, service: Service) -> tuple[SecretStr | None, str | None]:
    """The secret that `service` names, and why there is none."""
    if service.secret is None:
        token = settings.letta_token if service.kind is ServiceKind.letta else None
        return token, None
    path: Path = Home(settings).secrets / service.secret
    try:
        return SecretStr(path.read_text(encoding="utf-8").strip()), None
    except FileNotFoundError:
        return None, f"there is no file {service.secret!r} in the home's secrets folder."
    except (OSError, UnicodeDecodeError) as error:
        return None, f"its secret {service.secret!r} cannot be read ({type(error).__name__})."


def _no_secret(service: Service, problem: str) -> Skip:
    return Skip(area=AREA, component=service.name, reason=f"{service.name} could not be looked at: {problem}")


def _unknown_code(checkout: Checkout, reason: str) -> Skip:
    kinds = ("cycle", "layer", "layer_unknown", "fan_out", "syntax", "code", "drift:code")
    return Skip(
        area=AREA,
        component=checkout.name,
        reason=f"the import graph of {checkout.name} is not known: {reason}",
        hides=tuple(f"{AREA}.{kind}:{checkout.name}" for kind in kinds),
    )


def _layers_of_nobody(name: str) -> Finding:
    return Finding(
        key=f"{AREA}.layers_of_nobody:{name}",
        severity=Severity.medium,
        component="lama.toml",
        title=f"[architecture.layers] names {name!r}, but no checkout is called so: its layers are not checked.",
        remedy="Use the name of one of [[checkouts]].",
    )


def _off(host: str) -> Finding:
    return Finding(
        key=f"{AREA}.platform_off:{host}",
        severity=Severity.low,
        component=host,
        title="Lama's own platform is not up here: PostgreSQL, Prefect and the gateway do not answer.",
        remedy="Start it with `lama up`.",
    )


def _host_inventory(host: str, facts: dict[str, str]) -> Finding:
    return Finding(
        key=f"{AREA}.host:{host}",
        severity=Severity.info,
        component=host,
        title=f"{host} runs {facts['distribution']} ({facts['kernel']}) with {facts['cores']} cores and "
        f"{facts['memory_gib']} GiB.",
        evidence=dict(facts),
    )


def _service_inventory(host: str, answers: Sequence[Answer]) -> Finding:
    up = sum(answer.outcome is Outcome.up for answer in answers)
    return Finding(
        key=f"{AREA}.services:{host}",
        severity=Severity.info,
        component=host,
        title=f"{up} of {len(answers)} services answer.",
        evidence={answer.service: answer.model_dump(mode="json", exclude={"service"}) for answer in answers},
    )


def _summary(metrics: dict[str, float], findings: Sequence[Finding], skipped: Sequence[Skip]) -> str:
    said = f"{metrics['services_up_total']:.0f} of {metrics['services_total']:.0f} services answer"
    if "modules_total" in metrics:
        said += f"; {metrics['modules_total']:.0f} modules in {metrics['packages_total']:.0f} packages were read"
    said += f", {metrics['cycles_total']:.0f} circles of imports" if metrics.get("cycles_total") else ""
    drifted = [finding for finding in findings if finding.key.startswith(f"{AREA}.drift:")]
    said += f"; the architecture differs in {len(drifted)} ways from the accepted one" if drifted else ""
    return f"{said}; {len(skipped)} things could not be looked at." if skipped else f"{said}."


def failing_service(finding: Finding, host: str, services: Set[str]) -> Ref | None:
    """The service that does not do what it should, when `finding` is about one."""
    kind, _, name = finding.key.removeprefix(f"{AREA}.").partition(":")
    if kind in _BROKEN and name == finding.component and name in services:
        return component(host, name)
    return None


def _metric(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "unnamed"
