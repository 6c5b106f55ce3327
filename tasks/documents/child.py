"""Reads one document, in a process of its own: `python -m tasks.documents.child`. What it reads may be made to do harm.

Before it looks at the document it gives away what harm needs: memory beyond a limit, files to write, time. It answers
with lines of JSON on standard output, one a page, so that what was read before something went wrong is not lost. No
script of a document is run: there is nothing here that could.

    child text PATH MEMORY_MIB PAGE_S DOCUMENT_S MOST_PAGES
    child picture PATH MEMORY_MIB PAGE_S PAGE DOTS_PER_INCH     a PNG of one page
    child become PROGRAM MEMORY_MIB ARGUMENTS                   another program instead, within the memory
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

_MOST_WORDS = 20_000
"""Words of one page; a page of print has some five hundred."""
_LONGEST_WORD = 500
_MOST_PIXELS = 40_000_000


class _TooLong(BaseException):
    """A page took longer than it may. No `except Exception` of a library holds it up."""


def main(arguments: list[str]) -> int:
    """Read what `arguments` say."""
    if arguments[0] == "become":
        _, program, memory_mib, *given = arguments
        _limit((resource.RLIMIT_AS, int(memory_mib) << 20), (resource.RLIMIT_CORE, 0))
        os.execv(program, [program, *given])  # noqa: S606 - a program that is named by its path, without a shell
    what, path, memory_mib, page_s, *rest = arguments
    _give_away(int(memory_mib))
    signal.signal(signal.SIGALRM, _ring)
    if what == "picture":
        number, density = rest
        with _within(float(page_s)):
            sys.stdout.buffer.write(_picture(path, int(number), float(density)))
        return 0
    document_s, most_pages = rest
    _text(path, float(page_s), time.monotonic() + float(document_s), int(most_pages))
    return 0


def _give_away(memory_mib: int) -> None:
    # The libraries are loaded first: what they map counts as well, and is not the document's fault.
    import pdfplumber  # noqa: F401, PLC0415
    import pypdfium2  # noqa: F401, PLC0415

    logging.disable(logging.CRITICAL)  # pdfminer tells at length what is wrong with a file
    sys.setrecursionlimit(2000)
    _limit((resource.RLIMIT_AS, memory_mib << 20), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0))


def _limit(*limits: tuple[int, int]) -> None:
    for what, most in limits:
        hard = resource.getrlimit(what)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (limit, limit))


def _ring(*_: object) -> None:
    raise _TooLong


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, max(0.01, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _say(**told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _text(path: str, page_s: float, ends_at: float, most_pages: int) -> None:
    from pdfminer.pdfdocument import PDFPasswordIncorrect  # noqa: PLC0415
    from pdfplumber.pdf import PDF  # noqa: PLC0415

    try:
        with open(path, "rb") as file, _within(ends_at - time.monotonic()):  # noqa: PTH123 - the library wants the file
            document = PDF(io.BytesIO(file.read()), pages=list(range(1, most_pages + 1)), password="")
            claimed = _count(document.doc)
            _say(pages=claimed, warnings=_odd(document.doc))
            pages = document.pages
    except _TooLong:
        _say(error="its structure could not be read in time")
    except MemoryError:
        _say(error="its structure takes more memory than a document may")
    except Exception as error:  # noqa: BLE001 - a parser of hostile files fails in any way; it is said, not hidden
        cause = _cause(error)
        locked = isinstance(cause, PDFPasswordIncorrect)
        kind = type(cause).__name__
        _say(
            error="it is encrypted, and opens only with a password"
            if locked
            else f"it is no PDF that can be read ({kind})"
        )
    else:
        _pages(pages, claimed, page_s, ends_at)


def _cause(error: Exception) -> BaseException:
    """What went wrong, where the library only says that something did."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, BaseException) else error


def _pages(pages: list[Any], claimed: int, page_s: float, ends_at: float) -> None:
    for number, page in enumerate(pages, start=1):
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            _say(rest=number, last=max(claimed, len(pages)), why="there was no time left")
            return
        try:
            with _within(min(page_s, left_s)):
                told = _page(page)
            _say(page=number, **told)
        except _TooLong:
            _say(page=number, error=f"took longer than {page_s:g} s")
        except MemoryError:
            _say(page=number, error="takes more memory than a document may")
        except Exception as error:  # noqa: BLE001 - as above; the next page may be well
            cause = _cause(error)
            memory = isinstance(cause, MemoryError)
            kind = "takes more memory than a document may" if memory else f"cannot be read ({type(cause).__name__})"
            _say(page=number, error=kind)
        page.close()
    if claimed > len(pages):
        _say(rest=len(pages) + 1, last=claimed, why="is named but not there, or beyond the pages that are read")


def _page(page: Any) -> dict[str, Any]:
    words = page.extract_words(use_text_flow=False, keep_blank_chars=False)
    if len(words) > _MOST_WORDS:
        raise ValueError
    return {
        "words": [
            [one["text"][:_LONGEST_WORD], *(round(float(one[side]), 2) for side in ("x0", "top", "x1", "bottom"))]
            for one in words
        ],
        "picture": _largest_picture(page),
        "curves": len(page.curves),
    }


def _largest_picture(page: Any) -> float:
    """The share of the page that its largest picture takes."""
    whole = float(page.width) * float(page.height)
    shares = [
        max(0.0, min(float(one["x1"]), float(page.width)) - max(float(one["x0"]), 0.0))
        * max(0.0, min(float(one["bottom"]), float(page.height)) - max(float(one["top"]), 0.0))
        / (whole or 1.0)
        for one in page.images
    ]
    return max(shares, default=0.0) if whole > 0 else 0.0


def _count(document: Any) -> int:
    from pdfminer.pdftypes import resolve1  # noqa: PLC0415

    tree = resolve1(document.catalog.get("Pages")) or {}
    count = resolve1(tree.get("Count")) if isinstance(tree, dict) else 0
    return int(count) if isinstance(count, int) and 0 <= count < 10_000_000 else 0


def _odd(document: Any) -> list[str]:
    """What a document holds that has no business in one that is only read."""
    from pdfminer.pdftypes import resolve1  # noqa: PLC0415

    catalog = document.catalog
    names = resolve1(catalog.get("Names")) or {}
    action = resolve1(catalog.get("OpenAction"))
    kind = str(resolve1(action.get("S"))) if isinstance(action, dict) else ""
    told = []
    if (isinstance(names, dict) and "JavaScript" in names) or "JavaScript" in kind:
        told.append("it holds a script")
    if "Launch" in kind or "URI" in kind or "SubmitForm" in kind:
        told.append("it wants to open something when it is opened")
    if isinstance(names, dict) and "EmbeddedFiles" in names:
        told.append("it holds other files")
    return told


def _picture(path: str, number: int, density: float) -> bytes:
    import pypdfium2  # noqa: PLC0415

    document = pypdfium2.PdfDocument(path)
    page = document[number - 1]
    width, height = page.get_size()
    scale = density / 72
    pixels = width * height * scale**2
    if pixels > _MOST_PIXELS:
        scale *= (_MOST_PIXELS / pixels) ** 0.5
    content = io.BytesIO()
    page.render(scale=scale, grayscale=True, may_draw_forms=False).to_pil().save(content, format="PNG")
    return content.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
