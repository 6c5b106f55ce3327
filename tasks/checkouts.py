"""Which checkouts a run looks at: those of `lama.toml`, or those that whoever started it names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from blocks.errors import ConfigurationError
from models.configuration import Configuration
from models.health_check import Checkout


def choose_checkouts(asked: list[str] | None, configuration: Configuration, *, component: str) -> tuple[Checkout, ...]:
    """The checkouts that `asked` names (names of `lama.toml`, or absolute paths); None: all that are configured.

    Raises:
        ConfigurationError: the list is empty, a name is not known, or a path names a user who does not exist.
    """
    if asked is None:
        return configuration.checkouts
    if not asked:
        raise ConfigurationError(
            "checkouts is an empty list, so no source code would be looked at.",
            component=component,
            remedy="Leave it out for the configured ones, or name at least one.",
        )
    chosen: dict[Path, Checkout] = {}
    for text in asked:
        checkout = _checkout(text, configuration, component)
        if any(checkout.name == other.name and path != checkout.path for path, other in chosen.items()):
            checkout = checkout.model_copy(update={"name": str(checkout.path)})
        chosen.setdefault(checkout.path, checkout)
    return tuple(chosen.values())


def described(checkouts: Iterable[Checkout], configuration: Configuration) -> str:
    """The checkouts in words, for the scope of a report: configured ones by name, others by path."""
    known = {checkout.name for checkout in configuration.checkouts}
    return ", ".join(sorted(c.name if c.name in known else str(c.path) for c in checkouts))


def _checkout(text: str, configuration: Configuration, component: str) -> Checkout:
    for known in configuration.checkouts:
        if text == known.name:
            return known
    if not text.startswith(("/", "~")) or "\0" in text:
        names = ", ".join(known.name for known in configuration.checkouts)
        raise ConfigurationError(
            f"no checkout is called {text[:200]!r}.",
            component=component,
            remedy=f"Use one of lama.toml ({names}), or an absolute path.",
        )
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"the path {text[:200]!r} names a user who does not exist.") from error
    for known in configuration.checkouts:
        if path == known.path:
            return known
    taken = any(known.name == path.name for known in configuration.checkouts)
    return Checkout(name=str(path) if taken or not path.name else path.name, path=path)
