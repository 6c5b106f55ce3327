"""Docstrings as CommonMark: doctests and what reStructuredText writes otherwise are brought into its form.

Only what is common in docstrings: roles, literal blocks, directives, targets. What is neither stays as it is.
"""

from __future__ import annotations

import re

_ROLE = re.compile(r":(?:[a-zA-Z]+:){0,2}([a-zA-Z]+):`([^`\n]*(?:\n[^`\n]+)?)`")
_TITLED = re.compile(r"(.*?)\s*<([^<>]+)>$", re.DOTALL)
_LITERAL_ROLES = frozenset({"code", "command", "envvar", "file", "kbd", "literal", "option", "paramref", "samp"})
_DIRECTIVE = re.compile(r"(\s*)\.\. ([\w:+-]+)::\s*(.*)")
_COMMENT = re.compile(r"\s*\.\.(?: _[^:]*:.*| .*)?$")
_OPTION = re.compile(r"\s*:[\w-]+:")
_LINK = re.compile(r"`([^`<\n]+?)\s*<(https?://[^>`\s]+)>`__?")
_DEEPEST = 10
_CODE = frozenset({"code", "code-block", "sourcecode", "parsed-literal", "highlight", "testcode"})
_WORDS = {
    "versionadded": "New in version", "versionchanged": "Changed in version", "deprecated": "Deprecated since version",
    "note": "Note", "warning": "Warning", "seealso": "See also", "tip": "Tip", "important": "Important",
    "caution": "Caution", "danger": "Danger", "hint": "Hint", "attention": "Attention", "admonition": "",
    "versionremoved": "Removed in version", "rubric": "", "topic": "", "todo": "To do",
}  # fmt: skip


def as_commonmark(text: str) -> tuple[str, dict[str, str]]:
    """`text` as CommonMark, and what its code spans lead to where that is another name than they show."""
    targets: dict[str, str] = {}
    if ".. " in text or "::" in text or ">>>" in text:
        text = _blocks(text)
    if ":`" in text:
        text = _ROLE.sub(lambda match: _role(match, targets), text)
    if ">`_" in text:
        text = _LINK.sub(r"[\1](<\2>)", text)
    return text, targets


def _role(match: re.Match[str], targets: dict[str, str]) -> str:
    role, content = match[1], " ".join(match[2].split())
    if role in _LITERAL_ROLES or not content:
        return f"`{content}`"
    titled = _TITLED.fullmatch(content)
    label, target = (titled[1], titled[2]) if titled else (content, content)
    target = target.lstrip("!~")
    if label.startswith("~"):
        label = label.rpartition(".")[2].lstrip("~")
    label = label.lstrip("!.")
    package, dot, rest = label.partition(".")
    if package.startswith("_") and dot:  # Sphinx's shorthand for a package
        label = rest
    targets[label] = target
    return f"`{label}`"


def _blocks(text: str, depth: int = 0) -> str:
    """Literal blocks, doctests and directives as fences and paragraphs; directives in each other up to a depth."""
    if depth > _DEEPEST:
        return text
    lines = text.split("\n")
    done: list[str] = []
    at = 0
    fence = ""
    while at < len(lines):
        line = lines[at]
        stripped = line.strip()
        if fence:
            fence = "" if stripped.startswith(fence) and not stripped.strip(fence[0]) else fence
            done.append(line)
            at += 1
        elif stripped.startswith(("```", "~~~")):
            fence = stripped[:3]
            done.append(line)
            at += 1
        elif stripped.startswith(">>>"):
            at = _doctest(lines, at, done)
        elif match := _DIRECTIVE.fullmatch(line):
            at = _directive(lines, at, match, done, depth)
        elif stripped.startswith("..") and _COMMENT.fullmatch(line):
            at += 1
        elif stripped.endswith("::"):
            at = _literal(lines, at, done)
        else:
            done.append(line)
            at += 1
    return "\n".join(done)


def _doctest(lines: list[str], at: int, done: list[str]) -> int:
    indent = _indent(lines[at])
    block = []
    while at < len(lines) and lines[at].strip():
        block.append(lines[at][indent:] if not lines[at][:indent].strip() else lines[at].strip())
        at += 1
    done += ["", *_fenced(block, "pycon", indent), ""]
    return at


def _directive(lines: list[str], at: int, match: re.Match[str], done: list[str], depth: int) -> int:
    indent, name, argument = len(match[1]), match[2].rpartition(":")[2], match[3].strip()
    body, after = _indented(lines, at + 1, indent)
    while body and (_OPTION.match(body[0]) and name in _CODE):
        body.pop(0)
    while body and not body[0].strip():
        body.pop(0)
    if name in _CODE:
        done += ["", *_fenced(body, argument or "python", indent), ""]
        return after
    word = _WORDS.get(name, name)
    head = f"{word} {argument}".strip() if name.startswith(("version", "deprecated")) else word or argument
    tail = argument if head != argument and not name.startswith(("version", "deprecated")) else ""
    pad = " " * indent
    done += ["", f"{pad}**{head.rstrip(':')}:** {tail}".rstrip()]
    done += [pad + line for line in _blocks("\n".join(body), depth + 1).split("\n")]
    done.append("")
    return after


def _literal(lines: list[str], at: int, done: list[str]) -> int:
    line = lines[at]
    indent = _indent(line)
    block, after = _indented(lines, at + 1, indent)
    text = line.rstrip()
    if not any(one.strip() for one in block):
        done.append(line)
        return at + 1
    if text.strip() != "::":
        done.append(text[:-1] if not text[:-2].endswith(" ") else text[:-2].rstrip())
    done += ["", *_fenced(block, "python", indent), ""]
    return after


def _indented(lines: list[str], at: int, indent: int) -> tuple[list[str], int]:
    """The lines from `at` on that are deeper than `indent`, without what they have in common, and where they end."""
    end = at
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > indent):
        end += 1
    block = lines[at:end]
    depth = min((_indent(line) for line in block if line.strip()), default=0)
    return [line[depth:] for line in block], end


def _fenced(block: list[str], language: str, indent: int) -> list[str]:
    while block and not block[0].strip():
        block = block[1:]
    while block and not block[-1].strip():
        block = block[:-1]
    longest = max((len(run) for line in block for run in re.findall(r"~+", line)), default=0)
    mark = "~" * max(3, longest + 1)
    pad = " " * indent
    word = language if re.fullmatch(r"[\w+-]{1,20}", language) else ""
    return [f"{pad}{mark}{word}", *(pad + line for line in block), f"{pad}{mark}"]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
