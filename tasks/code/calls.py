"""The calls of a module of which its syntax alone says what is called."""

from __future__ import annotations

from collections.abc import Iterable

from models.code import Call
from tasks.code.scopes import Binding, Bound, Scope, Scopes


def calls_of(scopes: Scopes) -> list[Call]:
    """The sure calls, by line.

    Sure is a name that one statement of its scope binds, an import or a definition, and what is reached from it by
    dots; a method of `self` or `cls` that the class itself defines; a class that is called. What a parameter, an
    assignment or a second binding may have put in its place is left out, and so are built-in functions.
    """
    return _sorted(
        (scope.owner, callee, line)
        for scope in scopes.every
        for chain, line in scope.called
        if (callee := _callee(chain, scope, scopes)) is not None
    )


def handed_of(scopes: Scopes) -> list[Call]:
    """What is handed to something that is called, as sure as `calls_of`, by line."""
    return _sorted(
        (scope.owner, target, line)
        for scope in scopes.every
        for chain, line in scope.handed
        if (target := _callee(chain, scope, scopes)) is not None
    )


def _sorted(found: Iterable[tuple[str, str, int]]) -> list[Call]:
    return [Call(*one) for one in sorted(set(found), key=lambda one: (one[2], one[0], one[1]))]


def _callee(chain: str, scope: Scope, scopes: Scopes) -> str | None:
    head, _, rest = chain.partition(".")
    found = scope.find(head)
    if found is None:
        return None
    home, bindings = found
    binding = _single(head, home, bindings)
    if binding is None or not binding.target:
        return None
    if binding.how is Bound.first_parameter:
        return _own_method(binding.target, rest, scopes)
    if binding.how is Bound.class_ and rest:
        return _own_method(binding.target, rest, scopes)
    if binding.how is Bound.function and rest and not binding.decorated:
        return None  # an attribute that somebody has put on a plain function
    return f"{binding.target}.{rest}" if rest else binding.target


def _single(name: str, home: Scope, bindings: list[Binding]) -> Binding | None:
    if name not in home.single:
        home.single[name] = _only(home, bindings)
    return home.single[name]


def _only(home: Scope, bindings: list[Binding]) -> Binding | None:
    """The one binding of a name in `home`; None when there are several that differ, or a star may have replaced it."""
    first = bindings[0]
    if first.how is Bound.value:
        return None
    for other in bindings[1:]:
        if other.how is not Bound.imported or first.how is not Bound.imported or other.target != first.target:
            return None
    return None if home.last_star > first.line else first


def _own_method(path: str, name: str, scopes: Scopes) -> str | None:
    body = scopes.classes.get(path)
    if body is None or not name or "." in name or name not in body.bindings:
        return None
    binding = _single(name, body, body.bindings[name])
    if binding is None or binding.how not in {Bound.function, Bound.class_}:
        return None
    return None if binding.property else binding.target
