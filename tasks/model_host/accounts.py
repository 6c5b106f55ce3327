"""Names of the catalogue and the weights behind them: names with the same weights share one copy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from models.model_host import CatalogueEntry, Priority

DEFAULT_CONTEXT = 4096


@dataclass(frozen=True)
class Account:
    """One copy of weights."""

    key: str
    names: tuple[str, ...]
    entry: CatalogueEntry
    """How it is loaded: with the widest context and the most slots that any of its names asks for."""

    @property
    def priority(self) -> Priority:
        """That of its most important name."""
        return self.entry.priority


def accounts_of(entries: Iterable[CatalogueEntry]) -> Mapping[str, Account]:
    """The account of every name."""
    groups: dict[str, list[CatalogueEntry]] = {}
    for entry in entries:
        groups.setdefault(weights_key(entry), []).append(entry)
    found = {}
    for key, group in groups.items():
        names = tuple(entry.name for entry in group)
        found.update(dict.fromkeys(names, Account(key, names, _together(group))))
    return found


def weights_key(entry: CatalogueEntry) -> str:
    """What tells weights in memory apart: two entries with one key are answered by one copy."""
    engine = entry.engine.value if entry.engine else ""
    divided = () if entry.devices is None else (f"on {entry.devices}",)
    return "|".join((entry.source, engine, entry.quantisation.value, entry.kind.value, *divided))


def _together(group: list[CatalogueEntry]) -> CatalogueEntry:
    first = group[0]
    widest = max(entry.context_window or DEFAULT_CONTEXT for entry in group)
    said = all(entry.context_window for entry in group)
    return first.model_copy(
        update={
            "context_window": widest if said or widest > DEFAULT_CONTEXT else None,
            "concurrency": max(entry.concurrency for entry in group),
            "priority": min(entry.priority for entry in group),
        }
    )
