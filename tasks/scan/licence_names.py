"""What a declared licence means: SPDX expressions, and the common ways in which people write licences instead."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_LONGEST = 1000
_NOISE = frozenset({"the", "license", "licence", "licenses", "licensed", "under", "version", "software", "of", "see"})
_SAME: dict[str, tuple[str, ...]] = {
    "MIT": ("mit", "mit mit", "expat", "mit expat", "mit x11", "x11 mit"),
    "MIT-0": ("mit no attribution mit 0", "mit no attribution"),
    "Apache-2.0": (
        *("apache", "apache 2", "apache 2.0", "apache v2", "apache v2.0", "apache 2.0 apache 2.0", "asl 2.0", "asl2"),
        *("apache2", "apache2.0", "apache foundation 2.0", "apache asl 2.0", "alv2", "apache v 2.0", "asl 2"),
    ),
    "BSD-3-Clause": (
        *("bsd 3 clause", "3 clause bsd", "new bsd", "modified bsd", "revised bsd", "bsd 3", "bsd3", "bsd new"),
        *("bsd 3 clause new or revised", "new bsd 3 clause", "bsd 3 clause bsd 3 clause", "3 clause bsd bsd 3 clause"),
    ),
    "BSD-2-Clause": ("bsd 2 clause", "2 clause bsd", "simplified bsd", "freebsd", "bsd 2", "bsd simplified", "bsd2"),
    "BSD-2-Clause AND BSD-3-Clause": ("bsd", "bsd style", "bsd like", "bsd bsd"),
    "0BSD": ("0bsd", "zero clause bsd 0bsd", "zero clause bsd", "bsd zero clause"),
    "ISC": ("isc", "isc iscl", "iscl"),
    "MPL-2.0": (
        "mpl 2.0",
        "mpl 2",
        "mplv2",
        "mplv2.0",
        "mpl2",
        "mpl2.0",
        "mozilla public 2.0 mpl 2.0",
        "mozilla public 2.0",
    ),
    "MPL-1.1": ("mozilla public 1.1 mpl 1.1", "mpl 1.1"),
    "PSF-2.0": ("psf", "psfl", "python foundation", "python psf", "psf 2.0", "python foundation psf"),
    "Python-2.0": ("python 2.0",),
    "Zlib": ("zlib", "zlib libpng", "zlib libpng zlib"),
    "Unlicense": ("unlicense", "unlicense unlicense"),
    "CC0-1.0": ("cc0", "cc0 1.0", "cc0 1.0 universal cc0 1.0 public domain dedication", "cc0 1.0 universal"),
    "WTFPL": ("wtfpl", "do what the fuck you want to public wtfpl"),
    "BSL-1.0": ("boost", "boost 1.0", "boost 1.0 bsl 1.0", "bsl 1.0"),
    "ZPL-2.1": ("zpl 2.1", "zpl", "zope public"),
    "EPL-2.0": ("eclipse public 2.0 epl 2.0", "epl 2.0", "eclipse public 2.0"),
    "EPL-1.0": ("eclipse public 1.0 epl 1.0", "epl 1.0", "eclipse public 1.0"),
    "EUPL-1.2": ("european union public 1.2 eupl 1.2", "eupl 1.2"),
    "UPL-1.0": ("universal permissive upl", "upl"),
    "Artistic-1.0 AND Artistic-2.0": ("artistic",),
    "Artistic-2.0": ("artistic 2.0",),
    "GPL-2.0-only": ("gplv2", "gpl 2", "gpl 2.0", "gpl v2", "gnu general public v2 gplv2", "gnu gpl v2", "gpl2"),
    "GPL-2.0-or-later": (
        *("gplv2+", "gpl 2+", "gpl 2.0+", "gpl v2+", "gnu general public v2 or later gplv2+", "gnu gpl v2+"),
        *("gpl 2 or later", "gpl v2 or later"),
    ),
    "GPL-3.0-only": (
        *("gplv3", "gpl 3", "gpl 3.0", "gpl v3", "gnu general public v3 gplv3", "gnu gpl v3", "gpl3", "gnu gplv3"),
        *("gnu general public v3", "gnu general public 3"),
    ),
    "GPL-3.0-or-later": (
        *("gplv3+", "gpl 3+", "gpl 3.0+", "gpl v3+", "gnu general public v3 or later gplv3+", "gnu gpl v3+"),
        *("gpl 3 or later", "gpl v3 or later", "gplv3 or later"),
    ),
    "GPL-2.0-only AND GPL-3.0-only": ("gpl", "gnu gpl", "gnu general public gpl", "gnu general public"),
    "LGPL-2.0-only": ("gnu lesser general public v2 lgplv2", "lgplv2"),
    "LGPL-2.0-or-later": ("gnu lesser general public v2 or later lgplv2+", "lgplv2+"),
    "LGPL-2.1-only": ("lgpl 2.1", "lgplv2.1", "lgpl v2.1"),
    "LGPL-2.1-or-later": ("lgpl 2.1+", "lgplv2.1+", "lgpl 2.1 or later"),
    "LGPL-3.0-only": ("gnu lesser general public v3 lgplv3", "lgplv3", "lgpl 3", "lgpl 3.0", "lgpl v3", "gnu lgplv3"),
    "LGPL-3.0-or-later": ("gnu lesser general public v3 or later lgplv3+", "lgplv3+", "lgpl 3+", "lgpl v3+"),
    "LGPL-2.1-only AND LGPL-3.0-only": (
        *("lgpl", "gnu lgpl", "gnu library or lesser general public lgpl", "gnu lesser general public"),
    ),
    "AGPL-3.0-only": ("agpl", "agplv3", "agpl 3", "agpl 3.0", "gnu affero general public v3", "gnu agplv3", "agpl v3"),
    "AGPL-3.0-or-later": (
        *("agplv3+", "agpl 3+", "gnu affero general public v3 or later agplv3+", "agpl v3+", "gnu agplv3+"),
    ),
}
"""SPDX's words by what people write, as `_plain` makes it. Where that leaves open which of two is meant, both are:
neither may then be denied, and both must be allowed."""
_TEXTS = (
    ("permission is hereby granted free of charge to any person obtaining a copy", "MIT"),
    ("apache license version 2.0", "Apache-2.0"),
    ("gnu affero general public license version 3", "AGPL-3.0-only"),
    ("gnu lesser general public license version 3", "LGPL-3.0-only"),
    ("gnu general public license version 3", "GPL-3.0-only"),
    ("gnu general public license version 2", "GPL-2.0-only"),
    ("mozilla public license version 2.0", "MPL-2.0"),
    ("permission to use copy modify and/or distribute this software for any purpose", "ISC"),
)
"""How the texts of licences begin, for packages that put the whole text where its name belongs."""
_CLAUSES = "redistribution and use in source and binary forms"
_STRONG = re.compile(r"(?:A?GPL|SSPL|OSL|EUPL|RPL|CECILL-[12]|QPL|Sleepycat)-?[\d.]*", re.IGNORECASE)
_WEAK = re.compile(r"(?:LGPL|MPL|EPL|CDDL|CPL|CECILL-C|MS-RL|APSL|OFL|CC-BY-SA)-?[\d.]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class One:
    """A single licence, perhaps with an exception."""

    key: str
    """Its SPDX identifier; as written when it is not known."""
    exception: str = ""
    known: bool = True

    def __str__(self) -> str:
        return f"{self.key} WITH {self.exception}" if self.exception else self.key


@dataclass(frozen=True, slots=True)
class Several:
    """Licences of which all hold (`AND`), or of which one can be chosen (`OR`)."""

    every: bool
    parts: tuple[One | Several, ...]

    def __str__(self) -> str:
        return f" {'AND' if self.every else 'OR'} ".join(
            f"({part})" if isinstance(part, Several) else str(part) for part in self.parts
        )


Licence = One | Several


@functools.lru_cache(maxsize=4096)
def read_licence(text: str) -> Licence | None:
    """What a declared licence means; None when that cannot be said.

    Takes SPDX expressions, common names, trove classifiers and the texts of common licences. Several statements
    (lines, or parts divided by `;`) hold together.
    """
    if len(text) > _LONGEST or text.count("\n") > 10:
        return _of_text(text)
    statements = [part.strip() for part in re.split(r"[;\n]", text) if part.strip()]
    statements = [
        one for one in statements if one.lower() not in {"unknown", "license :: osi approved", "osi approved"}
    ]
    read = [_statement(one) for one in statements]
    parts = tuple(dict.fromkeys(one for one in read if one is not None))
    if not parts or None in read:
        return _of_text(text)
    return parts[0] if len(parts) == 1 else Several(every=True, parts=parts)


def each(licence: Licence) -> Iterator[One]:
    """Every single licence in `licence`."""
    if isinstance(licence, One):
        yield licence
    else:
        for part in licence.parts:
            yield from each(part)


def grade(licence: Licence, of_one: Callable[[One], int]) -> int:
    """The grade of `licence` by the grades of its parts: of those that all hold the worst, of a choice the best."""
    if isinstance(licence, One):
        return of_one(licence)
    grades = [grade(part, of_one) for part in licence.parts]
    return max(grades) if licence.every else min(grades)


def copyleft(one: One) -> int:
    """2 when works that contain it must be under it, 1 when only its own files must, 0 otherwise."""
    family = family_of(one.key)
    if _STRONG.fullmatch(family):
        return 1 if one.exception else 2  # exceptions are there to let others link to it
    return 1 if _WEAK.fullmatch(family) else 0


def family_of(key: str) -> str:
    """An identifier without what says whether later versions hold as well."""
    return key.removesuffix("-only").removesuffix("-or-later").removesuffix("+")


def names_licences(pattern: str) -> tuple[str, ...]:
    """The identifiers that an entry of a list of licences stands for: a name, or a glob. Empty: it stands for none."""
    if "*" in pattern:
        keys = [key for key in _licensing().known_symbols if fnmatch.fnmatchcase(key.lower(), pattern.lower())]
        return (pattern,) if keys or pattern.startswith("LicenseRef-") else ()
    read = read_licence(pattern)
    return tuple(str(one) for one in each(read) if one.known) if read is not None else ()


def _statement(text: str) -> Licence | None:
    if "::" in text:
        text = text.rpartition("::")[2].strip()
    if known := _TABLE.get(_plain(text)):
        return _expression(known)
    return _expression(text) or _expression(re.sub(r"\s*/\s*", " OR ", text))


def _expression(text: str) -> Licence | None:
    """An SPDX expression; None when `text` is none, or speaks of nothing that is known."""
    from license_expression import ExpressionError  # noqa: PLC0415

    try:
        parsed = _licensing().parse(text)
        read = _converted(parsed) if parsed is not None else None
    except (ExpressionError, RecursionError, ValueError, TypeError, AttributeError, LookupError, AssertionError):
        return None  # it says of some texts that are no expressions that they are, and fails
    return read if read is not None and any(one.known for one in each(read)) else None


@functools.cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing  # noqa: PLC0415

    return get_spdx_licensing()


def _converted(node: Any) -> Licence:
    arguments = getattr(node, "args", ())
    if arguments:
        every = type(node).__name__ == "AND"
        return Several(every, tuple(_converted(part) for part in arguments))
    if hasattr(node, "license_symbol"):
        base, exception = _one(node.license_symbol.key), node.exception_symbol
        known = base.known and exception.key in _licensing().known_symbols
        return One(base.key, str(exception.key), known)
    return _one(node.key)


def _one(key: str) -> One:
    symbols = _licensing().known_symbols
    if key in symbols or key.startswith(("LicenseRef-", "DocumentRef-")):
        return One(key)
    same = _TABLE.get(_plain(key))
    return One(same) if same in symbols and same is not None else One(key, known=False)


def _plain(text: str) -> str:
    """`text` in small letters, without punctuation and the words that say nothing."""
    words = re.sub(r"[^a-z0-9.+]+", " ", text[:_LONGEST].lower()).split()
    return " ".join(word.strip(".") for word in words if word.strip(".") not in _NOISE)


_TABLE = {_plain(written): spdx for spdx, names in _SAME.items() for written in names}


def _of_text(text: str) -> Licence | None:
    """The licences whose texts stand in `text`; all of them hold for a part of the package at least."""
    told = re.sub(r"[\s,]+", " ", text.lower())
    found: list[One | Several] = [One(spdx) for words, spdx in _TEXTS if words in told]
    if _CLAUSES in told:
        found.append(One("BSD-3-Clause" if "neither the name" in told else "BSD-2-Clause"))
    return None if not found else found[0] if len(found) == 1 else Several(every=True, parts=tuple(found))
