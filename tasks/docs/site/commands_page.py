"""The page about command lines: what one types, with every argument and option."""

from __future__ import annotations

from collections.abc import Iterator

from models.code import Codebase
from tasks.code.commands import Command, Option, commands_of
from tasks.code.veil import veiled_source
from tasks.docs.site.overviews import Cell, Overview, Section, Table
from tasks.plural import plural


def commands_page(codebase: Codebase) -> Overview | None:
    """The commands of `codebase`; None where there are none."""
    found = sorted(commands_of(codebase), key=lambda one: one.words)
    if not found:
        return None
    return Overview(
        key="commands",
        title="Commands",
        summary=f"{plural(sum(not one.group for one in found), 'command')}.",
        sections=tuple(_command(one) for one in found),
    )


def _command(one: Command) -> Section:
    tables = []
    rows = tuple(_arguments(one))
    if rows:
        tables.append(Table(("Argument or option", "Default", "What it is"), rows))
    missing = "" if one.complete else "\n\nOptions that only running it would tell are not in this list."
    return Section(title=" ".join(one.words), name=one.path, text=f"{one.help}{missing}".strip(), tables=tuple(tables))


def _arguments(one: Command) -> Iterator[tuple[Cell, ...]]:
    for argument in one.arguments:
        name = argument.name.upper() + (" ..." if argument.multiple else "")
        yield Cell(name, code=True), Cell("required" if argument.required else ""), Cell(argument.help)
    for option in one.options:
        if not option.hidden:
            default = Cell("required") if option.required else Cell(_default(option), code=True)
            yield Cell(", ".join(option.names) + _value(option), code=True), default, Cell(_told(option))


def _default(option: Option) -> str:
    return _shown(option, option.default) if option.default else ""


def _shown(option: Option, source: str) -> str:
    """The source of something that `option` is given."""
    return veiled_source("", None, source, others=(*option.names, *option.variables))


def _value(option: Option) -> str:
    """What stands behind the option when it is typed."""
    if option.flag:
        return ""
    return f" {(_kind(option) or 'value').upper()}"


def _kind(option: Option) -> str:
    return veiled_source("", None, option.kind or "")


def _told(option: Option) -> str:
    words = [option.help, "May be given more than once." if option.multiple else ""]
    if option.variables:
        words.append(f"Also by {', '.join(option.variables)}.")
    return " ".join(word for word in words if word)
