"""Reads one checkout's code and documents; run as `python -m tasks.health_check.documentation.survey`.

A JSON request comes on standard input, a JSON answer goes to standard output. Nothing of the checkout is imported or
executed: the code is parsed. It runs as a process of its own, because parsing a large tree would stall the flow.
"""

from __future__ import annotations

import logging
import sys

from tasks.health_check.documentation.surveyed import Broken, Request, Survey, Unread


def survey(request: Request) -> Survey:
    """Read what `request` names."""
    from tasks.docs.truth.documents import read_documents  # noqa: PLC0415
    from tasks.docs.truth.references import NameSets, References, broken_references  # noqa: PLC0415
    from tasks.health_check.documentation.objects import read_code  # noqa: PLC0415

    code, names, unread = read_code(request.root, request.packages, request.exclude, request.cache)
    known = References.of(request.root, NameSets(names.defined, names.open, names.words), list(code.packages))
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


def main() -> None:
    """Answer the request on standard input."""
    logging.disable(logging.CRITICAL)
    request = Request.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.write(survey(request).model_dump_json())


if __name__ == "__main__":
    main()
