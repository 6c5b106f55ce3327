"""A mail as its parts (RFC 2045 to 2049, 5322), whatever its sender made of it. Pure, and bounded in time and depth.

The standard library's parser has no limit on depth, parts or lines, so only single header blocks are given to it; where
a multipart begins and ends is found here, outside in: a part that was never closed ends with what it is in.
"""

from __future__ import annotations

import email
import email.message
import email.policy
import email.utils
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_LARGEST_HEADER = 128 * 1024
"""Bytes of a header block that are read; a longer one is cut."""
_DEEPEST = 30
_MOST_PARTS = 500
_LONGEST_BOUNDARY = 200
_UUENCODED = frozenset({"x-uuencode", "uuencode", "uue", "x-uue"})
_LARGEST_UUENCODED = 4_000_000
"""Bytes; the library decodes it line by line."""
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n|\r\r")
# Codecs that are no charsets, or take other than linear time.
_NO_CHARSETS = frozenset({"punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"})


@dataclass(frozen=True)
class Part:
    """A leaf of a mail."""

    content_type: str
    """Type and subtype, lower case; `application/octet-stream` when it cannot be told."""
    content: bytes
    """Decoded from its transfer encoding."""
    charset: str | None = None
    filename: str | None = None
    attached: bool = False
    """Whether its sender calls it an attachment."""
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Structure:
    """What a mail is made of."""

    header: email.message.Message
    body: int
    """Where in the raw mail its body begins."""
    parts: tuple[Part, ...]
    problems: tuple[str, ...]
    """What could not be read as its sender meant it. Nothing is left out for that: it is a part as it stands."""


def take_apart(raw: bytes) -> Structure:
    """The header of a mail and its leaves, in order."""
    problems: list[str] = []
    begins = raw.find(b"\n") + 1 if raw.startswith((b"From ", b">From ")) else 0  # of mboxes
    header, body = _header(raw, begins, len(raw), problems)
    parts: list[Part] = []
    for part in _leaves(raw, header, body, len(raw), 0, problems):
        if len(parts) == _MOST_PARTS:
            problems.append(f"it has more than {_MOST_PARTS} parts; the rest is only in the raw message")
            break
        parts.append(part)
    return Structure(header, body, tuple(parts), tuple(dict.fromkeys(problems)))


def text_of(part: Part) -> str:
    """The text of a part: by its charset, else as UTF-8, else as Windows-1252, which takes nearly everything."""
    for charset in (part.charset, "utf-8"):
        if charset and (decoded := _decoded(part.content, charset)) is not None:
            return decoded
    return part.content.decode("cp1252", "replace")


def _decoded(content: bytes, charset: str) -> str | None:
    name = charset.strip().strip("\"'").lower()
    if not name or len(name) > 40 or name.replace("-", "_") in _NO_CHARSETS:
        return None
    if name in {"us-ascii", "ascii", "iso-8859-1", "latin-1", "unknown-8bit"}:
        name = "utf-8" if _is_utf8(content) else "cp1252"  # what such labels stand for in practice
    try:
        return content.decode(name)
    except (LookupError, UnicodeError, ValueError):
        return None


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _leaves(
    raw: bytes, header: email.message.Message, begins: int, ends: int, depth: int, problems: list[str]
) -> Iterator[Part]:
    kind = content_type(header)
    boundary = _boundary(header) if kind.startswith("multipart/") else None
    if boundary is None:
        if kind.startswith("multipart/"):
            problems.append("a multipart has no boundary")
            kind = "text/plain"
        yield _leaf(header, kind, raw[begins:ends])
        return
    if depth >= _DEEPEST:
        problems.append(f"it is nested more than {_DEEPEST} deep")
        yield Part("application/octet-stream", raw[begins:ends], attached=True, filename="nested")
        return
    default = "message/rfc822" if kind == "multipart/digest" else None
    found = False
    for start, end in _pieces(raw, boundary, begins, ends, problems):
        found = True
        inner, body = _header(raw, start, end, problems)
        if default and "content-type" not in inner:
            inner["Content-Type"] = default
        yield from _leaves(raw, inner, body, end, depth + 1, problems)
    if not found:
        problems.append("a multipart has no parts")
        yield _leaf(header, "text/plain", raw[begins:ends])


def _pieces(raw: bytes, boundary: bytes, begins: int, ends: int, problems: list[str]) -> Iterator[tuple[int, int]]:
    """Where each part between the delimiters begins and ends; the line break before a delimiter belongs to it."""
    delimiter = re.compile(rb"--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\r|\Z)")
    start: int | None = None
    for match in delimiter.finditer(raw, begins, ends):
        at = match.start()
        if at > begins and raw[at - 1] not in b"\r\n":
            continue
        if start is not None:
            yield start, _before_break(raw, start, at)
        if match[1]:
            return
        start = _after_break(raw, match.end(), ends)
    if start is not None:
        problems.append("a multipart was never closed")
        yield start, ends


def _before_break(raw: bytes, begins: int, at: int) -> int:
    if at - 2 >= begins and raw[at - 2 : at] == b"\r\n":
        return at - 2
    return max(begins, at - 1) if raw[at - 1 : at] in (b"\r", b"\n") else at


def _after_break(raw: bytes, at: int, ends: int) -> int:
    if raw[at : at + 2] == b"\r\n":
        return min(at + 2, ends)
    return min(at + 1, ends)


def _header(raw: bytes, begins: int, ends: int, problems: list[str]) -> tuple[email.message.Message, int]:
    """The header block that begins at `begins`, and where the body begins."""
    if raw[begins : begins + 2] == b"\r\n":
        return _read_header(b""), begins + 2
    if raw[begins : begins + 1] == b"\n":
        return _read_header(b""), begins + 1
    limit = min(ends, begins + _LARGEST_HEADER)
    match = _END_OF_HEADER.search(raw, begins, limit)
    if match is not None:
        return _read_header(raw[begins : match.start()]), match.end()
    if limit < ends:
        problems.append(f"a header is longer than {_LARGEST_HEADER} bytes")
        later = _END_OF_HEADER.search(raw, limit, ends)
        return _read_header(raw[begins:limit]), later.end() if later else ends
    return _read_header(raw[begins:limit]), ends


def _read_header(block: bytes) -> email.message.Message:
    # NUL is in no header that means anything, and stops nothing here.
    text = block.replace(b"\x00", b"").decode("ascii", "surrogateescape")
    # A line that is no header line would end the block for the standard parser, and what follows be lost.
    lines = [
        line for line in re.split(r"\r\n|\r|\n", text) if line[:1] in {" ", "\t"} or re.match(r"[!-9;-~]+[ \t]*:", line)
    ]
    return email.message_from_string("\n".join(lines) + "\n\n", policy=email.policy.compat32)


def content_type(header: email.message.Message) -> str:
    """Type and subtype that a header names, lower case."""
    kind = header.get_content_type()
    return kind if re.fullmatch(r"[\w.+-]{1,60}/[\w.+-]{1,100}", kind) else "application/octet-stream"


def _boundary(header: email.message.Message) -> bytes | None:
    try:
        boundary = header.get_boundary()
    except (ValueError, LookupError, UnicodeError, TypeError, AttributeError, RecursionError):
        return None
    if not boundary or len(boundary) > _LONGEST_BOUNDARY:
        return None
    return boundary.encode("ascii", "surrogateescape") if boundary.isascii() else boundary.encode("utf-8", "replace")


def _leaf(header: email.message.Message, kind: str, body: bytes) -> Part:
    return Part(
        content_type=kind,
        content=_transferred(header, body),
        charset=_parameter(header, "charset"),
        filename=_filename(header),
        attached=str(header.get("content-disposition", "")).strip().lower().startswith("attachment"),
        parameters={name: value for name in ("method", "name") if (value := _parameter(header, name))},
    )


def _transferred(header: email.message.Message, body: bytes) -> bytes:
    """`body` without its transfer encoding; as it stands where that is broken beyond repair."""
    encoding = str(header.get("content-transfer-encoding", "")).strip().lower()
    if encoding not in {"base64", "quoted-printable"} | _UUENCODED:
        return body
    if encoding in _UUENCODED and len(body) > _LARGEST_UUENCODED:
        return body
    carrier = email.message.Message()
    carrier["Content-Transfer-Encoding"] = encoding
    carrier.set_payload(body.decode("ascii", "surrogateescape"))
    try:
        decoded = carrier.get_payload(decode=True)
    except Exception:  # noqa: BLE001 - a broken encoding, whatever the library makes of it, loses nothing
        return body
    return decoded if isinstance(decoded, bytes) else body


def _parameter(header: email.message.Message, name: str) -> str | None:
    try:
        value = header.get_param(name, header="content-type")
        if isinstance(value, tuple):
            value = email.utils.collapse_rfc2231_value(value)
    except (ValueError, LookupError, UnicodeError, TypeError, AttributeError, RecursionError):
        return None
    return str(value)[:200] if value else None


def _filename(header: email.message.Message) -> str | None:
    try:
        name = header.get_filename()
    except (ValueError, LookupError, UnicodeError, TypeError, AttributeError, RecursionError):
        return None
    return str(name)[:1000] if name else None
