"""Batches that a server takes: bounded in rows, and in bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

MOST_BYTES = 4 * 1024 * 1024
"""Of one batch; the embedded server cuts a connection on which more than 16 MiB come at once."""


def batched(items: Iterable[T], many: int, size: Callable[[T], int] | None = None) -> Iterator[list[T]]:
    """`items` in lists of at most `many`, and of at most `MOST_BYTES` by `size`, unless one alone is larger."""
    some: list[T] = []
    total = 0
    for item in items:
        own = 0 if size is None else size(item)
        if some and (len(some) >= many or total + own > MOST_BYTES):
            yield some
            some, total = [], 0
        some.append(item)
        total += own
    if some:
        yield some


def keys(items: Iterable[str], many: int) -> Iterator[list[str]]:
    """Texts in such lists."""
    return batched(items, many, lambda text: 4 * len(text))


def rows(items: Iterable[Mapping[str, Any]], many: int) -> Iterator[list[Mapping[str, Any]]]:
    """Rows of columns in such lists."""
    return batched(items, many, _size)


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    if isinstance(value, Mapping):
        return sum(len(name) + _size(one) for name, one in value.items())
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    return 9
