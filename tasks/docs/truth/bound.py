"""Names of packages that documents give to something else: `mcp = Server()` makes `mcp.tool` no name of a package.

Pages are fragments, and what they build on often lies in a file beside them: so documents and examples of the whole
checkout are asked, line by line, and not only those that are Python by themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

_DOCUMENTS = (".md", ".mdx", ".markdown", ".rst", ".ipynb", ".adoc")
_EXAMPLES = re.compile(
    r"^(?:docs?|documentation|examples?|samples?|tutorials?|snippets?|cookbook|demos?|guides?)(?:$|[_\-.])"
)
_LARGEST = 1_000_000
_MOST = 5_000


def bindings(text: str, name: str) -> tuple[str, ...]:
    """What the lines of `text` bind `name` to: what they import by this name, dotted, and empty for all else."""
    if name not in text:
        return ()
    word = re.escape(name)
    head = r"^[ \t\"]*(?:>>> |\.\.\. )?[ \t]*"
    assigned = re.compile(
        rf"{head}(?:(?:\w+\s*,\s*)*{word}(?:\s*,\s*\w+)*\s*(?::[^=\n]{{1,200}})? = |(?:async )?for {word} in |"
        rf"(?:async )?with\b.{{1,300}}\bas {word}\b|import\s+[\w.]+\s+as\s+{word}\b)",
        re.MULTILINE,
    )
    taken = re.compile(
        rf"{head}from\s+([\w.]+)\s+import\s+(?:[\w, ]*?,\s*)?(?:(\w+)\s+as\s+)?{word}(?!\w|\.|\s+as\b)", re.MULTILINE
    )
    found = [""] * (assigned.search(text) is not None)
    found += [f"{one[1]}.{one[2] or name}" if not one[1].startswith(".") else "" for one in taken.finditer(text)]
    return tuple(dict.fromkeys(found))


def is_imported(text: str, name: str) -> bool:
    """Whether a line of `text` imports the package `name` as itself."""
    return (
        re.search(
            rf"^[ \t\"]*(?:>>> |\.\.\. )?[ \t]*import\s+(?:[\w., ]+,\s*)?{re.escape(name)}(?:\.\w+)*\s*(?:$|[,;#\\\"])",
            text,
            re.MULTILINE,
        )
        is not None
    )


def bound_in(root: Path, names: Collection[str]) -> frozenset[str]:
    """Those of `names` that some document or example of the checkout at `root` binds to something else."""
    found: set[str] = set()
    for file in _texts(root):
        try:
            with file.open("rb") as source:
                text = source.read(_LARGEST).decode("utf-8", errors="replace")
        except OSError:
            continue
        found |= {name for name in names if name not in found and bindings(text, name)}
    return frozenset(found)


def _texts(root: Path) -> Iterator[Path]:
    """Documents of a checkout, and code that lies with documents or examples; links are not followed."""
    waiting = [(root, False)]
    told = 0
    while waiting:
        folder, shown = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                here = sorted(entries, key=lambda one: one.name)
        except OSError:
            continue
        for entry in here:
            if entry.name.startswith((".", "node_modules")) or entry.is_symlink():
                continue
            if entry.is_dir():
                if not Path(entry.path, "pyvenv.cfg").exists():
                    waiting.append((Path(entry.path), shown or _EXAMPLES.match(entry.name.lower()) is not None))
            elif entry.is_file() and (entry.name.endswith(_DOCUMENTS) or (shown and entry.name.endswith(".py"))):
                told += 1
                if told > _MOST:
                    return
                yield Path(entry.path)
