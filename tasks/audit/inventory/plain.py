"""JSON and YAML that others wrote, as objects, lists and texts: bounded in depth and size, and nothing is built."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from models.gap import Gap
from tasks.audit.inventory.document import Document

_DEEPEST = 100
_MOST_NODES = 1_500_000
_LARGEST = 16_000_000
"""Characters of YAML; the parser reads some 4 million in a second."""
_PROBLEMS = 3
_SECRET = re.compile(r"//[^/@\s]*@")


class MalformedError(ValueError):
    """The content is not what it should be; says why, in a form that can be shown."""


@dataclass(slots=True)
class Misread:
    """What of one file was not understood: one gap for all of it."""

    document: Document
    ecosystem: str = ""
    told: dict[str, None] = field(default_factory=dict)

    def add(self, what: str) -> None:
        """Note something; said twice it counts once. What may be a secret is left out."""
        from tasks.masked import masked  # noqa: PLC0415 - most files are understood

        self.told[masked(_SECRET.sub("//***@", " ".join(what[:1_000].split())))[:200]] = None

    def gaps(self) -> tuple[Gap, ...]:
        """None, or one that tells the first few."""
        if not self.told:
            return ()
        more = len(self.told) - _PROBLEMS
        said = "; ".join(list(self.told)[:_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
        return (self.document.gap(f"has parts that are not understood: {said}.", ecosystem=self.ecosystem),)


def json_object(document: Document) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        MalformedError: it holds something else, or is nested deeper than a thousand.
    """
    import orjson  # noqa: PLC0415

    try:
        value = orjson.loads(document.content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"is not valid JSON: {str(error)[:100]}.") from None
    if not isinstance(value, dict):
        raise MalformedError("is JSON of another shape: no object.")
    return value


def yaml_objects(document: Document) -> list[dict[str, Any]]:
    """The documents of a YAML file, as mappings of texts, lists and mappings. Every scalar is a text, because a version
    is one: `1.10` is no number. Aliases are refused: no tool that writes lock files uses them.

    Raises:
        MalformedError: it holds something else, or is too deep or too large.
    """
    text = document.text
    if len(text) > _LARGEST:
        raise MalformedError(f"is larger than {_LARGEST} characters, which is more than is read of YAML.")
    return [value for value in _documents(text) if isinstance(value, dict)]


def table(data: Any, key: str) -> dict[str, Any]:
    """The object at `key`; empty when there is none, or something else."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def tables(data: Any, key: str) -> list[dict[str, Any]]:
    """The objects in the list at `key`, without what is no object."""
    value = data.get(key) if isinstance(data, dict) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(data: Any, key: str) -> str:
    """The text at `key`; empty when there is none, or something else."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


def _documents(content: str) -> list[Any]:
    import yaml  # noqa: PLC0415

    # Event by event: composing in one go recurses in C, and a deep document ends the process.
    try:
        loader = yaml.CSafeLoader(content)
    except (yaml.YAMLError, UnicodeError):
        raise MalformedError("is not valid YAML: it holds characters that YAML does not allow.") from None
    try:
        return _values(loader)
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise MalformedError(f"is not valid YAML{line}: {str(error.problem)[:100]}.") from None
    except (yaml.YAMLError, UnicodeError):
        raise MalformedError("is not valid YAML.") from None
    finally:
        loader.dispose()


def _values(loader: Any) -> list[Any]:
    """The value of each document. Open collections are lists of their children until they end."""
    import yaml  # noqa: PLC0415

    scalar, starts, ends = yaml.ScalarEvent, (yaml.MappingStartEvent, yaml.SequenceStartEvent), yaml.CollectionEndEvent
    found: list[Any] = []
    children = found
    parents: list[tuple[list[Any], bool]] = []
    for _ in range(_MOST_NODES):
        event = loader.get_event()
        if isinstance(event, scalar):
            children.append(event.value)
        elif isinstance(event, starts):
            if len(parents) >= _DEEPEST:
                raise MalformedError(f"is nested more than {_DEEPEST} deep.")
            parents.append((children, isinstance(event, yaml.MappingStartEvent)))
            children = []
        elif isinstance(event, ends):
            parent, is_mapping = parents.pop()
            parent.append(_mapping(children) if is_mapping else children)
            children = parent
        elif isinstance(event, yaml.AliasEvent):
            raise MalformedError("uses aliases, which are not followed.")
        elif event is None or isinstance(event, yaml.StreamEndEvent):
            return found
    raise MalformedError(f"has more than {_MOST_NODES} parts.")


def _mapping(children: list[Any]) -> dict[str, Any]:
    keys = children[::2]
    if not all(isinstance(key, str) for key in keys):
        raise MalformedError("has keys that are no text.")
    return dict(zip(keys, children[1::2], strict=True))
