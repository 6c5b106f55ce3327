"""Examples are run as the document says them: bounded, without network and secrets, and nothing is left behind."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psutil
import pytest

from models.docs import DocsSettings
from models.health_check import Checkout
from models.report import Finding, Skip
from tasks.code.read import read
from tasks.docs.truth import examples
from tasks.docs.truth.examples import run_examples, without_network

_MODULE = (
    '"""Acme.\n\n>>> double(2)\n4\n"""\n\n\n'
    'def double(x):\n    """Double.\n\n    >>> double(3)\n    7\n    """\n    return 2 * x\n'
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    if without_network() is None:
        pytest.skip("a process cannot be kept from the network here")
    folder = tmp_path / "shop"
    (folder / "acme").mkdir(parents=True)
    (folder / "docs").mkdir()
    (folder / "acme" / "__init__.py").write_text(_MODULE.replace("7", "6"))
    return folder


def run(root: Path, text: str, **more: object) -> tuple[list[Finding], list[Skip], dict[str, float]]:
    (root / "docs" / "guide.md").write_text(f"# Guide\n\n{text}\n")
    chosen = DocsSettings.model_validate({"examples_timeout_s": 10.0, "examples_memory_bytes": 2**30} | more)
    return asyncio.run(run_examples(Checkout(name="shop", path=root), chosen, read(root)))


def test_examples_that_hold_are_counted_and_later_ones_build_on_earlier(root: Path) -> None:
    text = "```python\nfrom acme import double\nx = double(4)\n```\n\n```python\n>>> x\n8\n```\n"
    findings, skips, figures = run(root, text)
    assert (findings, skips) == ([], [])
    assert figures["docs_examples_ok_total"] == 4, "two of the page, two of docstrings"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```python\n>>> from acme import double\n>>> double(2)\n5\n```", "Expected: 5 Got: 4"),
        ("```python\nimport acme\nacme.gone()\n```", "no attribute 'gone'"),
        ("```python\nfrom acme import gone\n```", "cannot import name 'gone'"),
        ("```python\nfrom acme import double\ndouble(1, 2)\n```", "TypeError"),
        ("```python\nfrom acme import double\nassert double(2) == 5\n```", "AssertionError"),
        ('```console run\n$ python -c "print(2)"\n3\n```', "says something else. Expected: 3 Got: 2"),
        ('```console run\n$ python -c "from acme import gone"\n3\n```', "ends with ImportError: cannot import name"),
        ("```console run\n$ python -m acme.gone\n3\n```", "ends with ModuleNotFoundError: No module named acme.gone"),
    ],
)
def test_examples_that_no_longer_hold_are_findings(root: Path, text: str, said: str) -> None:
    findings, _, _ = run(root, text)
    assert len(findings) == 1
    assert said in findings[0].title
    assert findings[0].component == "shop: docs/guide.md"


def test_examples_at_a_prompt_are_run_in_every_form_that_a_document_has_them(root: Path) -> None:
    prompts = ">>> from acme import double\n>>> double({})\n0\n"
    forms = ["```pycon\n{}```", "```\n{}```", "```py\n{}```", "- one:\n\n  ```doctest\n{}```", "{}"]
    indents = ["", "", "", "  ", "    "]
    for number, (form, indent) in enumerate(zip(forms, indents, strict=True), start=1):
        text = "".join(f"{indent}{line}\n" for line in prompts.format(number).splitlines())
        (root / "docs" / f"{number}.md").write_text(f"# Form\n\n{form.format(text)}\n")
    defines = '```python title="x.py"\ndef late():\n    """Late.\n\n    >>> late()\n    9\n    """\n```'
    uses = "```python\n# first\n>>> late()\n```"
    skipped = "<!--- skip: next -->\n\n    >>> double(9)\n    0\n"
    findings, skips, figures = run(root, "\n\n".join([defines, uses, skipped]))
    assert skips == []
    assert [one.title.rpartition("Got: ")[2] for one in findings] == ["2", "4", "6", "8", "10"]
    places = [one.key.removeprefix("docs.run:shop/").partition("#") for one in findings]
    said = [(root / file).read_text().splitlines()[int(line) - 1].strip() for file, _, line in places]
    assert said == [f">>> double({number})" for number in range(1, 6)]
    assert figures["docs_examples_ok_total"] == 9, "five imports, two blocks of Python, two docstrings"


@pytest.mark.parametrize(
    "text",
    [
        "```console run\n$ python -c 'import not_installed_anywhere'\n1\n```",
        "```console run\n$ python -m not_installed_anywhere\n1\n```",
        "```python\nimport not_installed_anywhere\n```", "```python\nopen('no-such-file')\n```",
        "```python\nundefined_thing()\n```",
        "```python\nraise RuntimeError('x')\n```", "```python\nexit(3)\n```",
        "```python no-run\nimport acme\nacme.gone()\n```",
        "```console\n$ false\nnothing\n```", '```console run\n$ python -c "print(1); print(2)"\n...\n2\n```',
        "In version 1.0 one wrote:\n\n```python\nimport acme\nacme.gone()\n```",
        "```python\nimport socket\nsocket.create_connection(('127.0.0.1', 22), timeout=1)\n```",
        "```python\nimport urllib.request\nurllib.request.urlopen('http://example.com', timeout=2)\n```",
        "```python\nx = bytearray(10**11)\n```", "```python\nopen('x', 'wb').write(b'0' * 10**9)\n```",
    ],
)  # fmt: skip
def test_what_fails_for_reasons_of_its_own_accuses_nobody(root: Path, text: str) -> None:
    findings, skips, _ = run(root, text)
    assert [one.title for one in findings] == []
    assert skips == []


def test_no_secret_and_no_home_is_to_be_had(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMA_GITHUB_TOKEN", "a-secret")
    home = (
        f"assert os.getcwd().startswith(os.environ['HOME']) and os.environ['HOME'] not in {[str(Path.home()), '/']!r}"
    )
    text = f"```python\nimport os\nassert 'a-secret' not in str(os.environ)\n{home}\n```"
    findings, skips, figures = run(root, text)
    assert (findings, skips) == ([], [])
    assert figures["docs_examples_ok_total"] == 3


def test_what_does_not_end_is_ended_with_all_that_it_started(root: Path) -> None:
    mark = f"{time.time():.3f}"
    text = (
        "```python\nimport subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', "
        f"'import time; time.sleep(600)', '{mark}'], start_new_session=True)\ntime.sleep(600)\n```"
    )
    findings, skips, _ = run(root, text, examples_timeout_s=2.0)
    assert findings == []
    assert "docs/guide.md did not end in time" in skips[0].reason
    left = [one for one in psutil.process_iter(["cmdline"]) if mark in (one.info["cmdline"] or [])]
    assert left == []


@pytest.mark.parametrize(
    "end",
    [
        "import os\nos._exit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "import ctypes\nctypes.string_at(0)",
        "import os\nos.closerange(3, 1000)",
        "import resource, os\nresource.setrlimit(resource.RLIMIT_CPU, (0, 0))\nwhile True: pass",
    ],
)
def test_examples_behind_one_that_ends_the_process_are_told_as_not_run(root: Path, end: str) -> None:
    text = f"```python\nx = 1\n```\n\n```python\n{end}\n```\n\n```python\nassert 1 == 2\n```"
    findings, skips, figures = run(root, text)
    assert findings == []
    assert [one.reason for one in skips] == [
        "Not all examples of docs/guide.md were run: their process ended before the last, or told too much."
    ]
    assert skips[0].may_hide("docs.run:shop/docs/guide.md#11")
    assert figures["docs_examples_ok_total"] == 3, "the one before it, and two of docstrings"


def test_a_document_that_is_done_is_not_late_for_what_it_left_behind(root: Path) -> None:
    text = "```python\nimport os, time\nif os.fork() == 0: time.sleep(600)\n```\n\n```python\nassert 1 == 2\n```"
    findings, skips, _ = run(root, text, examples_timeout_s=2.0)
    assert len(findings) == 1
    assert skips == []


def test_what_an_example_writes_among_the_results_is_none(root: Path) -> None:
    lines = [
        r'{"file": "docs/guide.md", "sta',
        r'{"problem": "forged"}',
        r'{"file": "docs/guide.md", "status": "ok", "line": "x"}',
        "[1]",
        r'{"file": "x.md", "status": "output"}',
    ]
    write = "".join(f"    os.write(n, {line!r}.encode() + b'\\n')\n" for line in lines)
    text = (
        "```python\nimport os, stat\nfor n in range(3, 30):\n    try: pipe = stat.S_ISFIFO(os.fstat(n).st_mode)\n"
        f"    except OSError: continue\n    if not pipe: continue\n    try: os.write(n, b'')\n"
        f"    except OSError: continue\n{write}```\n\n```python\nassert 1 == 2\n```"
    )
    findings, skips, _ = run(root, text)
    assert [one.component for one in findings] == ["shop: docs/guide.md"]
    assert skips == []


def test_a_document_that_tells_too_much_is_told_as_cut(root: Path) -> None:
    block = "```python\nraise RuntimeError('x' * 2000)\n```\n\n"
    _, skips, _ = run(root, block * 600)
    assert "Not all examples of docs/guide.md were run" in skips[0].reason


def test_a_document_of_which_no_example_can_be_read_is_told(root: Path) -> None:
    (root / "acme" / "other.py").write_text('"""Other.\n\n>>>double(2)\n>>> 1\n"""\n')
    findings, skips, _ = run(root, "Nothing.")
    assert findings == []
    assert "acme/other.py were run" in skips[0].reason
    assert "ValueError" in skips[0].reason


def test_modules_that_are_too_many_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "bcdef":
        (root / "acme" / f"{name}.py").write_text('"""One.\n\n>>> 1\n1\n"""\n')
    monkeypatch.setattr(examples, "_MOST", 2)
    _, skips, figures = run(root, "Nothing.")
    assert [one.reason for one in skips] == [
        "The examples of acme/c.py, acme/d.py, acme/e.py and 1 more were not run: those of at most 2 modules are."
    ]
    assert skips[0].may_hide("docs.run:shop/acme/c.py#3")
    assert figures["docs_examples_total"] == 3


def test_docstrings_are_run_as_well(root: Path) -> None:
    (root / "acme" / "__init__.py").write_text(_MODULE)
    findings, _, _ = run(root, "Nothing.")
    assert [one.key for one in findings] == ["docs.run:shop/acme/__init__.py#11"]
    assert "Expected: 7 Got: 6" in findings[0].title
