"""A GGUF file is loaded in a process of its own first: llama.cpp ends the process over some files that are damaged.

`python -m tasks.model_host.llamacpp_trial FILE TOKENS SLOTS` loads it as it will be, computes one step, prints the
bytes that this took beside the pages of the file, and ends with 0; with 3 where llama.cpp refuses it in words. Nothing
else is in that process, so what it measures is of this model alone. It takes no more than the load that follows, and
has ended by then.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from blocks.settings import CHECKOUT
from tasks.model_host.errors import EngineError, LoadError, RequestError
from tasks.model_host.headers import gguf_files
from tasks.model_host.llamacpp_server import LlamaServer
from tasks.model_host.measuring import anonymous

_REFUSED = 3
_LONGEST_S = 600.0
_passed: dict[tuple[Any, ...], int | None] = {}
"""What was measured of files as they were when they passed."""


def try_file(file: Path, *, context_window: int, slots: int, embeds: bool) -> int | None:
    """Load `file` in another process; once, as long as it stays as it is and is loaded alike.

    Returns:
        Bytes that it took beside the pages of the file; None: this system does not say.

    Raises:
        LoadError: llama.cpp does not take it.
    """
    state = (context_window, slots, embeds, *((str(part), *_version(part)) for part in gguf_files(file)))
    if state in _passed:
        return _passed[state]
    command = [sys.executable, "-m", "tasks.model_host.llamacpp_trial", str(file), str(context_window), str(slots)]
    command += ["--embeds"] if embeds else []
    try:
        ended = subprocess.run(
            command, cwd=CHECKOUT, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, timeout=_LONGEST_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise LoadError(f"llama.cpp did not load {file.name} in {_LONGEST_S:g} s.", component="model host") from None
    if code := ended.returncode:
        what = "refuses it" if code == _REFUSED else f"does not survive it (it ended with {code})"
        raise LoadError(
            f"llama.cpp cannot load {file.name}: it {what}.", component="model host", remedy="Fetch it again."
        )
    words = ended.stdout.split()
    _passed[state] = int(words[-1]) if words and words[-1].isdigit() else None
    return _passed[state]


def _version(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}.", component=str(file)) from error
    return found.st_ino, found.st_size, found.st_mtime_ns


def main(file: Path, context_window: int, slots: int, *, embeds: bool) -> int:
    """Load `file`, compute a step, print what that took. Returns the exit code."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import xllamacpp  # noqa: F401, PLC0415 - the library itself is of no model

    before = anonymous()
    try:
        server = LlamaServer(file, context_window=context_window, slots=slots, threads=1, embeds=embeds)
        if embeds:
            server.embed(orjson.dumps({"input": [[0, 0]]}))
        else:
            server.complete(orjson.dumps({"prompt": [0, 0], "max_tokens": 1, "stream": True}), lambda _: False)
    except (LoadError, RequestError, EngineError):
        return _REFUSED
    after = anonymous()
    if before is not None and after is not None:
        print(max(0, after - before), flush=True)
    return 0


if __name__ == "__main__":
    # without the end of an interpreter whose library still has threads
    given = sys.argv[1:]
    os._exit(main(Path(given[0]), int(given[1]), int(given[2]), embeds="--embeds" in given[3:]))
