"""Examples of documents and docstrings that are run, where that is asked for: bounded, without network and secrets.

An example may fail for many reasons that make no document untrue: a network, a file or a package that is not there.
Only what shows that the document and the code disagree is a finding; the rest is counted.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blocks.errors import LamaError
from models.code import Codebase
from models.docs import DocsSettings
from models.health_check import Checkout
from models.report import Finding, Severity, Skip
from tasks.code.read import read
from tasks.docs.truth.documents import read_documents
from tasks.docs.truth.page import Fence, Page, read_page
from tasks.docs.truth.spoken import is_python
from tasks.engine import run_engine

AREA = "docs"
_SCRIPT = Path(__file__).with_name("sandboxed.py")
_MOST_OUTPUT = 32 * 1024 * 1024
_NOT_RUN = re.compile(r"\b(?:no[-_]?run|norun|skip|no[-_]?test|notest|ignore)\b", re.IGNORECASE)
_SURE = frozenset({"AttributeError", "TypeError", "ImportError", "ModuleNotFoundError", "AssertionError"})
_BUILT_ON = frozenset({"AssertionError", "TypeError", "SybilFailure"})
_RAISED = re.compile(r"^(?:\w+\.)*(\w+(?:Error|Exception))(?:: (.*))?$", re.MULTILINE)
_NO_MODULE = re.compile(r"^\S*python[\d.]*: (No module named .+)$", re.MULTILINE)
"""What `python -m` says of a module that is not there."""
_START_S = 30.0
_MOST = 200


async def run_examples(
    checkout: Checkout, chosen: DocsSettings, codebase: Codebase | None = None
) -> tuple[list[Finding], list[Skip], dict[str, float]]:
    """Run the examples of `checkout`, and say which no longer do what the document says.

    Args:
        checkout: whose examples are run, by the Python of its environment: the one that it names, `.venv` inside of it,
            or otherwise the one that runs this.
        chosen: which documents, and within what bounds.
        codebase: what its source says, when that was read already.
    """
    documents, left = await asyncio.to_thread(_documents, checkout, chosen, codebase)
    if not documents:
        return [], [], {"docs_examples_total": 0.0}
    alone = await asyncio.to_thread(without_network)
    if alone is None:
        reason = "Its examples were not run: here a process cannot be kept from the network (`unshare --net` fails)."
        return [], [_skip(checkout, reason)], {}
    try:
        told = await _run(checkout, chosen, documents, alone)
    except (LamaError, OSError) as error:
        return [], [_skip(checkout, f"Its examples could not be run: {error}")], {}
    findings, skips, figures = _judged(checkout, documents, told, codebase)
    if left:
        reason = f"The examples of {_named(left)} were not run: those of at most {_MOST} modules are."
        skips.append(_skip(checkout, reason))
    return findings, skips, figures


def without_network() -> list[str] | None:
    """What a command is begun with so that it has no network, and ends whole; None where that is not possible here."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    own = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    for words in ([unshare, *own], [unshare, "--map-root-user", *own], [unshare, "--net"], [unshare, "-r", "--net"]):
        try:
            done = subprocess.run([*words, "true"], capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return words
    return None


async def _run(
    checkout: Checkout, chosen: DocsSettings, documents: Sequence[Mapping[str, Any]], alone: Sequence[str]
) -> list[dict[str, Any]]:
    root = checkout.path.resolve()
    python = python_of(checkout)
    with tempfile.TemporaryDirectory(prefix="lama-examples-") as folder:
        place = Path(folder)
        library = place / "library"  # sybil alone: what else is installed beside it is not the checkout's
        library.mkdir()
        specification = importlib.util.find_spec("sybil")
        if specification is None or specification.origin is None:
            raise LamaError("sybil is not installed here.", component=checkout.name, remedy="pip install sybil")
        (library / "sybil").symlink_to(Path(specification.origin).parent)
        paths = [str(path) for path in (root / "src", root) if path.is_dir()]
        job = {
            "root": str(root),
            "path": [*paths, str(library)],
            "sources": paths,
            "folder": folder,
            "documents": documents,
            "timeout_s": chosen.examples_timeout_s,
            "memory_bytes": chosen.examples_memory_bytes,
        }
        environment = {
            "PATH": os.pathsep.join([str(python.parent), "/usr/local/bin", "/usr/bin", "/bin"]),
            "HOME": folder,
            "TMPDIR": folder,
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "NO_COLOR": "1",
            "COLUMNS": "120",
        }
        outcome = await run_engine(
            [*alone, str(python), "-s", "-P", str(_SCRIPT)],
            timeout_s=_START_S + len(documents) * (chosen.examples_timeout_s + 2),
            cwd=place,
            environment=environment,
            stdin=json.dumps(job).encode(),
            max_output=_MOST_OUTPUT,
        )
    told = [json.loads(line) for line in outcome.stdout.decode(errors="replace").splitlines() if line.startswith("{")]
    problem = next((one["problem"] for one in told if "problem" in one), None)
    if problem is None and outcome.code != 0:
        problem = (outcome.stderr.strip().splitlines() or [f"its process ended with {outcome.code}"])[-1][:300]
    if problem is not None:
        raise LamaError(f"{problem}.", component=checkout.name)
    return told


def python_of(checkout: Checkout) -> Path:
    """The Python that runs the examples of `checkout`."""
    for folder in (checkout.environment, checkout.path / ".venv"):
        if folder is not None and (folder / "bin" / "python").exists():
            return folder / "bin" / "python"
    return Path(sys.executable)


def _documents(
    checkout: Checkout, chosen: DocsSettings, codebase: Codebase | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """What is run (pages, then modules with examples at a prompt), and the files of modules that are too many."""
    code = codebase or read(checkout.path, checkout.packages or None, exclude=checkout.exclude)
    modules = list(_modules(code))
    documents = [*_pages(checkout, chosen), *({"file": file, "kind": "module"} for file in modules[:_MOST])]
    return documents, modules[_MOST:]


def _pages(checkout: Checkout, chosen: DocsSettings) -> Iterator[dict[str, Any]]:
    """Documents with blocks of Python, or of console that are marked."""
    for file, text in read_documents(checkout.path, chosen.documents, checkout.exclude).texts.items():
        page = read_page(file, text)
        fences = [] if page.history else [one for one in _fences(page) if not _NOT_RUN.search(one.info)]
        blocks = [{"line": one.line, "text": one.text} for one in fences if is_python(one) and one.text.strip()]
        console = [
            part
            for one in fences
            if one.language == "console" and re.search(r"\brun\b", one.info)
            for part in _commands(one)
        ]
        if blocks or console:
            yield {"file": file, "kind": "page", "blocks": blocks, "console": console}


def _modules(code: Codebase) -> Iterator[str]:
    """Files of the modules whose docstrings have examples at a prompt."""
    for path in sorted(code.files):
        module = code.module(path)
        docstrings = [module.docstring, *(symbol.docstring for symbol in module.symbols)]
        if any(text and ">>> " in text for text in docstrings) and module.file.endswith(".py"):
            yield module.file


def _fences(page: Page) -> Iterator[Fence]:
    for section in page.sections:
        if not section.past:
            yield from (fence for fence in section.fences if not fence.past)


def _commands(fence: Fence) -> Iterator[dict[str, Any]]:
    """The commands of a console block, each with what it is to say."""
    current: dict[str, Any] | None = None
    for number, line in enumerate(fence.text.split("\n")):
        if line.startswith("$ "):
            if current is not None:
                yield current
            current = {"line": fence.line + number, "command": line[2:], "want": ""}
        elif current is not None:
            current["want"] += line + "\n"
    if current is not None:
        yield current


def _judged(
    checkout: Checkout,
    documents: Sequence[Mapping[str, Any]],
    told: Sequence[Mapping[str, Any]],
    codebase: Codebase | None,
) -> tuple[list[Finding], list[Skip], dict[str, float]]:
    packages = set(codebase.packages) if codebase is not None else set()
    findings: list[Finding] = []
    late: list[str] = []
    done: set[str] = set()
    stopped: dict[str, str] = {}
    counts = {"ok": 0, "failed": 0, "unsure": 0}
    broken: set[str] = set()
    for one in told:
        file, line = str(one.get("file", "")), int(one.get("line", 0))
        if one["status"] == "ok":
            counts["ok"] += 1
            continue
        if one["status"] == "timeout":
            late.append(file)
            continue
        if one["status"] == "done":
            done.add(file)
            continue
        if one["status"] == "stopped":
            stopped[file] = f"{one.get('type')}: {' '.join(str(one.get('error')).split())[:200]}"
            continue
        verdict = _verdict(one, packages)
        if file in broken and one.get("type") in _BUILT_ON:
            verdict = None  # it may build on the example before it, which failed
        broken.add(file)
        counts["failed" if verdict else "unsure"] += 1
        if verdict is not None:
            findings.append(
                Finding(
                    key=f"docs.run:{checkout.name}/{file}#{line}",
                    severity=Severity.medium,
                    component=f"{checkout.name}: {file}",
                    title=f"{file}:{line} the example does not do what the document says: {verdict}",
                    remedy="Correct the example, or mark its block with `no-run`.",
                    evidence={"file": file, "line": line, **{k: str(one[k]) for k in ("want", "got") if k in one}},
                )
            )
    skips = []
    if late:
        skips.append(_skip(checkout, f"The examples of {_named(late)} did not end in time."))
    # Killed, for its memory say, ended by an example, or cut: whoever does not say that it is done is not.
    early = [file for file in dict.fromkeys(str(one["file"]) for one in documents) if file not in {*done, *late}]
    if early:
        why = next((f" ({stopped[file]})" for file in early if file in stopped), "")
        reason = f"Not all examples of {_named(early)} were run: their process ended before the last, or told too much"
        skips.append(_skip(checkout, f"{reason}{why}."))
    figures = {f"docs_examples_{name}_total": float(count) for name, count in counts.items()}
    return findings, skips, {"docs_examples_total": float(sum(counts.values())), **figures}


def _named(files: Sequence[str]) -> str:
    return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")


def _verdict(one: Mapping[str, Any], packages: set[str]) -> str | None:
    """Why an example shows that document and code disagree; None where it may have failed for reasons of its own."""
    if one["status"] == "output":
        return _other_output(str(one.get("want", "")), str(one.get("got", "")), packages)
    kind, error = str(one.get("type", "")), str(one.get("error", ""))
    if kind == "SybilFailure":
        result = str(one.get("result", ""))
        raised = re.search(r"^\s*(\w+(?:Error|Exception))\b", result.rpartition("Traceback")[2], re.MULTILINE)
        if "Traceback" in result and (raised is None or raised[1] not in _SURE):
            return None
        return " ".join(result.split())[:300]
    return _accusing(kind, error, str(one.get("name", "")), packages)


def _other_output(want: str, got: str, packages: set[str]) -> str | None:
    """Why what a command says is not what was to come."""
    _, traceback, end = got.rpartition("Traceback (most recent call last):")
    raised = list(_RAISED.finditer(end)) if traceback and traceback not in want else []
    missing = _NO_MODULE.search(got)
    if raised or missing:
        kind, words = (
            raised[-1].groups(default="") if raised else ("ModuleNotFoundError", missing[1] if missing else "")
        )
        told = _accusing(kind, words, "", packages)
        return told and f"the command ends with {told}"
    short = [" ".join(text.split())[:140] for text in (want, got)]
    return f"the command says something else. Expected: {short[0]} Got: {short[1]}"


def _accusing(kind: str, error: str, name: str, packages: set[str]) -> str | None:
    """An error in words, where it shows that document and code disagree."""
    if kind not in _SURE:
        return None
    about = set(re.findall(r"\w+", f"{error} {name}"))
    if kind in {"ImportError", "ModuleNotFoundError"} and packages and not about & packages:
        return None  # something that is not installed here
    return f"{kind}: {' '.join(error.split())[:300]}"


def _skip(checkout: Checkout, reason: str) -> Skip:
    return Skip(area=AREA, component=checkout.name, reason=reason, hides=(f"docs.run:{checkout.name}/",))
