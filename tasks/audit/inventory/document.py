"""One file of an inventory, and what a reader makes of it. Readers are pure: the same bytes give the same answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from models.gap import Gap
from tasks.advisories.package import Package
from tasks.advisories.source import AREA
from tasks.audit.component import Component, Scope

KINDS = ("missing", "violated", "outdated", "range", "vulnerability")
"""Kinds of findings about dependencies that an unread manifest may hide."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file that somebody else wrote: every byte of it is untrusted."""

    target: str
    file: str
    """Relative to the target, with `/`."""
    content: bytes

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return PurePosixPath(self.file).name

    @property
    def text(self) -> str:
        """The content as text; what is no UTF-8 is replaced."""
        return self.content.decode("utf-8-sig", errors="replace")

    def gap(self, reason: str, *, ecosystem: str = "", kind: str = "") -> Gap:
        """That (a part of) this file was not understood. With `ecosystem`, only packages of that one are hidden; with
        `kind`, it lies in the nature of the file, and people may accept it.
        """
        below = f"{ecosystem.lower().replace(' ', '-')}/" if ecosystem else ""
        return Gap(
            area=AREA,
            component=f"{self.target}/{self.file}",
            reason=reason,
            hides=tuple(f"dependencies.{kind}:{self.target}/{below}" for kind in KINDS),
            key=f"gap.{kind}:{self.target}/{self.file}" if kind else "",
        )


@dataclass(frozen=True, slots=True)
class Include:
    """Another file that a file asks to be read with it."""

    file: str
    """Relative to the folder of the file that asks; not checked yet: it may lead out of the target."""
    constraint: bool = False
    scope: Scope = Scope.runtime
    """When what it says is needed, if what the file that asks says is needed at run time."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one file says."""

    components: tuple[Component, ...] = ()
    own: frozenset[Package] = frozenset()
    """What the file says that the project itself is called."""
    includes: tuple[Include, ...] = ()
    gaps: tuple[Gap, ...] = ()


Reader = Callable[[Document], Reading]
"""Reads one format. Never raises for what is in the file: what it cannot understand is a gap of the reading."""
