"""Runs the examples of a checkout's documents with sybil. A script of its own, for the checkout's Python.

It knows nothing of Lama. A JSON job comes on standard input; a line of JSON goes to standard output for each example,
and one with the status `done` for each document of which every example was run: only its absence tells of the others.
Each document is run by a child with bounded time, memory and files; what a child leaves behind is killed with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import resource
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_LARGEST_FILE = 64 * 1024 * 1024
_MOST_TOLD = 1_000_000
_LONGEST = 2_000
_PROMPT = re.compile(r"^\s*>>> ", re.MULTILINE)


def main() -> None:
    """Run the job on standard input."""
    job = json.load(sys.stdin)
    sys.path[:0] = job["path"]
    with contextlib.suppress(OSError, AttributeError):  # orphans of examples become children of this process
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        import sybil  # noqa: PLC0415, F401 - not before its place is known
    except ImportError as error:
        _tell(sys.stdout.fileno(), {"problem": f"sybil cannot be imported by this Python: {error}"})
        return
    for document in job["documents"]:
        _run(document, job)


def _run(document: dict[str, Any], job: dict[str, Any]) -> None:
    """Run one document in a child, and pass on what it tells."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        status = 1
        try:
            os.setsid()
            _bound(job)
            _evaluate(document, job, writer)
            _tell(writer, {"file": document["file"], "status": "done"})
            status = 0
        except BaseException as error:  # noqa: BLE001 - a child of a fork never returns
            _tell(writer, {"file": document["file"], "status": "stopped", **_described(error)})
        finally:
            os._exit(status)
    os.close(writer)
    told, ended = _gather(reader, job["timeout_s"])
    _kill_all(child)
    os.close(reader)
    results = list(_results(told, document["file"]))
    if not ended and not any(one["status"] == "done" for one in results):
        results.append({"file": document["file"], "status": "timeout"})
    for one in results:
        sys.stdout.buffer.write(json.dumps(one).encode() + b"\n")
    sys.stdout.buffer.flush()


def _results(told: bytes, file: str) -> Iterator[dict[str, Any]]:
    """The whole lines that a child told of its document; an example may have written others into the pipe."""
    for line in told.split(b"\n")[:-1]:  # behind the last end of a line is what a child was killed in the midst of
        try:
            one = json.loads(line)
        except (ValueError, RecursionError):
            continue
        is_result = isinstance(one, dict) and one.get("file") == file and isinstance(one.get("status"), str)
        if is_result and isinstance(one.get("line", 0), int):
            yield one


def _gather(reader: int, timeout_s: float) -> tuple[bytes, bool]:
    """What comes from the child until it closes its end, tells too much or its time is over; False if it was time."""
    told = bytearray()
    until = time.monotonic() + timeout_s
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([reader], [], [], left)
        if not ready:
            break
        piece = os.read(reader, 65_536)
        if not piece:
            return bytes(told), True
        told += piece
        if len(told) > _MOST_TOLD:
            return bytes(told), True
    return bytes(told), False


def _kill_all(child: int) -> None:
    """Kill the child's group, and then whatever has become a child of this process meanwhile."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    for _ in range(100):
        orphans = list(_children())
        for one in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not orphans:
            return
        time.sleep(0.02)


def _children() -> Iterator[int]:
    try:
        yield from map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split())
    except OSError:
        return


def _bound(job: dict[str, Any]) -> None:
    """Limits of this process and of all that it starts."""
    for what, limit in (
        (resource.RLIMIT_AS, job["memory_bytes"]),
        (resource.RLIMIT_CPU, int(job["timeout_s"]) + 1),
        (resource.RLIMIT_FSIZE, _LARGEST_FILE),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (limit, limit))


def _evaluate(document: dict[str, Any], job: dict[str, Any], writer: int) -> None:
    """Run the examples of one document in the order of their lines."""
    folder = tempfile.mkdtemp(dir=job["folder"])
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDWR)
    for one in (0, 1, 2):
        os.dup2(null, one)
    blocks = [(one["line"], one) for one in document.get("console", ())]
    for line, example in sorted([*_examples(document, job), *blocks], key=lambda pair: pair[0]):
        result: dict[str, Any] = {"file": document["file"], "line": line, "status": "ok"}
        try:
            if isinstance(example, dict):
                said = _command(example["command"], job)
                if not _fits(example["want"], said):
                    result |= {"status": "output", "want": _short(example["want"]), "got": _short(said)}
            elif not _was_run(example):
                continue
        except BaseException as error:  # noqa: BLE001 - whatever an example raises is its result
            result |= {"status": "error", **_described(error)}
        _tell(writer, result)


def _was_run(example: Any) -> bool:
    """Evaluate `example`; False where it is none, but a mark that says to skip some, and where it was skipped so."""
    run = []
    evaluator = example.region.evaluator

    def noting(one: Any) -> Any:
        run.append(one)
        return evaluator(one)

    example.region.evaluator = noting
    example.evaluate()
    return bool(run) and type(example.parsed) is not tuple


def _examples(document: dict[str, Any], job: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    from sybil.document import Document, PythonDocStringDocument  # noqa: PLC0415
    from sybil.parsers.markdown import SkipParser  # noqa: PLC0415
    from sybil.parsers.rest import DocTestParser  # noqa: PLC0415

    place = str(Path(job["root"]) / document["file"])
    if document["kind"] == "module":
        found = PythonDocStringDocument.parse(place, DocTestParser())
    else:
        found = Document.parse(place, lambda read: _blocks(read.text, place, document["blocks"]), SkipParser())
        found.namespace["__name__"] = "__main__"
    for example in found.examples():
        yield example.line, example


def _blocks(text: str, place: str, blocks: list[dict[str, Any]]) -> Iterator[Any]:
    """The regions of `blocks` of code in the document `text`: one a block, or one an example at a prompt."""
    from sybil.evaluators.doctest import DocTestEvaluator  # noqa: PLC0415
    from sybil.evaluators.python import PythonEvaluator  # noqa: PLC0415
    from sybil.parsers.abstract import DocTestStringParser  # noqa: PLC0415
    from sybil.region import Lexeme, Region  # noqa: PLC0415

    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    prompts, python = DocTestStringParser(DocTestEvaluator()), PythonEvaluator()
    for block in blocks:
        first, source = block["line"] - 1, block["text"]
        if _is_at_prompt(source):
            for one in prompts(source, place):
                lines = [first + source.count("\n", 0, end) for end in (one.start, one.end)]
                yield Region(starts[lines[0]], max(starts[lines[1]], starts[lines[0]]), one.parsed, one.evaluator)
        else:
            end = starts[first + source.count("\n")]
            yield Region(starts[first], end, Lexeme(source, 0, -1), python)


def _is_at_prompt(source: str) -> bool:
    """Whether a block shows what is typed at a prompt: other code may have a prompt in a docstring of its own."""
    if _PROMPT.search(source) is None:
        return False
    if source.lstrip().startswith(">>>"):
        return True
    try:
        compile(source, "example", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return True
    return False


def _command(words: str, job: dict[str, Any]) -> str:
    """What a command says on its standard output and error, without a shell."""
    done = subprocess.run(
        shlex.split(words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=job["timeout_s"],
        check=False,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(job["sources"])},
    )
    return done.stdout


def _fits(want: str, said: str) -> bool:
    """Whether `said` is what was to come; `...` stands for anything, and space at the ends of lines does not count."""
    pieces = [re.escape(piece) for piece in _trimmed(want).split("...")]
    return re.fullmatch(".*".join(pieces), _trimmed(said), re.DOTALL) is not None


def _short(text: str) -> str:
    """`text`, without its middle where it is long: what went wrong stands at the end of what a command says."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}\n...\n{text[-_LONGEST // 2 :]}"


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))


def _described(error: BaseException) -> dict[str, str]:
    """Kind and words of an error, and the module that an import asked for."""
    return {
        "type": type(error).__name__,
        "error": str(error)[:_LONGEST],
        "name": str(getattr(error, "name", "") or ""),
        "result": str(getattr(error, "result", "") or "")[:_LONGEST],
    }


def _tell(writer: int, result: dict[str, Any]) -> None:
    content = json.dumps(result).encode() + b"\n"
    while content:
        content = content[os.write(writer, content) :]


if __name__ == "__main__":
    main()
