"""Source text of values as others may read it: without what may be a secret, and still code.

What a name says to be a secret is hidden on the syntax tree: every string under that name, wherever it stands in the
value. Names of environment variables stay. Strings under other names are hidden as far as their form says so.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from tasks.code.cut_source import completed
from tasks.code.literals import parsed
from tasks.code.secret_names import Says, is_harmless, is_spoken, is_variable, says
from tasks.masked import MASK, masked

_MENTIONED = re.compile(r"pass|secret|token|cred|key|pwd|auth|kennwort|cookie", re.IGNORECASE)
_SECRET_TYPE = re.compile(r"\bSecret(?:Str|Bytes)?\b")
_TEXT = re.compile(r"[\"']")
_GIVEN_BEHIND = re.compile(r"([\w-]+)[\"'`]?\]?\s*(?:=>|:=|=|:)\s*[\"'`]?\Z")
_TAKEN = re.compile(r"([\w-]+)[\"'`]?\]?\s*(?:=>|:=|=|:)\s*[\"'`]?(?=\{|%[^%\s])")
_SPEC = re.compile(r"(?:.?[<>=^])?[ +-]?z?#?0?\d*[,_]?(?:\.\d+)?[a-zA-Z%]?|(?:%[a-zA-Z]|[ :,./-]){1,40}")
_FLAG = re.compile(r"--?[A-Za-z][\w-]*(?:\s*/\s*--?[A-Za-z][\w-]*)?")
_ENVIRONMENT = frozenset({"getenv", "getenvb", "environ", "environb"})
_READERS = frozenset({"env", "config"})
_BY_NAME_WORDS = """
get pop setdefault getenv getattr setattr set setenv putenv setitem __setitem__ env config str add_header header Header
put
"""
_BY_NAME = frozenset(_BY_NAME_WORDS.split())
"""Calls whose first text names what the next one is."""
_OPTIONS = frozenset({"Option", "option", "add_argument", "add_option"})
ALIASES = frozenset({"alias", "validation_alias", "serialization_alias", "env", "envvar", "env_names"})
"""Arguments that give something another name."""
_NAMES_OF = frozenset({"name", "key", "env", "id", "variable", "header"})
_VALUES_OF = frozenset({"value", "default", "fallback", "initial", "secret", "content", "data"})
_DESCRIBES = frozenset({"description", "help", "title", "doc", "help_text", "comment"})
_HELD = frozenset(
    {"Secret", "SecretStr", "SecretBytes", "BasicAuth", "HTTPBasicAuth", "HTTPDigestAuth", "set_password"}
)
_COOKIES = frozenset({"cookie", "set-cookie"})
_BETWEEN = "\1"
_LONGEST_PLAIN = 8
"""A text below that has no form that could be one of a secret."""


def veiled_source(name: str, annotation: str | None, source: str, *, others: Iterable[str] = ()) -> str:
    """The source of a default or value that is called `name`; `others` are more names of it, such as its variables."""
    typed = source != "None" and annotation is not None and _SECRET_TYPE.search(annotation) is not None
    said = Says.secret if typed else max(map(says, (name, *others)), default=Says.nothing)
    if said is Says.nothing and not _TEXT.search(source):
        return source  # numbers and names: no text that could be one
    if said is Says.nothing:
        told = masked(source)
        if told == source and not _MENTIONED.search(source):
            return source
    return _veiled(source, said, typed)


def veiled_annotation(name: str, annotation: str) -> str:
    """An annotation of `name` without what `Annotated[...]` may give away; texts of `Literal[...]` are types."""
    if not _TEXT.search(annotation) or (says(name) is not Says.secret and not _MENTIONED.search(annotation)):
        return annotation
    node = parsed(annotation)
    if node is None:
        node, _ = completed(annotation)
    if node is None:
        return MASK
    veil = _Veil(hidden=False)
    return _spelled(lambda: veil.annotation(node, hidden=says(name) is Says.secret), annotation, MASK, veil)


@lru_cache(maxsize=4096)
def _veiled(source: str, said: Says, typed: bool) -> str:  # noqa: FBT001 - keys of a cache
    whole = MASK if said is not Says.nothing or _MENTIONED.search(source) else masked(source)
    node, kept = parsed(source), source
    if node is None:
        node, kept = completed(source)  # it was cut off
    if node is None:
        return whole
    hidden = said is Says.secret or (said is Says.about and _is_one(node))
    veil = _Veil(hidden=hidden, numbers=typed)
    return _spelled(lambda: veil.visit(node), kept, whole, veil)


def _spelled(change: Callable[[], ast.AST], source: str, whole: str, veil: _Veil) -> str:
    """What `change` makes of the tree; the source as it stands where it changes nothing."""
    try:
        node = change()
        # A comment is in no tree: `[  # was: the secret`.
        if not veil.changed and ("#" not in source or not (veil.hidden or masked(source) != source)):
            return source
        return ast.unparse(node)
    except (RecursionError, ValueError):  # of somebody who wants it to be
        return whole


class _Veil(ast.NodeTransformer):
    def __init__(self, *, hidden: bool, numbers: bool = False) -> None:
        self.hidden = hidden
        self._numbers = numbers
        """Also numbers are hidden: a type says that they are secrets."""
        self.changed = False

    def under(self, hidden: bool, node: ast.expr) -> ast.expr:  # noqa: FBT001
        """`node`, as it is shown where it is a secret, or is as what it stands in."""
        before = self.hidden
        self.hidden = before or hidden
        done: ast.expr = self.visit(node)
        self.hidden = before
        return done

    def annotation(self, node: ast.expr, *, hidden: bool) -> ast.expr:
        """An annotation: what stands in calls and behind the type of `Annotated` is as a value is."""
        if isinstance(node, ast.Call):
            return self.under(hidden, node)
        if isinstance(node, ast.Subscript):
            head = _last(node.value)
            if head == "Literal":
                return node
            if head == "Annotated" and isinstance(node.slice, ast.Tuple) and node.slice.elts:
                first, *rest = node.slice.elts
                node.slice.elts = [
                    self.annotation(first, hidden=hidden),
                    *(one if hidden and self._is_prose(one) else self.under(hidden, one) for one in rest),
                ]
            else:
                node.slice = self.annotation(node.slice, hidden=hidden)
        elif isinstance(node, ast.Tuple | ast.List):
            node.elts = [self.annotation(one, hidden=hidden) for one in node.elts]
        elif isinstance(node, ast.BinOp):
            node.left = self.annotation(node.left, hidden=hidden)
            node.right = self.annotation(node.right, hidden=hidden)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        value = node.value
        if isinstance(value, bytes):
            told = self._told(value.decode("latin-1"))
            return node if told is None else ast.Constant(told.encode("latin-1"))
        if isinstance(value, str):
            told = self._told(value)
            return node if told is None else ast.Constant(told, kind=node.kind)
        if self._numbers and self.hidden and isinstance(value, int | float | complex) and not isinstance(value, bool):
            return self._mask()
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.keyword:
        if not (node.arg in _DESCRIBES and self._is_prose(node.value)):
            hidden = node.arg is not None and (_is_secret(node.arg, node.value) or _is_login(node))
            node.value = self.under(hidden, node.value)
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.expr:
        given = {name: value for key, value in zip(node.keys, node.values, strict=True) if (name := _name(key))}
        named = any(_is_name(given.get(key)) for key in _NAMES_OF)
        for at, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
            name = _name(key) or ""
            hidden = _is_secret(name, value) or (named and name in _VALUES_OF) or name.lower() in _COOKIES
            node.values[at] = self.under(hidden, value)
            if key is not None:
                node.keys[at] = self._key(key)
        return node

    def visit_DictComp(self, node: ast.DictComp) -> ast.expr:
        node.value = self.under(_is_secret(_name(node.key) or "", node.value), node.value)
        node.key = self._key(node.key)
        node.generators = [self.visit(one) for one in node.generators]
        return node

    def visit_List(self, node: ast.List) -> ast.expr:
        return self._several(node)

    def visit_Tuple(self, node: ast.Tuple) -> ast.expr:
        return self._several(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if _last(node.value) == "Literal":
            return node
        held = node.slice
        kept = _last(node.value) in _ENVIRONMENT and _is_text(held) and is_variable(_name(held) or "")
        node.value = self.visit(node.value)
        node.slice = self._shown_plain(held) if kept else self._key(held)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        last = _last(node.func)
        all_hidden = last in _HELD or self._formats(node)
        aliases = [one for one in node.keywords if one.arg in ALIASES and _only_names(one.value)]
        flags = [one for one in node.args if last in _OPTIONS and _is_text(one) and _FLAG.fullmatch(_name(one) or "")]
        named = [*flags, *(inner for one in aliases for inner in ast.walk(one.value))]
        all_hidden = all_hidden or any(_is_name(one) for one in named)
        values_hidden = any(one.arg in _NAMES_OF and _is_name(one.value) for one in node.keywords)
        reads = _reads_environment(node.func)
        if self.hidden and last in {"bytes", "bytearray"} and not any(map(_is_text, node.args)):
            node.args = [self._mask() if isinstance(one, ast.List | ast.Tuple) else one for one in node.args]
        node.func = self.visit(node.func)
        behind = False
        for at, one in enumerate(node.args):
            name = _name(one) or ""
            kept = at == 0 and _is_text(one) and (
                (reads and is_variable(name)) or (last in _READERS and name.isupper() and is_variable(name))
            )  # fmt: skip
            names = not behind and last in _BY_NAME and _is_name(one) and is_variable(name)
            if kept or any(one is flag for flag in flags) or (names and not self.hidden):
                node.args[at] = self._shown_plain(one)
            else:
                node.args[at] = self.under(behind or all_hidden, one)
            behind = behind or names
        for given in node.keywords:
            if any(given is one for one in aliases):
                given.value = self._shown_plain(given.value)
                continue
            hidden = (behind or values_hidden) and given.arg in _VALUES_OF
            before, self.hidden = self.hidden, self.hidden or hidden or all_hidden
            self.visit(given)
            self.hidden = before
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        sides = [node.left, *node.comparators]
        hidden = any(not _is_text(one) and says(_name(one) or "") is Says.secret for one in sides)
        node.left, *node.comparators = [self.under(hidden, one) for one in sides]
        return node

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.expr:
        node.value = self.under(_is_secret(node.target.id, node.value), node.value)
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        plain = [*node.posonlyargs, *node.args]
        pairs = zip(plain[len(plain) - len(node.defaults) :], node.defaults, strict=True)
        node.defaults = [self.under(_is_secret(one.arg, value), value) for one, value in pairs]
        node.kw_defaults = [
            None if value is None else self.under(_is_secret(one.arg, value), value)
            for one, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)
        ]
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant) and _takes_secret(node.left.value):
            node.left, node.right = self.visit(node.left), self.under(hidden=True, node=node.right)
            return node
        if not isinstance(node.op, ast.Add):
            return self.generic_visit(node)  # type: ignore[return-value]
        parts: list[ast.expr] = []
        rest: ast.expr = node
        while isinstance(rest, ast.BinOp) and isinstance(rest.op, ast.Add):
            parts.append(rest.right)
            rest = rest.left
        parts = self._joined([rest, *reversed(parts)])
        done = parts[0]
        for one in parts[1:]:
            done = ast.BinOp(done, ast.Add(), one)
        return done

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        node.values = self._joined(node.values)
        return node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.expr:
        node.value = self.visit(node.value)
        if isinstance(node.format_spec, ast.JoinedStr):
            for at, one in enumerate(node.format_spec.values):
                if not (_is_text(one) and _SPEC.fullmatch(_name(one) or "")):
                    node.format_spec.values[at] = self.visit(one)
        return node

    def _joined(self, parts: Sequence[ast.expr]) -> list[ast.expr]:
        """The parts of one text: a secret may begin in one and end in the next."""
        if self.hidden or any(_BETWEEN in (_name(one) or "") for one in parts):
            return [self.visit(one) for one in parts]
        texts = [one.value if isinstance(one, ast.Constant) and isinstance(one.value, str) else None for one in parts]
        shown: list[ast.expr] = []
        for at, one in enumerate(parts):
            before = _GIVEN_BEHIND.search(texts[at - 1] or "") if at else None
            if texts[at] is None or (before is not None and says(before[1]) is Says.secret):
                shown.append(self.under(before is not None and says(before[1]) is Says.secret, one))
            else:
                shown.append(one)
        texts = [one.value if isinstance(one, ast.Constant) and isinstance(one.value, str) else None for one in shown]
        marks = [f"{_BETWEEN}{at}{_BETWEEN}" if text is None else text for at, text in enumerate(texts)]
        whole = "".join(marks)
        told = _plain(whole)
        if told == whole:
            return shown
        self.changed = True
        pieces = re.split(f"{_BETWEEN}(\\d+){_BETWEEN}", told)
        return [
            shown[int(piece)] if at % 2 else ast.Constant(piece) for at, piece in enumerate(pieces) if at % 2 or piece
        ]

    def _several(self, node: ast.List | ast.Tuple) -> ast.expr:
        elements = node.elts
        if self.hidden:
            if len(elements) > 5 and all(isinstance(e, ast.Constant) and type(e.value) is int for e in elements):
                return self._mask()
            node.elts = [self.visit(one) for one in elements]
            return node
        pairs = bool(elements) and all(isinstance(e, ast.Tuple | ast.List) and len(e.elts) == 2 for e in elements)
        for at, one in enumerate(elements):
            if pairs and isinstance(one, ast.Tuple | ast.List) and _is_name(one.elts[0]):
                value = one.elts[1]
                if not (isinstance(value, ast.Constant) and is_spoken(_name(value) or "")):
                    one.elts[1] = self.under(hidden=True, node=value)
                    continue
            elements[at] = self.visit(one)
        return node

    def _key(self, node: ast.expr) -> ast.expr:
        """What something is looked up by."""
        shown = self.hidden and _is_text(node) and is_spoken(_name(node) or "")
        return node if shown else self.visit(node)

    def _formats(self, node: ast.Call) -> bool:
        """Whether it is `"password={}".format(...)`."""
        func = node.func
        return (
            isinstance(func, ast.Attribute)
            and func.attr == "format"
            and isinstance(func.value, ast.Constant)
            and _takes_secret(func.value.value)
        )

    def _is_prose(self, node: ast.expr) -> bool:
        """Whether it is several words that describe something."""
        return isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value.split()) > 2 and (
            _plain(node.value) == node.value
        )  # fmt: skip

    def _told(self, text: str) -> str | None:
        """What is shown instead of `text`; None: itself."""
        told = (text if is_harmless(text) else MASK) if self.hidden else _plain(text)
        if told == text:
            return None
        self.changed = True
        return told

    def _shown_plain(self, node: ast.expr) -> ast.expr:
        before, self.hidden = self.hidden, False
        done: ast.expr = self.visit(node)
        self.hidden = before
        return done

    def _mask(self) -> ast.expr:
        self.changed = True
        return ast.Constant(MASK)


@lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    """`text` without what the form of a part of it says to be a secret."""
    if len(text) < _LONGEST_PLAIN:
        return text
    if "\n" not in text or "-----BEGIN" in text:
        return masked(text)
    return "".join(map(masked, text.splitlines(keepends=True)))


def _is_secret(name: str, value: ast.expr) -> bool:
    said = says(name)
    return said is Says.secret or (said is Says.about and _is_one(value))


def _is_one(node: ast.expr) -> bool:
    """Whether it is one text, or a choice of some."""
    if isinstance(node, ast.Call):
        return _reads_environment(node.func)
    return isinstance(node, ast.Constant | ast.BoolOp | ast.IfExp)


def _is_login(node: ast.keyword) -> bool:
    """Whether it is `auth=("user", "password")`."""
    return node.arg == "auth" and isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2


def _is_name(node: ast.AST | None) -> bool:
    """Whether it is a text that is a secret's name."""
    return isinstance(node, ast.expr) and _is_text(node) and says(_name(node) or "") is Says.secret


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _name(node: ast.expr | None) -> str | None:
    """What `node` calls something: its text, or the last name of it."""
    if isinstance(node, ast.Constant):
        value = node.value
        return value if isinstance(value, str) else value.decode("latin-1") if isinstance(value, bytes) else None
    if isinstance(node, ast.Subscript):
        return _name(node.slice)
    return None if node is None else _last(node) or None


def _last(node: ast.expr) -> str:
    """The last name of a chain; empty for any other expression."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _reads_environment(func: ast.expr) -> bool:
    if _last(func) in _ENVIRONMENT:
        return True
    return isinstance(func, ast.Attribute) and (
        _last(func.value) in _ENVIRONMENT or (_last(func.value) in _READERS and func.attr != "format")
    )


def _only_names(node: ast.expr) -> bool:
    """Whether an alias is names alone: a text, several, or `AliasChoices` of some."""
    if _is_text(node):
        return is_variable(_name(node) or "")
    return all(map(_only_names, _inner(node))) if isinstance(node, ast.Call | ast.List | ast.Tuple) else False


def _inner(node: ast.Call | ast.List | ast.Tuple) -> Iterator[ast.expr]:
    if not isinstance(node, ast.Call):
        yield from node.elts
    elif _last(node.func) in {"AliasChoices", "AliasPath"} and not node.keywords:
        yield from node.args
    else:
        yield node.func  # no name


def _takes_secret(text: object) -> bool:
    """Whether a format puts something behind the name of a secret."""
    return isinstance(text, str) and any(says(found[1]) is Says.secret for found in _TAKEN.finditer(text))
