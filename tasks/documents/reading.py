"""Reads documents, each in a process of its own that may take only so much memory and time.

Pages that are pictures are read by Tesseract where it is installed. What could not be read is said, page by page.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocks.errors import UnavailableError
from blocks.settings import CHECKOUT
from models.documents import Box, DocumentsSettings
from tasks.documents.text import Page, Word, page_of
from tasks.engine import run_engine

_DENSITY = 300.0
"""Dots per inch of the picture that Tesseract is given."""
_STARTING_S = 30.0
"""Seconds that the process may take beside the document."""
_LARGEST_ANSWER = 256 << 20
_LEAST_CONFIDENCE = 30.0
_LARGE = 0.5
"""Share of a page above which a picture is looked at though there are a few words, such as a stamp, beside it."""
_FEW_WORDS = 50
_PICTURES: Mapping[bytes, str] = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}


@dataclass
class Content:
    """What a document holds."""

    pages: int = 0
    """As it says itself."""
    read: list[Page] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    """Pages, or everything, that could not be read, and why."""
    warnings: tuple[str, ...] = ()


def digest(path: Path, largest: int) -> tuple[str, bytes] | None:
    """SHA-256 of the file's content, and its first bytes; None: it is larger than `largest` bytes.

    Raises:
        OSError: it cannot be read.
    """
    hashing, size, head = hashlib.sha256(), 0, b""
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            head = head or chunk[:1024]
            size += len(chunk)
            if size > largest:
                return None
            hashing.update(chunk)
    return hashing.hexdigest(), head


def kind_of(head: bytes) -> str | None:
    """`PDF`, the kind of picture, or None: neither, by the first bytes."""
    if b"%PDF-" in head:
        return "PDF"
    return next((kind for magic, kind in _PICTURES.items() if head.startswith(magic)), None)


def tesseract_of(settings: DocumentsSettings) -> str | None:
    """Where Tesseract is; None: it is not installed."""
    found = shutil.which(settings.tesseract)
    return None if found is None else str(Path(found).absolute())


async def read(path: Path, kind: str, settings: DocumentsSettings) -> Content:
    """What the document at `path` holds."""
    tesseract = tesseract_of(settings)
    if kind != "PDF":
        return await _picture(path, settings, tesseract)
    content, scanned = await _text(path, settings)
    for number, beside in scanned.items():
        words: list[Word] = []
        if tesseract is None:
            content.unread[f"page {number}"] = "is a picture of text, and Tesseract is not installed"
        else:
            try:
                words = await _read_picture(await _drawn(path, number, settings), settings, tesseract, _DENSITY)
            except UnavailableError as error:
                content.unread[f"page {number}"] = f"is a picture that could not be read: {error.what}"
        if beside or f"page {number}" not in content.unread:
            content.read.append(page_of(number, [*beside, *(one for one in words if not _is_among(one, beside))]))
    content.read.sort(key=lambda page: page.number)
    return content


def _is_among(word: Word, others: Sequence[Word]) -> bool:
    """Whether `word` stands where one of `others` does: the drawn page shows those as well."""
    across, down = (word.box.left + word.box.right) / 2, (word.box.top + word.box.bottom) / 2
    return any(one.box.left <= across <= one.box.right and one.box.top <= down <= one.box.bottom for one in others)


async def _text(path: Path, settings: DocumentsSettings) -> tuple[Content, dict[int, list[Word]]]:
    """The pages that have text; and those that are pictures, with the few words beside the picture."""
    given = [str(settings.page_s), str(settings.document_s), str(settings.most_pages)]
    content = Content()
    scanned: dict[int, list[Word]] = {}
    try:
        outcome = await run_engine(
            _child("text", path, settings, *given),
            timeout_s=settings.document_s + settings.page_s + _STARTING_S,
            cwd=CHECKOUT,
            environment={"PATH": "/usr/bin:/bin"},
            max_output=_LARGEST_ANSWER,
        )
    except UnavailableError as error:
        content.unread["the document"] = error.what.rstrip(".")
        return content, {}
    for line in outcome.stdout.splitlines():
        told = json.loads(line)
        if "pages" in told:
            content.pages, content.warnings = told["pages"], tuple(told["warnings"])
        elif "page" in told:
            _note(content, scanned, told)
        elif "rest" in told:
            content.unread[_range(told["rest"], told["last"])] = told["why"]
        else:
            content.unread["the document"] = told["error"]
    if outcome.code != 0:
        reached = len(content.read) + len(scanned) + len(content.unread)
        content.unread["the document" if not reached else "what follows"] = f"its reader ended with {outcome.code}"
    content.pages = max(content.pages, len(content.read) + len(scanned))
    return content, scanned


def _note(content: Content, scanned: dict[int, list[Word]], told: Mapping[str, Any]) -> None:
    number = told["page"]
    if "error" in told:
        content.unread[f"page {number}"] = told["error"]
        return
    words = [Word(text, Box(left=x0, top=top, right=x1, bottom=bottom)) for text, x0, top, x1, bottom in told["words"]]
    if told["picture"] > (_LARGE if words else 0) and len(words) < _FEW_WORDS:
        scanned[number] = words
    elif not words and told["curves"]:
        content.unread[f"page {number}"] = "has drawings and no text that can be read"
    else:
        content.read.append(page_of(number, words))


def _range(first: int, last: int) -> str:
    return f"page {first}" if last <= first else f"pages {first} to {last}"


async def _drawn(path: Path, number: int, settings: DocumentsSettings) -> bytes:
    given = [str(settings.page_s), str(number), str(_DENSITY)]
    outcome = await run_engine(
        _child("picture", path, settings, *given),
        timeout_s=settings.page_s + _STARTING_S,
        cwd=CHECKOUT,
        environment={"PATH": "/usr/bin:/bin"},
        max_output=_LARGEST_ANSWER,
    )
    if outcome.code != 0 or not outcome.stdout:
        raise UnavailableError(f"it cannot be drawn (the process ended with {outcome.code})", component=path.name)
    return outcome.stdout


async def _picture(path: Path, settings: DocumentsSettings, tesseract: str | None) -> Content:
    """A document that is one picture; its boxes are in its own dots."""
    content = Content(pages=1)
    if tesseract is None:
        content.unread["page 1"] = "is a picture of text, and Tesseract is not installed"
        return content
    try:
        words = await _read_picture(await asyncio.to_thread(path.read_bytes), settings, tesseract, 72.0)
    except UnavailableError as error:
        content.unread["page 1"] = f"is a picture that could not be read: {error.what}"
    else:
        content.read.append(page_of(1, words))
    return content


async def _read_picture(picture: bytes, settings: DocumentsSettings, tesseract: str, density: float) -> list[Word]:
    outcome = await run_engine(
        [
            *(
                sys.executable,
                "-m",
                "tasks.documents.child",
                "become",
                tesseract,
                str(settings.memory_mib),
            ),
            *("stdin", "stdout", "-l", settings.languages, "--dpi", str(int(density)), "tsv"),
        ],
        timeout_s=settings.page_s + _STARTING_S,
        cwd=CHECKOUT,
        environment={"PATH": "/usr/bin:/bin", "OMP_THREAD_LIMIT": "1"} | _language_data(tesseract),
        stdin=picture,
        max_output=_LARGEST_ANSWER,
    )
    if outcome.code != 0:
        told = outcome.stderr.strip().splitlines()
        raise UnavailableError(f"Tesseract says: {told[-1][:200] if told else 'nothing'}", component="tesseract")
    return words_of(outcome.stdout.decode("utf-8", "replace"), 72 / density)


def _language_data(tesseract: str) -> dict[str, str]:
    """Where its languages are, when it is not installed where it was built for."""
    beside = Path(tesseract).resolve().parent.parent / "share"
    found = sorted(beside.glob("tesseract-ocr/*/tessdata")) + sorted(beside.glob("tessdata"))
    return {"TESSDATA_PREFIX": str(found[-1])} if found else {}


def words_of(table: str, scale: float) -> list[Word]:
    """The words of Tesseract's table (TSV), with its dots times `scale`, without those that it is not sure of at all.

    https://tesseract-ocr.github.io/tessdoc/Command-Line-Usage.html
    """
    words = []
    for row in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
        text = (row.get("text") or "").strip()
        try:
            confidence = float(row["conf"])
            left, top, width, height = (
                round(float(row[side]) * scale, 2) for side in ("left", "top", "width", "height")
            )
        except (KeyError, TypeError, ValueError):
            continue
        if text and confidence >= _LEAST_CONFIDENCE:
            box = Box(left=left, top=top, right=round(left + width, 2), bottom=round(top + height, 2))
            words.append(Word(text[:500], box, confidence))
    return words


def _child(what: str, path: Path, settings: DocumentsSettings, *given: str) -> Sequence[str]:
    return [sys.executable, "-m", "tasks.documents.child", what, str(path), str(settings.memory_mib), *given]
