"""Reads one checkout's code and documents; run as `python -m tasks.health_check.documentation.survey`.

A JSON request comes on standard input, a JSON answer goes to standard output. Nothing of the checkout is imported or
executed: the code is parsed. It runs as a process of its own, because parsing a large tree would stall the flow.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from tasks.health_check.documentation.surveyed import Broken, Request, Survey, Unread, excluded

_NOT_CODE = {
    "tests", "test", "docs", "doc", "examples", "benchmarks", "scripts", "build", "dist", "venv", "env", "node_modules",
    "site-packages",
}  # fmt: skip
_NOT_MODULES = {"setup", "conftest", "noxfile", "tasks_file"}


def survey(request: Request) -> Survey:
    """Read what `request` names."""
    from tasks.docs.truth.documents import read_documents  # noqa: PLC0415
    from tasks.docs.truth.references import NameSets, References, broken_references  # noqa: PLC0415
    from tasks.health_check.documentation.objects import read_code  # noqa: PLC0415

    places, unread = _packages(request)
    code, names, problems = read_code(request.root, places, request.exclude)
    unread += problems
    known = References.of(request.root, NameSets(names.defined, names.open, names.words), [name for name, _ in places])
    broken: list[Broken] = []
    total = 0
    documents = read_documents(request.root, request.documents, request.exclude)
    unread += [Unread(place=one.place, reason=one.reason) for one in documents.unread]
    for file, text in documents.texts.items():
        found, checked = broken_references(file, text, known)
        broken += [Broken(document=one.document, line=one.line, kind=one.kind, text=one.text) for one in found]
        total += checked
    return Survey(
        code=code,
        documents_total=len(documents.texts),
        references_total=total,
        broken=tuple(broken),
        missing=documents.missing,
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


def main() -> None:
    """Answer the request on standard input."""
    logging.disable(logging.CRITICAL)  # griffe logs every oddity of a docstring
    request = Request.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.write(survey(request).model_dump_json())


if __name__ == "__main__":
    main()
