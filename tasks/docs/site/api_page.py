"""The page about HTTP interfaces, from the OpenAPI documents of a checkout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from models.code import Codebase
from tasks.code.openapi import Api, Input, Operation, apis_of
from tasks.docs.site.overviews import Cell, Overview, Section, Table


def api_page(codebase: Codebase) -> Overview | None:
    """The interfaces that documents of `codebase` describe; None where there are none."""
    found, unread = apis_of(Path(codebase.root))
    if not found and not unread:
        return None
    count = sum(len(api.operations) for api in found)
    return Overview(
        key="api",
        title="HTTP interfaces",
        summary=f"{count} operations of {len(found)} {'interface' if len(found) == 1 else 'interfaces'}.",
        sections=tuple(section for api in found for section in _api(api)),
        unread=unread,
    )


def _api(api: Api) -> Iterator[Section]:
    rows = tuple(
        (
            Cell(f"{one.method} {one.path}", code=True),
            Cell(f"{one.summary}{' (deprecated)' if one.deprecated else ''}"),
            Cell(", ".join(one.tags)),
        )
        for one in api.operations
    )
    tables = (Table(("Operation", "What it does", "Tags"), rows),) if rows else ()
    title = " ".join(part for part in (api.title or api.file, api.version) if part)
    yield Section(title=title, text=f"{api.description}\n\nFrom `{api.file}`.".strip(), tables=tables)
    for one in api.operations:
        if one.inputs or one.body or one.answers or one.description:
            yield _operation(one)


def _operation(one: Operation) -> Section:
    tables = []
    inputs = [
        (Cell(given.name, code=True), Cell(given.where), Cell(given.type, code=True), Cell(_told(given)))
        for given in one.inputs
    ]
    if one.body:
        inputs.append((Cell("body", code=True), Cell("body"), Cell(one.body, code=True), Cell("")))
    if inputs:
        tables.append(Table(("Parameter", "In", "Type", "What it is"), tuple(inputs)))
    if one.answers:
        rows = tuple(
            (Cell(status, code=True), Cell(words), Cell(kind, code=True)) for status, words, kind in one.answers
        )
        tables.append(Table(("Answer", "When", "Type"), rows))
    return Section(title=f"{one.method} {one.path}", text=one.description or one.summary, tables=tuple(tables))


def _told(given: Input) -> str:
    return f"Required. {given.description}".strip() if given.required else given.description
