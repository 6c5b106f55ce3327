"""What could not be looked at, as the engines say it: the fields of a `Skip`, without what validates them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that was not looked at, and why. Reports carry it as a `models.report.Skip`."""

    area: str
    """The module that could not look, such as `dependencies`."""
    component: str
    """What was not looked at."""
    reason: str
    """Why not, and what would make it possible."""
    hides: tuple[str, ...] = ()
    """Prefixes of the keys of findings that may have gone unseen; empty: everything in `area`."""
    seen: tuple[str, ...] = ()
    """Prefixes of keys that were looked for all the same, although they begin as `hides` says."""
    key: str = ""
    """What `[[suppressions]]` may accept it by, `gap.kind:subject`. Only what lies in the nature of a thing has one:
    what failed this time must never be set aside.
    """
