"""Reads one checkout's code and documents; run as `python -m tasks.health_check.documentation.survey`.

A JSON request comes on standard input, a JSON answer goes to standard output. Nothing of the checkout is imported or
executed: the code is parsed. It runs as a process of its own, because parsing a large tree would stall the flow.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from tasks.health_check.documentation.surveyed import Broken, Request, Survey, Unread, excluded

LARGEST_DOCUMENT = 2_000_000
"""Bytes above which a document is not read."""

_MOST_DOCUMENTS = 5_000
_OTHER_FORMS = frozenset({".rst", ".adoc", ".asciidoc", ".mdx", ".org", ".textile", ".ipynb"})
_NOT_CODE = {
    "tests", "test", "docs", "doc", "examples", "benchmarks", "scripts", "build", "dist", "venv", "env", "node_modules",
    "site-packages",
}  # fmt: skip
_NOT_MODULES = {"setup", "conftest", "noxfile", "tasks_file"}


def survey(request: Request) -> Survey:
    """Read what `request` names."""
    from tasks.docs.truth.references import NameSets, References, broken_references  # noqa: PLC0415
    from tasks.health_check.documentation.objects import read_code  # noqa: PLC0415

    places, unread = _packages(request)
    code, names, problems = read_code(request.root, places, request.exclude)
    unread += problems
    known = References.of(request.root, NameSets(names.defined, names.open, names.words), [name for name, _ in places])
    broken: list[Broken] = []
    total = read = 0
    documents, missing = _documents(request, unread)
    for path in documents:
        relative = path.relative_to(request.root).as_posix()
        try:
            text = path.read_bytes()[: LARGEST_DOCUMENT + 1].decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            unread.append(Unread(place=relative, reason=str(error)))
            continue
        if len(text) > LARGEST_DOCUMENT:
            unread.append(Unread(place=relative, reason=f"larger than {LARGEST_DOCUMENT} bytes"))
            continue
        found, checked = broken_references(relative, text, known)
        broken += [Broken(document=one.document, line=one.line, kind=one.kind, text=one.text) for one in found]
        total += checked
        read += 1
    return Survey(
        code=code,
        documents_total=read,
        references_total=total,
        broken=tuple(broken),
        missing=missing,
        unread=tuple(unread),
    )


def _packages(request: Request) -> tuple[list[tuple[str, Path]], list[Unread]]:
    """Top-level packages and modules as (name, search path)."""
    places = [folder for folder in (request.root, request.root / "src") if folder.is_dir()]
    if request.packages:
        found, unread = [], []
        for name in request.packages:
            home = next((p for p in places if (p / name).is_dir() or (p / f"{name}.py").is_file()), None)
            if home is None:
                unread.append(Unread(place=name, reason="there is no such package"))
            else:
                found.append((name, home))
        return found, unread
    found = []
    for place in places:
        for entry in sorted(place.iterdir()):
            name = entry.name.removesuffix(".py") if entry.is_file() else entry.name
            if not name.isidentifier() or name in _NOT_CODE or name in _NOT_MODULES or name.startswith("."):
                continue
            if entry.is_symlink() or excluded(entry.relative_to(request.root).as_posix(), request.exclude):
                continue
            if entry.is_dir() and (entry / "pyvenv.cfg").exists():
                continue
            if entry.suffix == ".py" or (entry.is_dir() and name != "src" and any(entry.glob("*.py"))):
                found.append((name, place))
    return found, []


def _documents(request: Request, unread: list[Unread]) -> tuple[list[Path], tuple[str, ...]]:
    root = request.root.resolve()
    found: list[Path] = []
    others: list[Path] = []
    missing = []
    for name in request.documents:
        place = request.root / name
        if not place.exists():
            missing.append(name)
            others += sorted(one for one in place.parent.glob(f"{place.stem}.*") if one.suffix in _OTHER_FORMS)
            continue
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            relative = path.relative_to(request.root).as_posix()
            if excluded(relative, request.exclude) or (place.is_dir() and path.suffix not in {".md", *_OTHER_FORMS}):
                continue
            if path.suffix in _OTHER_FORMS:
                others.append(path)
                continue
            # A link may lead out of the checkout, or to a device that never ends.
            if not path.is_file() or not path.resolve().is_relative_to(root):
                unread.append(Unread(place=relative, reason="not a file of this checkout"))
            elif path not in found:
                found.append(path)
    if others:
        forms = ", ".join(sorted({path.suffix for path in others}))
        count = f"{len(others)} documents are" if len(others) > 1 else f"{others[0].name} is"
        reason = f"{count} not Markdown ({forms}), and no other form is read; `exclude` says that it is meant"
        unread.append(Unread(place="documents", reason=reason))
    if len(found) > _MOST_DOCUMENTS:
        unread.append(Unread(place="documents", reason=f"only {_MOST_DOCUMENTS} of {len(found)} were read"))
    return found[:_MOST_DOCUMENTS], tuple(missing)


def main() -> None:
    """Answer the request on standard input."""
    logging.disable(logging.CRITICAL)  # griffe logs every oddity of a docstring
    request = Request.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.write(survey(request).model_dump_json())


if __name__ == "__main__":
    main()
