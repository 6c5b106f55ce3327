"""What the survey of a checkout is asked and answers; both sides of its pipe speak these values."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from models.report import Value


class Request(Value):
    """What to read."""

    root: Path = Field(description="The checkout.")
    packages: tuple[str, ...] = Field(description="Its packages; empty: those that are found.")
    exclude: tuple[str, ...] = Field(description="Globs that are left out.")
    documents: tuple[str, ...] = Field(description="Documents and folders of them.")
    cache: Path | None = Field(default=None, description="File that remembers what was read of the code before.")


class Unread(Value):
    """A file or package that could not be read, and why."""

    place: str = Field(description="Relative to the checkout.")
    reason: str = Field(description="What went wrong.")


class ModuleCoverage(Value):
    """Public objects of one module."""

    name: str = Field(description="Its dotted name.")
    total: int = Field(description="Public objects.")
    documented: int = Field(description="Those with a docstring.")


class Undocumented(Value):
    """Something with parts that a user sets and that nobody described."""

    name: str = Field(description="Dotted name of the flow or the settings class.")
    parts: tuple[str, ...] = Field(description="Parameters or fields without a description.")


class Code(Value):
    """What the packages say."""

    packages: tuple[str, ...] = Field(default=(), description="Those that were read.")
    coverage: tuple[ModuleCoverage, ...] = Field(default=(), description="One a module.")
    flows: tuple[Undocumented, ...] = Field(default=(), description="Flows with undocumented parameters.")
    settings: tuple[Undocumented, ...] = Field(default=(), description="Settings with undocumented fields.")


class Broken(Value):
    """A reference of a document that leads nowhere."""

    document: str = Field(description="Relative to the checkout.")
    line: int = Field(description="Where its paragraph begins.")
    kind: str = Field(description="`name`, `path`, `command` or `link`.")
    text: str = Field(description="As the document has it.")


class Survey(Value):
    """The answer."""

    code: Code = Field(default=Code(), description="What the packages say.")
    documents_total: int = Field(default=0, description="Documents that were read.")
    references_total: int = Field(default=0, description="References in them that could be checked.")
    broken: tuple[Broken, ...] = Field(default=(), description="References that lead nowhere.")
    missing: tuple[str, ...] = Field(default=(), description="Documents that are configured and not there.")
    unread: tuple[Unread, ...] = Field(default=(), description="What could not be read.")
