"""Tables that a checkout declares with SQLModel or SQLAlchemy: columns, types, keys, and what they refer to."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace

from models.code import Codebase, Symbol
from tasks.code.classes import Classes
from tasks.code.docstrings import parse
from tasks.code.literals import Written, call_of, constant, parsed
from tasks.code.veil import veiled_source

_COLUMN = frozenset({"Column", "mapped_column"})
_RELATION = frozenset({"relationship", "Relationship", "relation"})
_NO_TYPES = frozenset({"Identity", "Sequence", "Computed", "CheckConstraint", "FetchedValue"})
_SQLMODEL = frozenset({"Field", "ColumnField"})
_WRAPPERS = frozenset({"Mapped", "Optional", "Annotated", "ClassVar", "WriteOnlyMapped", "DynamicMapped"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    """In the database."""
    attribute: str
    """In the class."""
    type: str
    """Of the database where the source says it, of Python otherwise; source text."""
    nullable: bool
    primary_key: bool = False
    unique: bool = False
    indexed: bool = False
    foreign_key: str | None = None
    """`table.column` that it refers to."""
    default: str | None = None
    description: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """One declared table."""

    path: str
    name: str
    module: str
    file: str
    line: int
    summary: str
    columns: tuple[Column, ...]
    relations: tuple[tuple[str, str], ...] = ()
    """(attribute, class that it leads to, as the source has it)."""
    constraints: tuple[str, ...] = ()
    """Of `__table_args__`: source text of each constraint and index."""


def tables_of(codebase: Codebase) -> tuple[Table, ...]:
    """The tables of `codebase`, with columns that they have from mixins and bases."""
    classes = Classes(codebase)
    return tuple(
        _table(module.path, module.file, symbol, classes.attributes(symbol))
        for module, symbol in classes.labelled("table")
    )


def _table(module: str, file: str, symbol: Symbol, attributes: dict[str, tuple[Symbol, Symbol]]) -> Table:
    sqlmodel = "sqlmodel" in symbol.labels
    columns: list[Column] = []
    relations: list[tuple[str, str]] = []
    for name, (member, _) in attributes.items():
        if name.startswith("__") or "classvar" in member.labels or name in {"model_config", "metadata", "registry"}:
            continue
        written = call_of(parsed(member.value))
        if (written is not None and written.last in _RELATION) or "relationship(" in (member.value or "")[:40]:
            relations.append((name, _related(member, written)))
        elif sqlmodel:
            if member.annotation is not None and not name.startswith("_"):
                columns.append(_of_sqlmodel(name, member, written))
        elif written is not None and written.last in _COLUMN:
            columns.append(_of_column(name, member, written))
        elif member.annotation is not None and member.annotation.startswith(("Mapped[", "orm.Mapped[")):
            columns.append(_of_column(name, member, Written("mapped_column", (), {})))
    constraints = _constraints(attributes)
    return Table(
        path=symbol.path,
        name=_name(symbol, attributes),
        module=module,
        file=file,
        line=symbol.line,
        summary=parse(symbol.docstring).summary,
        columns=tuple(_constrained(column, constraints) for column in columns),
        relations=tuple(relations),
        constraints=tuple(veiled_source("", None, ast.unparse(one)) for one in constraints),
    )


def _name(symbol: Symbol, attributes: dict[str, tuple[Symbol, Symbol]]) -> str:
    own = symbol.path.rpartition(".")[2]
    if "__tablename__" in attributes:
        value = constant(parsed(attributes["__tablename__"][0].value))
        return value if isinstance(value, str) else own
    return own.lower()


def _of_sqlmodel(name: str, member: Symbol, written: Written | None) -> Column:
    kind, optional = _python_type(member.annotation or "")
    # Fields are often imported by another name, beside pydantic's own.
    field = written if written is not None and (written.last in _SQLMODEL or written.last.endswith("Field")) else None
    if field is None:
        default = member.value if member.value not in {None, "..."} else None
        return Column(name, name, kind, optional, default=default, description=member.docstring or "", line=member.line)
    inner = call_of(field.options.get("sa_column"))
    base = Column(
        name=name,
        attribute=name,
        type=field.text("sa_type") or kind,
        nullable=_flag(field, "nullable", default=optional),
        primary_key=_flag(field, "primary_key"),
        unique=_flag(field, "unique"),
        indexed=_flag(field, "index"),
        foreign_key=field.value("foreign_key"),
        default=field.text("default") or (ast.unparse(field.arguments[0]) if field.arguments else None),
        description=str(field.value("description") or member.docstring or ""),
        line=member.line,
    )
    if inner is not None:
        base = _with_column(base, inner)
    return replace(base, nullable=False) if base.primary_key else base


def _of_column(name: str, member: Symbol, written: Written) -> Column:
    kind, optional = _python_type(member.annotation or "")
    base = Column(name, name, kind, optional or not member.annotation, description=member.docstring or "")
    base = replace(_with_column(base, written), line=member.line)
    return replace(base, nullable=False) if base.primary_key else base


def _with_column(base: Column, written: Written) -> Column:
    """`base` with what `Column(...)` or `mapped_column(...)` says."""
    for given in written.arguments:
        value, inner = constant(given), call_of(given)
        if isinstance(value, str):
            base = replace(base, name=value)
        elif inner is not None and inner.last == "ForeignKey":
            target = constant(inner.arguments[0]) if inner.arguments else None
            base = replace(base, foreign_key=target if isinstance(target, str) else ast.unparse(given))
        elif inner is not None and inner.last in _NO_TYPES:
            continue
        elif not isinstance(given, ast.Starred):
            base = replace(base, type=veiled_source("", None, ast.unparse(given)))
    named = written.value("name")
    return replace(
        base,
        name=named if isinstance(named, str) else base.name,
        type=written.text("type_") or base.type,
        nullable=_flag(written, "nullable", default=base.nullable),
        primary_key=_flag(written, "primary_key", default=base.primary_key),
        unique=_flag(written, "unique", default=base.unique),
        indexed=_flag(written, "index", default=base.indexed),
        default=written.text("default") or written.text("server_default") or base.default,
        description=str(written.value("doc") or written.value("comment") or base.description),
    )


def _flag(written: Written, option: str, *, default: bool = False) -> bool:
    value = written.value(option)
    return value if isinstance(value, bool) else default


def _python_type(annotation: str) -> tuple[str, bool]:
    """The type without what wraps it, and whether it may be None."""
    node = parsed(annotation)
    optional = False
    while isinstance(node, ast.Subscript | ast.BinOp):
        if isinstance(node, ast.BinOp):
            parts = [part for part in (node.left, node.right) if ast.unparse(part) != "None"]
            if len(parts) != 1:
                break
            node, optional = parts[0], True
            continue
        head = ast.unparse(node.value).rpartition(".")[2]
        if head not in _WRAPPERS:
            break
        optional = optional or head == "Optional"
        node = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
    return (annotation if node is None else ast.unparse(node)), optional


def _related(member: Symbol, written: Written | None) -> str:
    if written is not None and written.arguments and isinstance(target := constant(written.arguments[0]), str):
        return target
    kind, _ = _python_type(member.annotation or "")
    inner = re.search(r"\[(?:.*,\s*)?['\"]?([\w.]+)['\"]?\]", kind)
    return inner[1] if inner else kind.strip("'\"")


def _constraints(attributes: dict[str, tuple[Symbol, Symbol]]) -> list[ast.expr]:
    if "__table_args__" not in attributes:
        return []
    node = parsed(attributes["__table_args__"][0].value)
    elements = node.elts if isinstance(node, ast.Tuple | ast.List) else []
    return [one for one in elements if isinstance(one, ast.Call)]


def _constrained(column: Column, constraints: list[ast.expr]) -> Column:
    for node in constraints:
        written = call_of(node)
        if written is None:
            continue
        names = [constant(one) for one in written.arguments]
        if written.last == "PrimaryKeyConstraint" and column.name in names:
            column = replace(column, primary_key=True, nullable=False)
        elif written.last == "UniqueConstraint" and names == [column.name]:
            column = replace(column, unique=True)
        elif written.last == "Index" and column.name in names[1:]:
            column = replace(column, indexed=True)
        elif written.last == "ForeignKeyConstraint" and len(names) >= 2:
            own, others = names[0], names[1]
            if isinstance(own, list | tuple) and isinstance(others, list | tuple) and column.name in own:
                place = list(own).index(column.name)
                column = replace(column, foreign_key=str(others[place]) if place < len(others) else None)
    return column
