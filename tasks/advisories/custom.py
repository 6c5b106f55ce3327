"""Advisories of one's own about one's own components, from a TOML file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks.errors import ConfigurationError
from tasks.advisories.local_copy import gap
from tasks.advisories.record import GRADED, Advisory, read_advisory
from tasks.advisories.source import SourceState, Told, Wanted

if TYPE_CHECKING:
    from tasks.advisories.rules_document import Rule

NAME = "rules"
BUILT_IN = Path(__file__).with_name("lama.toml")
"""Those that come with Lama, about what it works with."""


class OwnRules:
    """The file at `path`. It adds to what other sources know, and covers no ecosystem."""

    def __init__(self, path: Path, *, name: str = NAME) -> None:
        self._path = path
        self._name = name

    @property
    def name(self) -> str:
        """Its name in settings and findings."""
        return self._name

    async def tell(self, wanted: Wanted) -> Told:
        """Those that are about what is wanted."""
        try:
            advisories = await asyncio.to_thread(load_rules, self._path)
        except ConfigurationError as error:
            return Told(SourceState(self._name), gaps=(gap(self._name, str(error)),))
        about = {}
        for package in wanted:
            told = tuple(one for one in advisories if any(_same(package, other) for other in one.packages))
            if told:
                about[package] = told
        return Told(SourceState(self._name, records=len(advisories)), about)


def load_rules(path: Path) -> tuple[Advisory, ...]:
    """The advisories of a file.

    Raises:
        ConfigurationError: it cannot be read or is not valid; every problem with its line and key.
    """
    from blocks.toml_document import parse_document, read_document  # noqa: PLC0415 - pydantic, for those who have rules
    from tasks.advisories.rules_document import Rules  # noqa: PLC0415

    return tuple(_advisory(rule) for rule in parse_document(Rules, read_document(path), str(path)).advisories)


def _advisory(rule: Rule) -> Advisory:
    affected: dict[str, Any] = {
        "package": {"ecosystem": rule.ecosystem, "name": rule.package},
        "versions": list(rule.versions),
        "ranges": [
            {"type": "ECOSYSTEM", "events": [{kind: version} for kind, version in events]} for events in rule.ranges()
        ],
    }
    return read_advisory(
        {
            "id": rule.id,
            "aliases": list(rule.aliases),
            "summary": f"{rule.title.rstrip('.')}. {rule.remedy}".strip().removesuffix("."),
            "references": [{"type": "ADVISORY", "url": rule.url}] if rule.url else [],
            "affected": [affected],
            GRADED: {"severity": rule.severity.value},
        }
    )


def _same(package: Any, other: Any) -> bool:
    return bool(package.name == other.name and package.family == other.family)
