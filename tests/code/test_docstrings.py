"""Docstrings of three styles say the same; prose that only looks like a section stays prose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.code.docstrings import Item, Style, parse, references, style_of

_GOOGLE = """Ships a parcel.

It may take a while.

Args:
    where (str): The place,
        with its country.
    *more: Others.
    how: The way.

Returns:
    bool: Whether it was shipped.

Raises:
    ValueError: there is no such place.

Example:
    >>> ship("x")
    True
"""
_NUMPY = """Ships a parcel.

It may take a while.

Parameters
----------
where : str
    The place,
    with its country.
*more
    Others.
how
    The way.

Returns
-------
bool
    Whether it was shipped.

Raises
------
ValueError
    there is no such place.

Examples
--------
>>> ship("x")
True
"""
_SPHINX = """Ships a parcel.

It may take a while.

:param where: The place,
    with its country.
:type where: str
:param more: Others.
:param how: The way.
:returns: Whether it was shipped.
:rtype: bool
:raises ValueError: there is no such place.
"""


@pytest.mark.parametrize(("text", "style"), [(_GOOGLE, Style.google), (_NUMPY, Style.numpy), (_SPHINX, Style.sphinx)])
def test_each_style_says_the_same(text: str, style: Style) -> None:
    told = parse(text)
    assert told.style is style
    assert told.summary == "Ships a parcel."
    assert told.text == "It may take a while."
    assert [(one.name, one.annotation) for one in told.parameters] == [("where", "str"), ("more", None), ("how", None)]
    assert told.parameters[0].description.split() == ["The", "place,", "with", "its", "country."]
    assert told.returns == (Item("", "bool", "Whether it was shipped."),)
    assert told.raises == (Item("ValueError", None, "there is no such place."),)
    assert bool(told.examples) is (style is not Style.sphinx)


def test_several_names_may_share_a_description() -> None:
    told = parse("Adds.\n\nParameters\n----------\na, b : int\n    The two.\n")
    assert [(one.name, one.description) for one in told.parameters] == [("a", "The two."), ("b", "The two.")]


@pytest.mark.parametrize(
    "text",
    [
        "One line.",
        "A note: this is prose.\nReturns: too.",
        "Args: they are many.",
        "Title\n=====\n\nText.",
        "See::\n\n    :class:`x`\n",
        "Parameters:",
        "Dashes\n\n---\n\nmore",
        "```\nArgs:\n    x: in a block\n```",
        "",
    ],
)
def test_prose_is_no_section(text: str) -> None:
    assert style_of(text) is Style.plain
    assert parse(text).parameters == ()


def test_a_sentence_with_a_colon_is_no_type() -> None:
    told = parse("Asks.\n\nReturns:\n    The report. It is `incomplete` when: something\n    was not seen.\n")
    assert told.returns == (Item("", None, "The report. It is `incomplete` when: something\nwas not seen."),)


def test_a_section_right_behind_the_text_is_one() -> None:
    told = parse("Asks.\nArgs:\n    a: The a.\n")
    assert [one.name for one in told.parameters] == ["a"]


def test_attributes_are_told() -> None:
    assert parse("A class.\n\nAttributes:\n    x: The x.\n").attributes == (Item("x", None, "The x."),)


def test_references_are_found_outside_of_code() -> None:
    text = (
        "Like `a.b`, ``c.d`` and :class:`~e.F`, :py:meth:`g <h.i>`.\n"
        "See [this][j.k] and [`l.m`][].\n\n"
        "Code::\n\n    `no`\n\n"
        "```\n`no`\n```\n"
        ">>> `no`\n"
        "`no`\n\n"
        ".. code-block:: python\n\n    :class:`no`\n\nEnd `n`.\n"
    )
    found = references(text)
    assert [(one.kind, one.target) for one in found] == [
        ("code", "a.b"),
        ("code", "c.d"),
        ("role", "e.F"),
        ("role", "h.i"),
        ("link", "j.k"),
        ("link", "l.m"),
        ("code", "n"),
    ]
    assert found[0].line == 0
    assert found[2].role == "class"


_LINES = st.sampled_from(
    [
        "Args:",
        "  x: y",
        "Parameters",
        "------",
        ":param x: y",
        "Returns:",
        "    a: b",
        "",
        "```",
        ">>> f",
        "x : {",
        "..",
        "*:",
        "\t",
    ]
)


@pytest.mark.hypothesis
@given(st.one_of(st.text(max_size=300), st.lists(_LINES, max_size=15).map("\n".join)))
def test_no_text_is_too_much(text: str) -> None:
    for style in (None, *Style):
        told = parse(text, style=style)
        assert all(isinstance(item, Item) for item in (*told.parameters, *told.returns, *told.raises))
    references(text)
