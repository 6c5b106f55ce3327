"""HTML of mails as text, in one pass: the time is proportional to the length, whatever a stranger has sent."""

from __future__ import annotations

import html
import re

_LONGEST = 2_000_000
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]{0,20})([^<>]*)>|<[!?][^<>]*>")
_SILENT = frozenset({"script", "style", "head", "title", "template", "noscript", "svg"})
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "center", "dd", "div", "dl", "dt", "fieldset", "footer", "form", "h1",
     "h2", "h3", "h4", "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "tbody", "tr",
     "ul"}
)  # fmt: skip
_SPACES = re.compile(r"[ \t\r\f\v\u00a0]+")
_LINK = re.compile(r"""href\s*=\s*["']?(https?://[^\s"'>]{1,500})""", re.IGNORECASE)


def text_of_html(document: str) -> str:
    """What a reader sees of `document`: words, line breaks, points of lists, quotations marked with `>`."""
    document = document[:_LONGEST]
    lowered = document.lower() if document.isascii() else _lower(document)
    out: list[str] = []
    quoted = 0
    at = 0
    closed: dict[str, bool] = {}
    while at < len(document):
        begins = document.find("<", at)
        if begins < 0:
            out.append(_words(document[at:], quoted))
            break
        out.append(_words(document[at:begins], quoted))
        if document.startswith("<!--", begins):
            ends = document.find("-->", begins) if closed.get("--", True) else -1
            closed["--"] = ends >= 0
            at = ends + 3 if ends >= 0 else begins + 4
            continue
        match = _TAG.match(document, begins)
        if match is None:
            out.append("<")
            at = begins + 1
            continue
        at = match.end()
        name = (match[2] or "").lower()
        opening = not match[1]
        if name in _SILENT and opening and closed.get(name, True):
            ends = lowered.find(f"</{name}", at)
            closed[name] = ends >= 0
            at = ends if ends >= 0 else at
        elif name == "br":
            out.append(_new_line(quoted))
        elif name == "li" and opening:
            out.append(_new_line(quoted) + "- ")
        elif name in {"td", "th"} and not opening:
            out.append(" ")
        elif name in _BLOCKS:
            if name == "blockquote":
                quoted = max(0, min(quoted + (1 if opening else -1), 5))
            out.append(_new_line(quoted))
        elif name == "a" and opening and (link := _LINK.search(match[3])):
            out.append(f" {html.unescape(link[1])} ")
    return _tidied("".join(out))


def _lower(document: str) -> str:
    # `str.lower` can change the length of a text, and with it every position.
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in document)


def _new_line(quoted: int) -> str:
    return "\n" + "> " * quoted


def _words(piece: str, quoted: int) -> str:
    told = html.unescape(piece).replace("\n", " ")
    return told if told.strip() or not quoted else ""


def _tidied(text: str) -> str:
    lines = [_SPACES.sub(" ", line).strip() for line in text.split("\n")]
    out: list[str] = []
    for line in lines:
        bare = line.strip("> ")
        if bare or (out and out[-1].strip("> ")):
            out.append(line if bare else "")
    return "\n".join(out).strip()
