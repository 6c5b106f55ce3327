"""What a run is asked to take, out of what `lama.toml` has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from blocks.errors import ConfigurationError


class Named(Protocol):
    """Something that its name tells apart."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


N = TypeVar("N", bound=Named)


def choose(known: Sequence[N], asked: list[str] | None, *, one: str, many: str, component: str) -> tuple[N, ...]:
    """Those of `known` that `asked` names, each once, in the order asked; None: all.

    Args:
        known: what there is.
        asked: names.
        one: what one of them is called.
        many: what the parameter with the names is called.
        component: of whose error it is when a name is unknown, or `asked` is empty.

    Raises:
        ConfigurationError: there is none of a name, or `asked` is empty.
    """
    if asked is None:
        return tuple(known)
    by_name = {item.name: item for item in known}
    there = f"There are: {', '.join(by_name) or 'none in lama.toml'}."
    if not asked:
        raise ConfigurationError(f"{many} is an empty list.", component=component, remedy=there)
    for name in asked:
        if name not in by_name:
            raise ConfigurationError(f"there is no {one} {name[:100]!r}.", component=component, remedy=there)
    return tuple(by_name[name] for name in dict.fromkeys(asked))
