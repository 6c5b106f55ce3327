"""`objects.inv`: where the pages of names are, as Sphinx writes it for other projects to link to.

Version 2 of the format: four lines of text, then zlib of a line a name, `name domain:role priority address title`; in
an address `$` at its end stands for the name, and a title `-` for the name itself. As `sphinx.util.inventory` and
`sphobjinv` read it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, urljoin

from blocks.errors import ConfigurationError
from models.code import Kind

_HEAD = "# Sphinx inventory version 2"
_LINE = re.compile(r"(.+?)\s+(\S+:\S+)\s+(-?\d+)\s+(\S*)\s+(.*)")
_SAFE = "%/:?#@!$&*+,;=~"
"""What stays as it is in an address, beside letters, digits and `_.-`: nothing that ends a link of Markdown."""
_LARGEST = 64 * 1024 * 1024
_ROLES = {
    Kind.module: "py:module",
    Kind.class_: "py:class",
    Kind.function: "py:function",
    Kind.attribute: "py:attribute",
}


def role_of(kind: Kind, *, in_class: bool) -> str:
    """What Sphinx's Python domain calls a thing of this kind."""
    if in_class and kind is Kind.function:
        return "py:method"
    return "py:data" if kind is Kind.attribute and not in_class else _ROLES[kind]


def line(name: str, role: str, address: str) -> str:
    """The line of one name, of which `address` is the place below the site's root."""
    shortened = address[: -len(name)] + "$" if address.endswith(name) else address
    return f"{name} {role} 1 {shortened} -\n"


def written(project: str, version: str, lines: Iterable[str]) -> bytes:
    """The whole file. `lines` are in the order in which they come; line breaks in the names of projects go."""
    head = "\n".join(
        (
            _HEAD,
            f"# Project: {' '.join(project.split())}",
            f"# Version: {' '.join(version.split())}",
            "# The remainder of this file is compressed using zlib.",
            "",
        )
    )
    return head.encode() + zlib.compress("".join(lines).encode(), 6)


def read(content: bytes) -> dict[str, str]:
    """The address of each Python name, by the name; addresses are relative to the root of that site.

    Raises:
        ValueError: it is no inventory of version 2, or an absurdly large one.
    """
    head, _, rest = content.partition(b"zlib.\n")
    if not head.startswith(_HEAD.encode()):
        raise ValueError("it does not begin as an inventory of version 2")
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(rest, _LARGEST).decode("utf-8")
    except (zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"its list of names cannot be unpacked: {error}") from error
    if inflater.unconsumed_tail:
        raise ValueError(f"its list of names is larger than {_LARGEST} bytes")
    found: dict[str, str] = {}
    for row in text.splitlines():
        match = _LINE.fullmatch(row.rstrip())
        if match is not None and match[2].startswith("py:"):
            address = match[4]
            found[match[1]] = address[:-1] + match[1] if address.endswith("$") else address
    return found


def read_all(places: Iterable[tuple[Path, str]]) -> Mapping[str, str]:
    """The full address of each name of several inventories; what comes first holds.

    Raises:
        ConfigurationError: a file cannot be read or is no inventory; the message names it.
    """
    known: dict[str, str] = {}
    for path, url in places:
        try:
            names = read(path.read_bytes())
        except OSError as error:
            raise ConfigurationError(f"cannot be read: {error.strerror}.", component=str(path)) from error
        except ValueError as error:
            raise ConfigurationError(
                f"{error}.", component=str(path), remedy="Correct [[docs.inventories]] of lama.toml."
            ) from error
        base = url if url.endswith("/") else url + "/"
        for name, address in names.items():
            whole = quote(urljoin(base, address), safe=_SAFE)
            if whole.startswith(("http://", "https://")):  # an address may have a scheme of its own, such as javascript
                known.setdefault(name, whole)
    return known
