"""Reads YAML that others wrote, as far as it says no more than its length lets expect."""

from __future__ import annotations

from typing import Any

import yaml

LARGEST = 2_000_000
"""Bytes of a file that are read."""

_MOST = 5_000_000
_DEEPEST = 100
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(data: bytes) -> Any:
    """The value that `data` spells.

    Raises:
        ValueError: it is no YAML, or too large; it nests more than 100 deep; or it refers to its own parts (`&`, `*`)
            so often that they make more than 5 million characters where each is written out.
    """
    if len(data) > LARGEST:
        raise ValueError(f"larger than {LARGEST} bytes")
    try:
        _weigh(data)
        return yaml.load(data, Loader=_LOADER)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not readable as YAML: {error}"[:300]) from error


def _weigh(data: bytes) -> None:
    """Add up what every alias stands for, without writing it out: merge keys and `str` would."""
    sizes: dict[str, int] = {}
    stack: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(data, Loader=_LOADER):
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            stack.append((event.anchor, 1))
            if len(stack) > _DEEPEST:
                raise ValueError(f"it nests more than {_DEEPEST} deep")
            continue
        anchor: str | None = None
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor or "")
            if size is None:
                raise ValueError(f"*{event.anchor} refers to itself, or to nothing"[:300])
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1 + len(event.value)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            anchor, size = stack.pop()
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        above, weight = stack[-1]
        stack[-1] = (above, weight + size)
        if weight + size > _MOST:
            raise ValueError("it refers to its own parts (&, *) so often that it cannot be written out")
