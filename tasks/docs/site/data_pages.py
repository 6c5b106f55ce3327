"""The pages about settings and about tables."""

from __future__ import annotations

from collections import defaultdict

from models.code import Codebase
from tasks.code.settings import SettingsClass, SettingsField, settings_of
from tasks.code.tables import Column, tables_of
from tasks.code.tables import Table as DatabaseTable
from tasks.code.veil import veiled_annotation, veiled_source
from tasks.diagrams import Diagram, Edge, Node
from tasks.docs.site.overviews import Cell, Overview, Section, Table
from tasks.plural import plural

_MOST_ROWS = 14
"""Columns of a table that are drawn; its page has them all."""


def settings_page(codebase: Codebase) -> Overview | None:
    """The settings that are read from the environment; None where there are none."""
    found = settings_of(codebase)
    if not found:
        return None
    count = sum(len(one.fields) for one in found)
    return Overview(
        key="settings",
        title="Settings",
        summary=f"{plural(count, 'setting')} in {plural(len(found), 'class', 'classes')}, read from the environment.",
        sections=tuple(_settings(one) for one in found),
    )


def _settings(one: SettingsClass) -> Section:
    rows = tuple(
        (
            Cell(field.name, code=True),
            Cell(", ".join(field.environment), code=True),
            Cell(veiled_annotation(field.name, field.annotation), code=True),
            Cell("required") if field.required else Cell(_default(field), code=True),
            Cell(field.description),
        )
        for field in one.fields
    )
    return Section(
        title=one.path.rpartition(".")[2],
        name=one.path,
        text=one.summary,
        tables=(Table(("Setting", "Variable", "Type", "Default", "What it is"), rows),) if rows else (),
    )


def _default(field: SettingsField) -> str:
    if field.secret or not field.default:
        return ""
    return veiled_source(field.name, field.annotation, field.default, others=field.environment)


def tables_page(codebase: Codebase) -> Overview | None:
    """The tables of the database, and how they lead to each other; None where there are none."""
    found = tables_of(codebase)
    if not found:
        return None
    drawn = _diagram(found)
    return Overview(
        key="tables",
        title="Tables",
        summary=f"{plural(len(found), 'table')}.",
        sections=(Section(diagram=drawn if drawn.is_readable else None), *(_table(one) for one in found)),
    )


def _table(one: DatabaseTable) -> Section:
    rows = tuple(
        (
            Cell(column.name, code=True),
            Cell(column.type, code=True),
            Cell(_marks(column)),
            Cell(column.foreign_key or "", code=True),
            Cell(column.description),
        )
        for column in one.columns
    )
    tables = [Table(("Column", "Type", "Marks", "Refers to", "What it is"), rows)]
    if one.constraints:
        tables.append(Table(("Constraint",), tuple((Cell(text, code=True),) for text in one.constraints)))
    return Section(title=one.name, name=one.path, text=one.summary, tables=tuple(tables))


def _marks(column: Column) -> str:
    told = {
        "primary key": column.primary_key,
        "unique": column.unique and not column.primary_key,
        "indexed": column.indexed,
        "may be null": column.nullable,
    }
    return ", ".join(words for words, holds in told.items() if holds)


def _diagram(tables: tuple[DatabaseTable, ...]) -> Diagram:
    keys: dict[str, list[str]] = defaultdict(list)
    for one in tables:
        keys[one.name].append(one.path)
    nodes = []
    edges = []
    for one in tables:
        columns = [f"{column.name}: {column.type}" for column in one.columns[:_MOST_ROWS]]
        more = [f"and {len(one.columns) - _MOST_ROWS} more"] if len(one.columns) > _MOST_ROWS else []
        nodes.append(Node(one.path, one.name, (*columns, *more), name=one.path))
        for column in one.columns:
            targets = keys.get((column.foreign_key or "").rpartition(".")[0], [])
            if len(targets) == 1:  # two tables of one name: nobody knows which is meant
                edges.append(Edge(one.path, targets[0], column.name))
    return Diagram(tuple(nodes), tuple(edges), tables=True)
