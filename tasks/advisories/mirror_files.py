"""The files of a mirror: what they are called, how large they may be, and whether a file is one."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from blocks.errors import ConfigurationError
from tasks.advisories.archives import ARCHIVE, ECOSYSTEM
from tasks.advisories.download import Remote
from tasks.advisories.exploited import EPSS_FILE, KEV_FILE, read_known, read_scores
from tasks.advisories.mirror_build import entries_of
from tasks.advisories.osv_api import FAMILIES

EPSS, KEV = "EPSS", "KEV"

_LARGEST_ARCHIVE = 4_000_000_000
_LARGEST_FILE = 200_000_000


def archive_of(ecosystem: str, url: str = "") -> Remote:
    """The archive of an ecosystem.

    Raises:
        ConfigurationError: OSV has none of that name.
    """
    if not ECOSYSTEM.fullmatch(ecosystem) or ecosystem.partition(":")[0] not in FAMILIES:
        import difflib  # noqa: PLC0415

        close = difflib.get_close_matches(ecosystem, FAMILIES, n=1, cutoff=0.5)
        raise ConfigurationError(
            f"OSV has no ecosystem {ecosystem[:80]!r}.",
            component="advisories",
            remedy=f"Did you mean {close[0]!r}?" if close else "Write it as OSV does: PyPI, npm, Debian:12.",
        )
    return Remote(ecosystem, url, f"{ecosystem}/{ARCHIVE}", _LARGEST_ARCHIVE, check_archive)


def exploitation_files(epss_url: str = "", kev_url: str = "") -> tuple[Remote, Remote]:
    """EPSS's scores and CISA's catalogue."""
    return (
        Remote(EPSS, epss_url, EPSS_FILE, _LARGEST_FILE, _holding(read_scores, "scores")),
        Remote(KEV, kev_url, KEV_FILE, _LARGEST_FILE, _holding(read_known, "vulnerabilities")),
    )


def check_archive(path: Path) -> None:
    """Whether it can be opened and holds records.

    Raises:
        ValueError: it is no archive of OSV's, and why.
    """
    if not entries_of(path):
        raise ValueError("it holds no record")


def _holding(read: Callable[[Path], Iterable[Any]], what: str) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        try:
            held = list(read(path))
        except (ValueError, KeyError, TypeError, IndexError, EOFError, zlib.error) as error:
            raise ValueError(f"it has another shape ({type(error).__name__}: {str(error)[:80]})") from error
        if not held:
            raise ValueError(f"it holds no {what}")

    return check
