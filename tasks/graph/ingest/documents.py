"""A documentation page as facts: that it is there, and which code it speaks of. Pure.

Only what the page says in so many words counts: a dotted name or a path in a code span, or a link to a source file.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from models.graph import Label, Ref, Type
from tasks.docs.truth.references import references
from tasks.graph.ingest.facts import Facts, Saying, ref
from tasks.graph.ingest.names import Names

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)
_AFTER = re.compile(r"(?:\([^()]*\)|:\d+(?:-\d+)?|#[\w-]+)$")
_HEADING = re.compile(r"^#[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_LONGEST = 200


def document(checkout: str, file: str) -> Ref:
    """The page in `file`, relative to the checkout."""
    return ref(Label.document, checkout, file)


def document_facts(file: str, text: str, names: Names) -> Facts:
    """What the Markdown `text` of `file` speaks of."""
    said = Saying()
    heading = _HEADING.search(text)
    own = said.node(
        document(names.checkout, file),
        name=PurePosixPath(file).name,
        title=heading.group(1) if heading else "",
        source=hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest(),
    )
    said.hang(Type.contains, ref(Label.checkout, names.checkout), own)
    for _, kind, content in references(text):
        described = _linked(file, content, names) if kind == "link" else _named(content, names)
        if described is not None:
            said.hang(Type.describes, own, described)
    return said.facts()


def _named(text: str, names: Names) -> Ref | None:
    if len(text) > _LONGEST or " " in text:
        return None
    bare = _AFTER.sub("", text)
    if bare.endswith(".py") or "/" in bare:
        return _of_file(bare, names)
    dotted = bare.replace(":", ".") if bare.count(":") == 1 else bare
    if not _DOTTED.fullmatch(dotted):
        return None
    found = names.node(dotted)
    if found is None and dotted in names.codebase.names:  # an attribute: the page speaks of what holds it
        found = names.node(dotted.rpartition(".")[0])
    return found


def _linked(file: str, target: str, names: Names) -> Ref | None:
    place = target.partition("#")[0].partition("?")[0]
    if not place.endswith(".py") or ":" in place or place.startswith("//"):
        return None
    parts: list[str] = []
    for part in (*(() if place.startswith("/") else PurePosixPath(file).parent.parts), *PurePosixPath(place).parts):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in {".", "/"}:
            parts.append(part)
    return _of_file("/".join(parts), names)


def _of_file(path: str, names: Names) -> Ref | None:
    """The module in the file `path`; below `src` as well, which is no part of its name."""
    parts = list(PurePosixPath(path.removesuffix(".py")).parts)
    if parts[-1:] == ["__init__"]:
        parts.pop()
    for begin in (0, 1) if parts[:1] == ["src"] else (0,):
        dotted = ".".join(parts[begin:])
        if dotted in names.codebase.files:
            return ref(Label.module, names.checkout, dotted)
    return None
