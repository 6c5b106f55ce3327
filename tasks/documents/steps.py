"""The parts of reading documents as steps of a flow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from blocks.errors import ConfigurationError, LamaError
from blocks.model import LanguageModel
from blocks.postgres import Postgres
from models.documents import DocumentField, DocumentRead, DocumentsSettings
from tasks.documents import kept, reading
from tasks.documents.ask import INSTRUCTION, asked_for, question, take, wanted_on
from tasks.documents.fields import find_fields
from tasks.documents.text import Page
from tasks.handoffs.functions import Context
from tasks.step import step

RULES = 2
"""Grows when the rules find something else: what was read by older ones is read again."""
SUFFIXES = frozenset({".pdf", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})
_MOST_ENTRIES = 100_000


@dataclass(frozen=True)
class Found:
    """A file that is to be read."""

    path: Path
    sha256: str
    kind: str


@dataclass
class Outcome:
    """What became of one document."""

    document: DocumentRead
    unread: dict[str, str] = field(default_factory=dict)
    """Pages that could not be read, and why."""
    unasked: str = ""
    """Why the model was not asked, or did not answer."""
    dropped: int = 0
    """What the model said that does not stand there."""


def files_of(paths: Sequence[str | Path], settings: DocumentsSettings) -> list[Path]:
    """The files of `paths`, in which `~` is expanded: of a folder, every document below it, in order.

    Raises:
        ConfigurationError: a path is not there, or they are too many.
    """
    found: dict[Path, None] = {}
    for path in (Path(one).expanduser() for one in paths):
        if path.is_file():
            found[path] = None
        elif path.is_dir():
            for looked, below in enumerate(sorted(path.rglob("*"))):
                if looked > _MOST_ENTRIES:
                    raise ConfigurationError(f"it holds more than {_MOST_ENTRIES} entries.", component=str(path))
                if below.suffix.lower() in SUFFIXES and below.is_file() and not below.is_symlink():
                    found[below] = None
        else:
            raise ConfigurationError("there is no such file or folder.", component=str(path))
    if len(found) > settings.most_files:
        raise ConfigurationError(
            f"there are {len(found)} documents, more than {settings.most_files}.",
            component="documents",
            remedy="Name fewer, or raise documents.most_files.",
        )
    return list(found)


@step("look at the files")
async def look(paths: Sequence[Path], settings: DocumentsSettings) -> tuple[list[Found], dict[str, str]]:
    """What is to be read, and what cannot be, with why."""
    largest = int(settings.largest_mib * 2**20)
    found, refused = [], {}
    for path in paths:
        try:
            told = await asyncio.to_thread(reading.digest, path, largest)
        except OSError as error:
            refused[path.name] = f"cannot be read: {error.strerror}"
            continue
        if told is None:
            refused[path.name] = f"is larger than {settings.largest_mib:g} MiB"
            continue
        kind = reading.kind_of(told[1])
        if kind is None:
            refused[path.name] = "is neither a PDF nor a PNG, JPEG or TIFF"
            continue
        found.append(Found(path, told[0], kind))
    return found, refused


@step("find what is known")
async def known(database: Postgres, digests: Sequence[str], reader: str) -> Mapping[str, DocumentRead]:
    """Documents whose content was read before, whole and by the same reader."""
    async with await database.get_async_client(autocommit=True) as connection:
        return await kept.known(connection, digests, reader=reader)


@step("read a document", retries=1)
async def read(found: Found, settings: DocumentsSettings, model: LanguageModel | None) -> Outcome:
    """Its fields, by rules, and by the model where they leave something open."""
    content = await reading.read(found.path, found.kind, settings)
    context = Context(region=settings.region, currency=settings.currency)
    fields = find_fields(content.read, context)
    unasked, dropped = "", 0
    if model is not None:
        fields, unasked, dropped = await _ask(model, content.read, fields, context)
    document = DocumentRead(
        sha256=found.sha256,
        name=found.path.name,
        pages=content.pages,
        read=tuple(page.number for page in content.read),
        fields=tuple(fields),
        warnings=content.warnings,
    )
    return Outcome(document, content.unread, unasked, dropped)


async def _ask(
    model: LanguageModel, pages: Sequence[Page], fields: list[DocumentField], context: Context
) -> tuple[list[DocumentField], str, int]:
    """`fields` and what the model quotes beside them, why it did not answer, and how much does not stand there."""
    dropped = 0
    async with model.get_client() as client:
        for page in pages:
            wanted = wanted_on(page, fields)
            if not page.text.strip() or not wanted:
                continue
            try:
                answer = await model.answer(
                    question(page, wanted), asked_for(wanted), instruction=INSTRUCTION, client=client
                )
            except LamaError as error:
                return fields, f"page {page.number}: {error.what}", dropped
            quoted = take(answer.model_dump(), wanted, page, context)
            fields = [*fields, *quoted.fields]
            dropped += len(quoted.dropped)
    return fields, "", dropped


@step("keep what was read")
async def keep(database: Postgres, outcome: Outcome, reader: str) -> None:
    """Into the database, by its content."""
    complete = not outcome.unread and not outcome.unasked
    async with await database.get_async_client(autocommit=True) as connection:
        await kept.keep(connection, outcome.document, reader=reader, complete=complete, at=datetime.now(UTC))


async def model_of(settings: DocumentsSettings) -> LanguageModel | None:
    """The model that is asked; None: nobody is.

    Raises:
        ConfigurationError: the block is not there.
    """
    if settings.model is None:
        return None
    try:
        return await cast("Awaitable[LanguageModel]", LanguageModel.aload(settings.model))
    except ValueError as error:
        raise ConfigurationError(
            f"documents.model names the block {settings.model!r} of the type Lama Model, which is not there.",
            component="documents",
            remedy="Make it in the Prefect UI, under Blocks.",
        ) from error
