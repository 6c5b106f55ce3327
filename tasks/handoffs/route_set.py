"""The routes that there are: those of `lama.toml`, and those that are blocks of Prefect. One loader for everybody."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blocks.configuration import load_configuration, place_in
from blocks.errors import ConfigurationError, LamaError, UnavailableError
from blocks.prefect_api import ROUTE_BLOCKS, PrefectApi
from blocks.settings import Settings
from blocks.toml_document import read_document
from models.configuration import Configuration
from models.handoff_form import route_of_form
from models.handoff_route import HandoffsSettings, Route
from models.report import Skip
from tasks.choose import choose

CAPABILITY = "handoffs"
Blocks = Mapping[str, Mapping[str, Any]]
"""What each block says, by its name."""

_TIMEOUT_S = 5.0
_HEADING = re.compile(r"\s*\[\[\s*handoffs\s*\.\s*routes\s*\]\]")


@dataclass(frozen=True)
class Fault:
    """A block that is no route that can be used."""

    name: str
    reason: str
    source: str | None = None
    """Whose messages it was to take, as far as it says so."""


@dataclass(frozen=True)
class RouteSet:
    """All routes, and what could not be made one."""

    settings: HandoffsSettings
    """`[handoffs]`, with every route that can be used, whether of the file or a block."""
    blocks: frozenset[str] = frozenset()
    """Names of those that are blocks."""
    faults: tuple[Fault, ...] = ()
    unseen: str | None = None
    """Why the blocks could not be looked at; None: they were."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where each is written: `file:line`, or which block."""

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every route that can be used."""
        return self.settings.routes

    @property
    def names(self) -> list[str]:
        """Names of all that are there, also of what cannot be used: their messages are nobody's leftovers."""
        return [route.name for route in self.routes] + [fault.name for fault in self.faults]

    def chosen(self, asked: list[str] | None) -> tuple[Route, ...]:
        """The routes that `asked` names, without those that cannot be used; None: all.

        Raises:
            ConfigurationError: there is no such route, or `asked` is empty.
            UnavailableError: it may be a block, and those could not be looked at.
        """
        if not asked:
            return choose(self.routes, asked, one="route", many="routes", component=CAPABILITY)
        known = set(self.names)
        missing = [name for name in asked if name not in known]
        if missing and self.unseen is not None:
            raise UnavailableError(
                f"whether there is a route {missing[0][:100]!r} is not known: {self.unseen}", component=CAPABILITY
            )
        usable = {route.name for route in self.routes}
        good = [name for name in asked if name in usable or name not in known]
        return choose(self.routes, good, one="route", many="routes", component=CAPABILITY) if good else ()

    def one(self, name: str) -> Route:
        """The route called `name`.

        Raises:
            ConfigurationError: there is no such route, or it cannot be used.
            UnavailableError: it may be a block, and those could not be looked at.
        """
        found = self.chosen([name])
        if found:
            return found[0]
        reason = next(fault.reason for fault in self.faults if fault.name == name)
        raise ConfigurationError(f"the route {name!r} cannot be used: {reason}.", component=CAPABILITY)

    def is_gone(self, name: str) -> bool:
        """Whether there is no such route at all.

        Raises:
            UnavailableError: it may be a block, and those could not be looked at.
        """
        if name in self.names:
            return False
        if self.unseen is not None:
            raise UnavailableError(
                f"whether there is a route {name[:100]!r} is not known: {self.unseen}", component=CAPABILITY
            )
        return True

    def skips(self, asked: list[str] | None = None) -> list[Skip]:
        """What of the routes that `asked` names could not be looked at; None: of all."""
        found = [
            Skip(area=CAPABILITY, component=fault.name, reason=f"The block cannot be used: {fault.reason}.")
            for fault in self.faults
            if asked is None or fault.name in asked
        ]
        if self.unseen is not None and asked is None:
            reason = f"Routes that are blocks could not be looked at: {self.unseen}"
            found.append(Skip(area=CAPABILITY, component="prefect", reason=reason))
        return found


def merge(
    configuration: Configuration, blocks: Blocks, place: Callable[[int], str] = lambda _: "lama.toml"
) -> RouteSet:
    """The routes of the file and those of `blocks`. A block that cannot be used is set aside, and the others go on.

    Args:
        configuration: what `lama.toml` says.
        blocks: what Prefect says.
        place: where in the file the route of a number is.
    """
    written = {route.name: number for number, route in enumerate(configuration.handoffs.routes)}
    routes: list[Route] = []
    faults: list[Fault] = []
    for name, said in blocks.items():
        told = said.get("source")
        source = told if isinstance(told, str) else None
        if name in written:
            reason = f"{place(written[name])} has a route {name!r}, and so has the block {name!r}; the file's holds"
            faults.append(Fault(name, reason, source))
            continue
        try:
            route = route_of_form(name, said)
        except (ValueError, RecursionError) as error:
            faults.append(Fault(name, str(error) or type(error).__name__, source))
            continue
        if problem := configuration.source_problem(route):
            faults.append(Fault(name, f"source: {problem}", source))
        else:
            routes.append(route)
    everything = (*configuration.handoffs.routes, *routes)
    return RouteSet(
        settings=configuration.handoffs.model_copy(update={"routes": everything}),
        blocks=frozenset(route.name for route in routes),
        faults=tuple(faults),
        places={route.name: f"block {route.name}" for route in routes},
    )


def load_routes(config: Settings, *, timeout_s: float = _TIMEOUT_S, places: bool = False) -> RouteSet:
    """The routes as they are now. While Prefect is away, those of the file, and why there are no others.

    Args:
        config: where `lama.toml` and Prefect are.
        timeout_s: seconds that Prefect has to answer.
        places: whether to say of each where it is written.

    Raises:
        ConfigurationError: `lama.toml` cannot be used.
    """
    configuration = load_configuration(config)
    blocks: Blocks = {}
    unseen = None
    try:
        with PrefectApi(config, timeout_s=timeout_s) as api:
            blocks = api.blocks(ROUTE_BLOCKS)
    except LamaError as error:
        unseen = str(error)
    merged = merge(configuration, blocks, lambda number: place_of(config, number))
    lines = _lines(config, configuration.handoffs.routes) if places else {}
    return RouteSet(merged.settings, merged.blocks, merged.faults, unseen, {**lines, **merged.places})


def place_of(config: Settings, number: int) -> str:
    """`file:line` of a route of the file."""
    return place_in(config, "handoffs", "routes", number)


def _lines(config: Settings, routes: Sequence[Route]) -> dict[str, str]:
    """`file:line` of each route. Where every one has a heading of its own nothing has to be parsed again."""
    path = config.config_path
    if not routes:
        return {}
    lines = [n for n, line in enumerate(read_document(path).splitlines(), 1) if _HEADING.match(line)]
    if len(lines) == len(routes):
        return {route.name: f"{path}:{line}" for route, line in zip(routes, lines, strict=True)}
    return {route.name: place_of(config, number) for number, route in enumerate(routes)}
