"""JMESPath expressions of routes, evaluated within bounds: whoever wrote the expression or sent the document.

The language (https://jmespath.org/specification.html) has no loops, but `[@, @] | [@, @] | ...` doubles its value at
each step and `join` multiplies lengths. So steps are counted, what is built is measured as it would be written out, and
the processor's time is looked at between steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jmespath.exceptions
import jmespath.parser
import jmespath.visitor
from pydantic import JsonValue

from tasks.handoffs.functions import Context, FieldError, HandoffFunctions, TooLargeError

MOST_STEPS = 100_000
LARGEST = 2_000_000
"""Characters, and a few for each value, of whatever an expression builds."""

MOST_SECONDS = 2.0
"""Of the processor; a bound for what steps and sizes do not see, such as comparisons of large values."""

_BUILDERS = frozenset(
    ("multi_select_list", "multi_select_dict", "projection", "value_projection", "filter_projection", "flatten",
     "function_expression", "slice")
)  # fmt: skip

_DEAR = frozenset(("comparator", "function_expression"))


class ExpressionError(ValueError):
    """An expression that cannot be read, or that gives no value for this document."""


class Compiled:
    """An expression that was read.

    Raises:
        ExpressionError: it is not JMESPath, or names a function that is not there.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._tree = _parse(text)
        _check_functions(self._tree)

    def search(self, document: JsonValue, context: Context) -> JsonValue:
        """The value of this expression for `document`; None where there is none.

        Raises:
            FieldError: a value is there and is not what a function needs, such as a text that is no phone number.
            ExpressionError: it takes too many steps, builds too much, or gives a function a value of another kind.
        """
        interpreter = _Bounded(HandoffFunctions(context, largest=LARGEST))
        try:
            result: JsonValue = interpreter.visit(self._tree, document)
            _refuse_other_than_json(result)
        except (FieldError, ExpressionError):
            raise
        except TooLargeError:
            raise ExpressionError(f"builds or looks at more than {LARGEST} characters") from None
        except jmespath.exceptions.JMESPathError as error:
            raise ExpressionError(_short(error)) from None
        except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise ExpressionError(f"{type(error).__name__}: {_short(error)}") from None
        return result


@lru_cache(maxsize=4096)
def compiled(text: str) -> Compiled:
    """`text` as an expression; the same text is read once.

    Raises:
        ExpressionError: it is not one.
    """
    return Compiled(text)


def _parse(text: str) -> Mapping[str, Any]:
    try:
        tree: Mapping[str, Any] = jmespath.parser.Parser().parse(text).parsed
    except jmespath.exceptions.JMESPathError as error:
        raise ExpressionError(_short(error)) from None
    except RecursionError:
        raise ExpressionError("nested too deeply") from None
    return tree


def _check_functions(tree: Mapping[str, Any]) -> None:
    pending: list[Any] = [tree]
    while pending:
        node = pending.pop()
        if not isinstance(node, Mapping):
            continue  # a slice has numbers for children
        if node["type"] == "function_expression" and node["value"] not in HandoffFunctions.FUNCTION_TABLE:
            known = ", ".join(sorted(HandoffFunctions.FUNCTION_TABLE))
            raise ExpressionError(f"there is no function {node['value']!r}; there are {known}")
        pending.extend(node.get("children", ()))


def _refuse_other_than_json(value: Any) -> None:
    """Expressions may give references to expressions (`&a`), and numbers that JSON does not have."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
        elif isinstance(one, float) and not math.isfinite(one):
            raise ExpressionError("gives a number that is not finite")
        elif not (one is None or isinstance(one, str | int | float)):
            raise ExpressionError("gives an expression, not a value")


class _Bounded(jmespath.visitor.TreeInterpreter):  # type: ignore[misc]
    """The library's interpreter, with a budget."""

    def __init__(self, functions: HandoffFunctions) -> None:
        super().__init__(jmespath.visitor.Options(custom_functions=functions))
        self._steps = 0
        self._began = time.thread_time()
        self._sizes: dict[int, int] = {}
        self._kept: list[Any] = []  # an id is only a name as long as its object lives

    def visit(self, node: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As the library does, one step dearer."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise ExpressionError(f"takes more than {MOST_STEPS} steps")
        if node["type"] in _DEAR and time.thread_time() - self._began > MOST_SECONDS:
            raise ExpressionError(f"takes longer than {MOST_SECONDS:g} s")
        result = super().visit(node, *args, **kwargs)
        if node["type"] in _BUILDERS and self._size(result) > LARGEST:
            raise TooLargeError
        return result

    def _size(self, value: Any) -> int:
        """How long `value` would be if it were written out; a value that stands in several places counts each time."""
        if not isinstance(value, dict | list):
            return len(value) + 2 if isinstance(value, str) else 8
        pending = [value]
        while pending:
            container = pending[-1]
            if id(container) in self._sizes:
                pending.pop()
                continue
            children = container.values() if isinstance(container, dict) else container
            unknown = [c for c in children if isinstance(c, dict | list) and id(c) not in self._sizes]
            if unknown:
                pending.extend(unknown)
                continue
            pending.pop()
            total = 2
            if isinstance(container, dict):
                total += sum(len(key) + 4 for key in container)
            for child in children:
                total += self._sizes[id(child)] if isinstance(child, dict | list) else self._size(child)
            self._sizes[id(container)] = total
            self._kept.append(container)
        return self._sizes[id(value)]


def _short(error: BaseException) -> str:
    lines: Sequence[str] = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
