"""What a docstring describes as parameters: sentences are none, and what a package hands on is for others."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest

from models.docs import DocsSettings
from models.health_check import Checkout
from tasks.code.docstrings import parse
from tasks.code.read import read
from tasks.docs.truth import check


def told(root: Path, files: dict[str, str]) -> set[str]:
    """What is said of the docstrings of `files`: `definition: kind.subject`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    findings, skips, _ = check(Checkout(name="shop", path=root), read(root, jobs=1), DocsSettings())
    assert skips == []
    return {one.key.removeprefix("docs.docstring:shop/acme.").replace("#", ": ") for one in findings}


def of_function(
    root: Path, docstring: str, head: str = "def f(pile, key=None):", body: str = "return pile"
) -> set[str]:
    text = f'{head}\n    """F.\n\n{indent(dedent(docstring), "    ")}\n    """\n    {body}\n'
    return told(root, {"acme/__init__.py": text})


@pytest.mark.parametrize(
    "docstring",
    [
        "Parameters\n----------\npile : list\nA list of values\nkey : str\nIf any.\n",
        "Parameters\n----------\npile : list, levels to\napply the key to.\nkey : str\n",
        "Parameters\n----------\npile : list\n    What.\nkey : str\n    One.\n\nplates-like with holes only.\n",
        "Parameters\n----------\npile, default None\nkey : str\n    One.\n",
        "Parameters\n----------\npile : list\n    What.\nkey : str\n\n*Changed in version 2*: `key` came.\n",
        "Parameters\n----------\npile : list\n    What.\nkey : str\n    One.\n\nExamples\n====\n\nRepresent it:\n",
        "Parameters\n----------\npile : list\n    What.\nkey : str\n\nSee Also:\n    other\n",
        "Parameters\n----------\npile : list\n    What.\nkey : str\n\nReturns:\n    other\n",
        "Args:\n    pile: What.\n    key: One.\n\n    Returns:\n        A list.\n\n    Example:\n    ```\n    ```\n",
        "The text has to be like this:\nArgs:\n    arg1 (type):\n        One.\n    arg2 (type):\n        Two.\n",
    ],
)
def test_a_sentence_or_a_title_within_a_section_of_parameters_is_none(tmp_path: Path, docstring: str) -> None:
    assert of_function(tmp_path, docstring) == set()


@pytest.mark.parametrize(
    "line",
    ["gone : str\n    It.", "gone: str", "gone\n    It.", "**gone** : str", "gone, lost : str",
     "gone (str)\n    It."],
)  # fmt: skip
def test_what_stands_as_a_parameter_does_is_one(tmp_path: Path, line: str) -> None:
    found = of_function(tmp_path, f"Parameters\n----------\npile : list\n    What.\nkey : str\n    One.\n{line}\n")
    assert "f: extra.gone" in found


@pytest.mark.parametrize("line", ["gone: It.", "gone (str, optional):\n        It.", "gone (dict(str, int)): It."])
def test_what_stands_as_an_argument_does_is_one(tmp_path: Path, line: str) -> None:
    assert of_function(tmp_path, f"Args:\n    pile: What.\n    key: One.\n    {line}\n") == {"f: extra.gone"}


def test_the_fields_of_sphinx_are_parameters(tmp_path: Path) -> None:
    assert of_function(tmp_path, ":param pile: What.\n:param str key: One.\n:param str gone: It.") == {"f: extra.gone"}


def test_a_misspelt_parameter_is_told_though_a_variable_is_called_so(tmp_path: Path) -> None:
    head, body = "def f(old_column_name, table):", "old_column = str(old_column_name)\n    return old_column, table"
    docstring = "Args:\n    old_column: Before.\n    table: Where.\n"
    assert of_function(tmp_path, docstring, head, body) == {"f: misnamed.old_column"}


@pytest.mark.parametrize(
    "described",
    ["(lower, upper) : (int, int)\n    Two.", "(lower, upper)\n    Two.",
     "pile : list\n%(more)s", "pile : list\n{more}", "pile : list\n%s",
     "pile : list\n%(Axes:more)s",
     "pile : list\n    What, with all other parameters."],
)  # fmt: skip
def test_what_may_be_described_in_another_way_is_not_missing(tmp_path: Path, described: str) -> None:
    head = "def f(pile, width, lower_and_upper):"
    text = f"Parameters\n----------\n{described}\nwidth : int\n    It."
    assert of_function(tmp_path, text, head) == set()


def test_a_function_that_is_made_a_method_elsewhere_is_not_given_itself(tmp_path: Path) -> None:
    assert of_function(tmp_path, "Args:\n    pile: What.\n    key: One.\n", "def f(self, pile, key, way):") == {
        "f: missing.way"
    }


def test_a_class_that_is_made_with_nothing_describes_what_its_methods_get(tmp_path: Path) -> None:
    text = '''
        class Callback:
            """Events.

            Args:
                loader: what the events get.
            """

            def begin(self, **kwargs): ...


        class Made(Callback):
            """One.

            Args:
                size: of it.
                lost: of it.
            """

            def __init__(self, size): ...
        '''
    assert told(tmp_path, {"acme/__init__.py": text}) == {"Made: extra.lost"}


def test_fixtures_describe_what_tests_mark_them_with(tmp_path: Path) -> None:
    text = '''
        def backends(request):
            """Skip.

            Parameters
            ----------
            backend : str
                Which.
            """
        '''
    assert told(tmp_path / "a", {"acme/__init__.py": "", "acme/conftest.py": text}) == set()
    assert told(tmp_path / "b", {"acme/__init__.py": "", "acme/other.py": text}) == {"other.backends: extra.backend"}


_TABLE = '''
    class Table:
        """A table."""

        @classmethod
        def of(Table, rows):
            """From rows.

            >>> Table.of([1])
            >>> Table.of()
            """

        def solve(A, b, *, fast=False):
            """Solve it.

            Args:
                fast: Whether.

            >>> A = Table()
            >>> A.solve(b, fast=True)
            >>> A.solve(fast=True)
            """

        @staticmethod
        def join(A, B):
            """Join.

            >>> Table.join(1, 2)
            >>> Table.join(2)
            """
    '''


def test_the_first_parameter_of_a_method_is_given_by_its_instance_whatever_its_name(tmp_path: Path) -> None:
    assert told(tmp_path, {"acme/__init__.py": _TABLE}) == {
        "Table.of: call.Table.of.rows",
        "Table.solve: call.A.solve.b",
        "Table.join: call.Table.join.B",
    }


_HIDDEN = '''
    def spline(signal, order=3):
        """Fit.

        Parameters
        ----------
        input : array
            What.
        order : int
            How.
        """


    def helper(signal, order=3):
        """Help.

        Parameters
        ----------
        input : array
            What.
        order : int
            How.
        """


    class Tree:
        """A tree."""

        def line(self, line_index):
            """A line.

            Args:
                place: Which.
            """

        def _line(self, line_index):
            """A line.

            Args:
                place: Which.
            """
    '''


@pytest.mark.parametrize(
    ("package", "found"),
    [
        ("", set()),
        ("from acme import _hidden\n", set()),
        ("def go():\n    from acme._hidden import spline\n", set()),
        ("from acme._hidden import spline as _spline\n", set()),
        ("from acme._hidden import spline\n__all__ = ['other']\n", set()),
        ("from acme._hidden import spline\n", {"spline"}),
        ("from ._hidden import helper, spline\n__all__ = ['spline']\n", {"spline"}),
        ("from ._hidden import *\n", {"spline", "helper", "Tree.line"}),
        ("from ._more import *\n", {"Tree.line"}),
    ],
)
def test_what_a_package_hands_on_is_judged_wherever_it_is_defined(
    tmp_path: Path, package: str, found: set[str]
) -> None:
    more = "from acme._hidden import *\nfrom acme._hidden import Tree\n__all__ = ['Tree']\n"
    files = {"acme/__init__.py": package, "acme/_hidden.py": _HIDDEN, "acme/_more.py": more}
    titles = {one.partition(":")[0].removeprefix("_hidden.") for one in told(tmp_path, files)}
    assert titles == found


def test_the_methods_of_a_private_base_are_those_of_the_public_class(tmp_path: Path) -> None:
    text = f"{dedent(_HIDDEN)}\n\nclass _Root(Tree): ...\n\n\nclass _Other(Tree): ...\n"
    files = {"acme/__init__.py": "", "acme/_hidden.py": text, "acme/trees.py": "class Oak(object): ...\n"}
    assert told(tmp_path, files) == set()
    files["acme/trees.py"] = "from acme._hidden import _Root\n\n\nclass Oak(_Root): ...\n"
    assert told(tmp_path, files) == {"_hidden.Tree.line: extra.place"}


def test_what_a_function_warns_of_has_a_type_and_no_name() -> None:
    text = (
        "Write.\n\nParameters\n----------\npath : str\n    Where.\n\nWarns\n-----\nUserWarning\n    If it is there.\n"
    )
    found = parse(text)
    assert [one.name for one in found.parameters] == ["path"]
    assert found.notes == (("Warns", "UserWarning: If it is there."),)
