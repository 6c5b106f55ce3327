"""Which model answers, by what it is good for, what its memory costs now and how fast it is; and who else may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from blocks.errors import LamaError
from models.model_host import CatalogueEntry, Choice, EngineKind, HostStatus, ModelStatus, Requirements
from tasks.model_host.accounts import DEFAULT_CONTEXT
from tasks.model_host.errors import EngineError, NobodyAnsweredError, NoModelError, RequestError
from tasks.model_host.turns import Outlook

T = TypeVar("T")

_MEMORY = {Outlook.resident: 1.0, Outlook.parked: 0.75, Outlook.fits: 0.5, Outlook.eviction: 0.2}
_SAID = {
    Outlook.resident: "loaded",
    Outlook.parked: "parked in host memory",
    Outlook.fits: "not loaded; its memory is free",
    Outlook.eviction: "not loaded; others have to leave for it",
}
_WEIGHTS = {
    # use case, memory now, speed, quality, sharing
    "balanced": (3.0, 2.0, 1.0, 1.5, 0.5),
    "speed": (3.0, 2.0, 4.0, 0.5, 0.5),
    "quality": (3.0, 0.5, 0.5, 5.0, 0.25),
    "memory": (3.0, 4.0, 0.5, 0.5, 2.0),
}
_FAST = 100.0
"""Tokens a second that count as fast: half of the marks for speed."""


def select(
    entries: Iterable[CatalogueEntry],
    requirements: Requirements,
    status: HostStatus,
    outlooks: Mapping[str, Outlook],
    tokens_per_s: Mapping[str, float],
    engines: Mapping[str, EngineKind] = MappingProxyType({}),
) -> Choice:
    """The best model that meets `requirements`. Of two that are as good, the one that is declared first.

    Args:
        entries: the catalogue.
        requirements: what the caller needs.
        status: the host; of models that it does not tell of nothing is known.
        outlooks: how soon each could answer, by name; see `Residency.outlook`.
        tokens_per_s: measured speeds by name; they count before what the catalogue says.
        engines: what runs each model, as far as it is known.

    Raises:
        NoModelError: none does; it says of each why.
    """
    entries = tuple(entries)
    seen = {model.name: model for model in status.models}
    excluded, marked = [], []
    for entry in entries:
        why = _unfit(entry, requirements, seen.get(entry.name), outlooks.get(entry.name, Outlook.eviction))
        if not why and requirements.structured and engines.get(entry.name) is EngineKind.transformers:
            why = "it cannot follow a schema"
        if why:
            excluded.append((entry.name, why))
            continue
        speed = tokens_per_s.get(entry.name) or entry.tokens_per_s
        outlook = outlooks.get(entry.name, Outlook.eviction)
        marked.append((*_marks(entry, requirements, seen.get(entry.name), outlook, speed), entry))
    if not marked:
        said = "; ".join(f"{name}: {why}" for name, why in excluded) or "the catalogue is empty"
        raise NoModelError(f"no model meets the requirements ({said}).", tuple(excluded))
    marked.sort(key=lambda each: -each[0])
    score, reasons, best = marked[0]
    others = tuple(f"{name} was left out: {why}" for name, why in excluded)
    left = {entry.name for _, _, entry in marked}
    return Choice(
        model=best.name,
        score=round(score, 4),
        reasons=reasons + others,
        fallback=tuple(name for name in chain(best.name, fallbacks(entries)) if name != best.name and name in left),
    )


def fallbacks(entries: Iterable[CatalogueEntry]) -> Mapping[str, tuple[str, ...]]:
    """The declared fallbacks by name."""
    return {entry.name: entry.fallback for entry in entries}


def chain(model: str, declared: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """`model`, its fallbacks in their order, then theirs; each once, however they point at each other."""
    found = [model]
    for name in found:  # it grows meanwhile
        found += [other for other in dict.fromkeys(declared.get(name, ())) if other not in found]
    return tuple(found)


@dataclass(frozen=True)
class Answered(Generic[T]):
    """An answer, and who did not give it."""

    model: str
    answer: T
    failures: tuple[tuple[str, str], ...] = ()
    """Models that were asked before, and why each could not answer."""


async def answered_by(
    models: Iterable[str], attempt: Callable[[str], Awaitable[T]], *, timeout_s: float | None = None
) -> Answered[T]:
    """The answer of the first of `models` that gives one.

    A stream is begun inside `attempt`, up to its first piece: after that nobody else can take over.

    Args:
        models: who is asked, in this order; see `chain`.
        attempt: asks one of them.
        timeout_s: how long each may take.

    Raises:
        RequestError: the request cannot be answered as it is, by whomever.
        NobodyAnsweredError: all of them failed.
        LamaError: what the only one failed with.
    """
    failures: list[tuple[str, LamaError]] = []
    for model in models:
        try:
            async with asyncio.timeout(timeout_s):
                answer = await attempt(model)
        except RequestError as error:
            # A shorter window or a kind that it is not says nothing of the others; but the first one was meant.
            if not failures:
                raise
            failures.append((model, error))
        except LamaError as error:
            failures.append((model, error))
        except TimeoutError:
            if timeout_s is None:
                raise
            failures.append((model, EngineError(f"it gave no answer within {timeout_s:g} s.", component=model)))
        else:
            return Answered(model, answer, tuple((name, error.what) for name, error in failures))
    if len(failures) == 1:
        raise failures[0][1]
    raise NobodyAnsweredError(tuple(failures))


def _unfit(entry: CatalogueEntry, requirements: Requirements, seen: ModelStatus | None, outlook: Outlook) -> str | None:
    """Why `entry` cannot be chosen."""
    window = seen.context_window if seen else entry.context_window or DEFAULT_CONTEXT
    size, most = _bytes(seen), requirements.largest_bytes
    reasons = (
        (entry.kind is not requirements.kind, f"it is there to {entry.kind}, not to {requirements.kind}"),
        (
            window < requirements.context_tokens,
            f"its context window has {window} tokens, {requirements.context_tokens} are needed",
        ),
        (
            entry.quality < requirements.least_quality,
            f"its quality {entry.quality:g} is below {requirements.least_quality:g}",
        ),
        (
            bool(requirements.licences) and entry.licence not in requirements.licences,
            f"its licence {entry.licence or '(none is told)'} is none of {', '.join(requirements.licences)}",
        ),
        (most is not None and size is None, f"what it takes is not known, at most {most} bytes are allowed"),
        (most is not None and (size or 0) > most, f"it takes {size} bytes, at most {most} are allowed"),
        (outlook is Outlook.never, "it can never fit the device"),
        (bool(seen and seen.error), f"it could not be loaded a moment ago: {seen.error if seen else ''}"),
    )
    return next((why for holds, why in reasons if holds), None)


def _bytes(seen: ModelStatus | None) -> int | None:
    if seen is None:
        return None
    return seen.held_bytes or (seen.predicted.resident if seen.predicted else None)


def _marks(
    entry: CatalogueEntry,
    requirements: Requirements,
    seen: ModelStatus | None,
    outlook: Outlook,
    speed: float | None,
) -> tuple[float, tuple[str, ...]]:
    """A score from 0 to 1, and what it is made of."""
    asked = requirements.use_case
    fits = 1.0 if not asked or asked in entry.use_cases else 0.3 if not entry.use_cases else 0.0
    shared = bool(seen and seen.shares_with and outlook is Outlook.resident)
    parts = (fits, _MEMORY[outlook], speed / (speed + _FAST) if speed else 0.25, entry.quality, float(shared))
    weights = _WEIGHTS[requirements.prefer]
    score = sum(weight * part for weight, part in zip(weights, parts, strict=True)) / sum(weights)
    reasons = [_SAID[outlook], f"quality {entry.quality:g}"]
    if asked:
        word = (
            "declared for" if fits == 1.0 else "declared for no use case, so not against" if fits else "not meant for"
        )
        reasons.insert(0, f"{word} {asked}")
    reasons.append(f"{round(speed, 1):g} tokens a second" if speed else "its speed has not been measured")
    if shared and seen:
        reasons.append(f"its weights are shared with {', '.join(seen.shares_with)}")
    return score, tuple(reasons)
