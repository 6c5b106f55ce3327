"""What a query in Cypher may be that promises to read: judged by its tokens, before it reaches the server.

The second of three walls. The first is that the server's reader can commit nothing, the third that everything is rolled
back; this one also refuses what reads more than the graph (files, addresses, other people's queries), and loops in
loops, within which servers do not look at their clocks. What would need more memory than the server has cannot be told
by its text: that ends the server, which its supervisor starts again.
"""

from __future__ import annotations

from tasks.graph.tokens import Kind, QueryRefusedError, Token, tokens

FIRST = frozenset({"MATCH", "OPTIONAL", "UNWIND", "WITH", "RETURN", "CALL", "FILTER", "LET"})

REFUSED = frozenset(
    (
        *("CREATE", "MERGE", "SET", "DELETE", "DETACH", "NODETACH", "REMOVE", "FOREACH", "INSERT", "LOAD", "DROP"),
        *("ALTER", "GRANT", "DENY", "REVOKE", "RENAME", "ENABLE", "DRYRUN", "REALLOCATE", "DEALLOCATE", "START"),
        *("STOP", "TERMINATE", "SHOW", "USE", "PERIODIC", "TRANSACTIONS", "BEGIN", "COMMIT", "ROLLBACK", "TRUNCATE"),
        *("UPDATE", "UPSERT", "EXPLAIN", "PROFILE", "CYPHER", "SQL", "GREMLIN", "DEFINE", "CSV"),
    )
)
"""Words that nothing harmless holds, but as the name of a property, a label or a type."""

PROCEDURES = frozenset({"db.labels", "db.relationshiptypes", "db.propertykeys", "db.ping", "dbms.components"})

_KEYWORDS = frozenset(
    (
        *("MATCH", "WHERE", "WITH", "RETURN", "UNWIND", "DISTINCT", "BY", "LIMIT", "SKIP", "OFFSET", "AND", "OR"),
        *("XOR", "NOT", "IN", "CASE", "WHEN", "THEN", "ELSE", "CONTAINS", "STARTS", "ENDS", "CALL", "SHORTEST"),
        *("PATH", "PATHS", "ANY", "ALL", "GROUP", "GROUPS", "TRAIL", "WALK", "FILTER", "LET", "ASC", "DESC", "ON"),
    )
)
FUNCTIONS = frozenset(
    (
        *("abs", "acos", "all", "allshortestpaths", "any", "asin", "atan", "atan2", "avg", "btrim", "ceil"),
        *("ceiling", "char_length", "character_length", "coalesce", "collect", "cos", "cosh", "cot", "coth", "count"),
        *("date", "datetime", "degrees", "distance", "duration", "e", "elementid", "endnode", "exists", "exp"),
        *(
            "floor",
            "haversin",
            "head",
            "id",
            "isempty",
            "isnan",
            "keys",
            "labels",
            "last",
            "left",
            "length",
            "localdatetime",
        ),
        *("localtime", "log", "log10", "lower", "ltrim", "max", "min", "nodes", "none", "nullif", "percentilecont"),
        *("percentiledisc", "pi", "point", "properties", "radians", "rand", "randomuuid", "range", "reduce"),
        *("relationships", "replace", "reverse", "right", "round", "rtrim", "shortestpath", "sign", "sin"),
        *("single", "sinh", "size", "split", "sqrt", "startnode", "stdev", "stdevp", "substring", "sum", "tail", "tan"),
        *("tanh", "time", "timestamp", "toboolean", "tobooleanlist", "tobooleanornull", "tofloat", "tofloatlist"),
        *("tofloatornull", "tointeger", "tointegerlist", "tointegerornull", "tolower", "tostring", "tostringlist"),
        *("tostringornull", "toupper", "trim", "type", "upper", "valuetype"),
    )
)
_FUNCTION_FAMILIES = frozenset({"date", "datetime", "duration", "localdatetime", "localtime", "point", "time"})
_LOOPS = frozenset({"all", "any", "none", "single", "reduce"})
_DEEPEST_LOOP = 2
_DEEPEST_BRACKET = 100


def read_only(text: str) -> str:
    """`text` without its comments, if it is one query that reads the graph and nothing else.

    Raises:
        QueryRefusedError: it is anything else.
    """
    found, plain = tokens(text)
    while found and found[-1].is_sign(";"):
        found.pop()
        plain = plain[: plain.rindex(";")]
    if not found:
        raise QueryRefusedError("it is empty.")
    if found[0].upper not in FIRST:
        raise QueryRefusedError(
            f"a query that reads begins with one of {', '.join(sorted(FIRST))}, not with {found[0].text[:40]!r}."
        )
    for place, token in enumerate(found):
        if token.is_sign(";"):
            raise QueryRefusedError("it is more than one query.")
        if token.upper in REFUSED and not _is_name(found, place):
            raise QueryRefusedError(
                f"{token.text} is refused: queries only read.",
                remedy="Put it in backticks if it is the name of something.",
            )
        if token.upper == "CALL":
            _refuse_procedure(found, place)
        if token.is_sign("(") and place:
            _refuse_function(found, place - 1)
    _refuse_deep_loops(found)
    return plain.strip()


def _is_name(found: list[Token], place: int) -> bool:
    """Whether the word at `place` can only be the name of a property, a label, a type or a key of a map."""
    before = found[place - 1] if place else None
    if before is not None and before.is_sign(":"):
        return True
    if before is not None and before.is_sign("."):  # of `1. SET` no server makes a property, but some a number
        return place >= 2 and found[place - 2].kind is not Kind.number
    after = found[place + 1] if place + 1 < len(found) else None
    return before is not None and before.is_sign("{", ",") and after is not None and after.is_sign(":")


def _refuse_procedure(found: list[Token], place: int) -> None:
    if _is_name(found, place):
        return
    after = found[place + 1] if place + 1 < len(found) else None
    if after is None:
        raise QueryRefusedError("CALL calls nothing.")
    if after.is_sign("{", "("):  # a subquery: what is in it is looked at like the rest
        return
    name = _dotted(found, place + 1)
    if name not in PROCEDURES:
        raise QueryRefusedError(
            f"the procedure {name[:80]!r} is refused.", remedy=f"Allowed are {', '.join(sorted(PROCEDURES))}."
        )


def _dotted(found: list[Token], place: int) -> str:
    parts: list[str] = []
    while place < len(found) and (found[place].kind in {Kind.word, Kind.quoted} or found[place].is_sign(".")):
        if found[place].kind is Kind.quoted and "." in found[place].text:
            raise QueryRefusedError("the name of a procedure holds a point in backticks.")
        parts.append(found[place].text)
        place += 1
        if place < len(found) and found[place - 1].text != "." and not found[place].is_sign("."):
            break
    return "".join(parts).lower()


def _refuse_function(found: list[Token], place: int) -> None:
    """Refuse what stands before a bracket, if it is a function that is not known to be harmless."""
    token = found[place]
    if token.kind is Kind.quoted:
        if _is_procedure(found, place):
            return
        raise QueryRefusedError(f"{token.text[:80]!r} in backticks is no function.")
    if token.kind is not Kind.word:
        return
    before = found[place - 1] if place else None
    if before is not None and before.is_sign("."):
        family = found[place - 2] if place >= 2 else None
        deeper = place >= 3 and found[place - 3].is_sign(".")
        known = family is not None and family.kind is Kind.word and family.text.lower() in _FUNCTION_FAMILIES
        if (known and not deeper) or _is_procedure(found, place):
            return
        raise QueryRefusedError(f"the function {_dotted_back(found, place)[:80]!r} is refused.")
    if token.text.lower() not in FUNCTIONS and token.upper not in _KEYWORDS and not _is_procedure(found, place):
        raise QueryRefusedError(f"the function {token.text[:80]!r} is refused: it is not one of Cypher's own.")


def _is_procedure(found: list[Token], place: int) -> bool:
    """Whether the dotted name that ends at `place` follows a CALL, where it has been looked at already."""
    while place >= 2 and found[place - 1].is_sign("."):
        place -= 2
    return place >= 1 and found[place - 1].upper == "CALL"


def _dotted_back(found: list[Token], place: int) -> str:
    parts = [found[place].text]
    while place >= 2 and found[place - 1].is_sign("."):
        place -= 2
        parts.append(found[place].text)
    return ".".join(reversed(parts))


def _refuse_deep_loops(found: list[Token]) -> None:
    """Refuse loops in loops in loops: the server does not look at its clock within an expression."""
    brackets: list[tuple[str, bool]] = []
    for place, token in enumerate(found):
        if token.is_sign("(", "[", "{"):
            before = found[place - 1] if place else None
            loops = (
                token.text == "("
                and before is not None
                and before.kind is Kind.word
                and before.text.lower() in _LOOPS
                and not (place >= 2 and found[place - 2].is_sign("."))
            ) or (token.text == "[" and place + 2 < len(found) and found[place + 2].upper == "IN")
            brackets.append((token.text, loops))
            if sum(one for _, one in brackets) > _DEEPEST_LOOP:
                raise QueryRefusedError("lists are gone through inside of each other more than twice.")
            if len(brackets) > _DEEPEST_BRACKET:
                raise QueryRefusedError(f"brackets are more than {_DEEPEST_BRACKET} deep.")
        elif token.is_sign(")", "]", "}") and (
            not brackets or "([{".index(brackets.pop()[0]) != ")]}".index(token.text)
        ):
            raise QueryRefusedError("brackets do not match.")
    if brackets:
        raise QueryRefusedError("a bracket is not closed.")
