"""Does what a plan says, step by step: what cannot be done is skipped, with the reason, and the rest is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from blocks.errors import LamaError
from tasks.sync.apply import Applied, Applier, Fetch, Meanwhile
from tasks.sync.reconcile import Plan, Put, Remove
from tasks.sync.upload import LARGE

_BATCH = 20_000
_BATCH_BYTES = 512 * 1024 * 1024


def apply(plan: Plan, applier: Applier, fetch: Fetch, *, at_once: int = 1) -> Iterator[None]:
    """Do what `plan` says; yields after each step, so that somebody can see how far it is.

    Large contents are fetched `at_once` side by side. What cannot be done is skipped, with the reason; the rest is
    done. What `applier.applied` says is only true once `applier.settle()` has returned after it.
    """
    applied = applier.applied
    staged = _staged((*plan.copies, *plan.put), applier, fetch, at_once)
    applied.done -= staged
    applier.settle()
    for one in plan.copies:
        if one.path in staged:
            _try(applied, one.path, partial(applier.put, one))
            yield
    for path, places in plan.needs.items():
        if not places.isdisjoint(applied.skipped):
            applied.skipped[path] = "its conflict copy could not be made"
    steps: list[tuple[str, Callable[[], Any]]] = [(one.path, partial(applier.clear, one)) for one in plan.cleared]
    steps += [(path, partial(applier.make_directory, path, mode)) for path, mode in plan.directories]
    steps += [(one.to, partial(applier.move, one)) for one in plan.moved]
    steps += [(one.path, partial(applier.remove, one)) for one in plan.removed]
    for path, step in steps:
        _try(applied, path, step)
        yield
    for move in plan.moved:  # the path that it came from is empty when it has arrived
        if move.to in applied.done:
            applied.done.add(move.path)
        else:
            applied.skipped[move.path] = applied.skipped.get(move.to, "it was not moved")
    steps = [(one.path, partial(_emptied, applier, one)) for one in plan.emptied]
    steps += [(one.path, partial(applier.put, one)) for one in plan.put if one.path in staged]
    steps += [(path, partial(applier.set_mode, path, now, content)) for path, now, content in plan.modes]
    for path, step in steps:
        _try(applied, path, step)
        yield


def _staged(puts: Sequence[Put], applier: Applier, fetch: Fetch, at_once: int) -> set[str]:
    """Have contents ready, large ones `at_once` side by side; the paths of those that are."""

    def stage(one: Put) -> bool:
        return _try(applier.applied, one.path, partial(applier.stage, one, fetch))

    alone = [one for one in puts if one.content.size >= LARGE and applier.comes_alone(one)] if at_once > 1 else []
    staged: set[str] = set()
    if len(alone) > 1:
        with ThreadPoolExecutor(at_once) as pool:
            staged = {one.path for one, made in zip(alone, pool.map(stage, alone), strict=True) if made}
    done = {one.path for one in alone} if len(alone) > 1 else set()
    return staged | {one.path for one in puts if one.path not in done and stage(one)}


def _emptied(applier: Applier, gone: Remove) -> None:
    if not applier.remove_directory(gone):
        applier.applied.kept.add(gone.path)


def _try(applied: Applied, path: str, step: Callable[[], Any]) -> bool:
    if path in applied.skipped:
        return False
    try:
        step()
    except Meanwhile as told:
        applied.skipped[path] = f"somebody else was at it: {told}"
    except OSError as error:
        applied.skipped[path] = f"it could not be done: {error.strerror or type(error).__name__}"
    except LamaError as error:
        applied.skipped[path] = f"it could not be done: {error.what}"
    else:
        applied.done.add(path)
        return True
    applied.done.discard(path)
    return False


def pieces(whole: Plan) -> list[Plan]:
    """`whole` in pieces that are each made ready, done and remembered before the next."""
    first = dataclasses.replace(whole, put=[])
    if not whole.put:
        return [first]
    pieces: list[list[Put]] = [[]]
    size = 0
    for one in sorted(whole.put, key=lambda put: put.source is None):  # copies first, while their sources stand
        if pieces[-1] and (len(pieces[-1]) == _BATCH or size + one.content.size > _BATCH_BYTES):
            pieces.append([])
            size = 0
        pieces[-1].append(one)
        size += one.content.size
    first.put = pieces[0]
    return [first, *(Plan(put=piece, needs=whole.needs) for piece in pieces[1:])]
