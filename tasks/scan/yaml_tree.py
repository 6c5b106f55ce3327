"""Reads YAML that others wrote as a tree with line numbers. Nothing is built from tags, and aliases stay shared.

Documents are bounded in depth and in the number of nodes; what an alias repeats is not copied, so a few lines cannot
become gigabytes. Whoever walks the tree bounds that walk (`Walk`), because shared nodes can be met often.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

_DEEPEST = 60
_MOST_NODES = 100_000
_MOST_STEPS = 300_000
_MERGES = 20


class YamlError(Exception):
    """A text is no YAML that can be looked at; the message says why, with the line."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A scalar, a sequence or a mapping."""

    line: int
    """From 1."""
    tag: str = ""
    """As written, such as `!reset`; empty for none."""
    text: str | None = None
    """Of a scalar."""
    plain: bool = False
    """Whether a scalar has no quotes."""
    items: list[Node] = field(default_factory=list)
    """Of a sequence."""
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    """Of a mapping; keys may repeat, and merge keys (`<<`) are still there."""
    is_mapping: bool = False
    is_sequence: bool = False


class Walk:
    """Walks through trees, and gives up where shared nodes would make that endless."""

    def __init__(self, steps: int = _MOST_STEPS) -> None:
        self._steps = steps

    def step(self, count: int = 1) -> None:
        """Count `count` nodes.

        Raises:
            YamlError: there were too many.
        """
        self._steps -= count
        if self._steps < 0:
            raise YamlError("its aliases repeat too much.")

    def mapping(self, node: Node | None, merges: int = _MERGES) -> dict[str, Node]:
        """The values of a mapping by key; those of merge keys where it has none itself; empty of anything else."""
        if node is None or not node.is_mapping:
            return {}
        found: dict[str, Node] = {}
        merged: list[Node] = []
        self.step(sum(1 + _weight(value) for _, value in node.pairs))
        for key, value in node.pairs:
            if key.text == "<<" and key.plain:
                merged += value.items if value.is_sequence else [value]
            elif key.text is not None:
                found[key.text] = value
        if merged and merges == 0:
            raise YamlError("its merge keys go too deep.")
        for other in merged:
            for name, value in self.mapping(other, merges - 1).items():
                found.setdefault(name, value)
        return found

    def sequence(self, node: Node | None) -> list[Node]:
        """The items of a sequence; a scalar counts as a sequence of one."""
        if node is None:
            return []
        self.step(1 + sum(1 + _weight(item) for item in node.items))
        return node.items if node.is_sequence else [node] if node.text is not None else []


def _weight(node: Node) -> int:
    """What a long text counts beside other nodes: one that is repeated is searched each time."""
    return len(node.text) // 256 if node.text is not None else 0


def read_yaml(text: str) -> list[Node]:
    """The documents in `text`.

    Raises:
        YamlError: it is no YAML, or too deep or too large.
    """
    documents: list[Node] = []
    open_nodes: list[tuple[Node, list[Node]]] = []
    anchors: dict[str, Node] = {}
    for count, event in enumerate(_events(text)):
        if count > _MOST_NODES:
            raise YamlError(f"it has more than {_MOST_NODES} nodes.")
        node: Node | None = None
        if isinstance(event, yaml.DocumentStartEvent):
            anchors = {}
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            opened, children = open_nodes.pop()
            _close(opened, children)
            node = opened
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise YamlError(f"line {_line(event)}: an alias of nothing.")
            node = anchors[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            node = Node(_line(event), event.tag or "", event.value, event.style in {None, ""})
            _name(event, node, anchors)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            mapping = isinstance(event, yaml.MappingStartEvent)
            opened = Node(_line(event), event.tag or "", is_mapping=mapping, is_sequence=not mapping)
            if len(open_nodes) >= _DEEPEST:
                raise YamlError(f"line {opened.line}: it is deeper than {_DEEPEST}.")
            open_nodes.append((opened, []))
            # Only now, and not at its end: an alias within it would be one of itself.
            _name(event, opened, anchors)
        if node is not None:
            (open_nodes[-1][1] if open_nodes else documents).append(node)
    return documents


def _events(text: str) -> Iterator[yaml.Event]:
    # The C parser, event by event: it builds nothing, and is asked for no more once a limit is passed.
    try:
        yield from yaml.parse(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise YamlError(f"{line}{error.problem or 'it is no YAML'}.") from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise YamlError("it is no YAML: there are characters in it that YAML does not allow.") from error


def _close(node: Node, children: list[Node]) -> None:
    if node.is_sequence:
        node.items.extend(children)
    else:
        node.pairs.extend(zip(children[::2], children[1::2], strict=False))


def _name(event: yaml.NodeEvent, node: Node, anchors: dict[str, Node]) -> None:
    if event.anchor:
        anchors[event.anchor] = node


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return int(mark.line) + 1 if mark is not None else 1
