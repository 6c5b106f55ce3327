"""A GGUF file is loaded in a process of its own first: llama.cpp ends the process over some files that are damaged.

`python -m tasks.model_host.llamacpp_trial FILE` loads it with the smallest context, computes one step, and ends with 0;
with 3 where llama.cpp refuses it in words. It takes no more than the load that follows, and has ended by then.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson

from blocks.settings import CHECKOUT
from tasks.model_host.errors import EngineError, LoadError, RequestError
from tasks.model_host.headers import gguf_files
from tasks.model_host.llamacpp_server import LlamaServer

_REFUSED = 3
_LONGEST_S = 600.0
_passed: set[tuple[tuple[str, int, int, int], ...]] = set()
"""Files as they were when they passed."""


def try_file(file: Path, *, embeds: bool) -> None:
    """Load `file` in another process; once, as long as it stays as it is.

    Raises:
        LoadError: llama.cpp does not take it.
    """
    state = tuple((str(part), *_version(part)) for part in gguf_files(file))
    if state in _passed:
        return
    command = [sys.executable, "-m", "tasks.model_host.llamacpp_trial", str(file), *(["--embeds"] if embeds else [])]
    try:
        ended = subprocess.run(
            command, cwd=CHECKOUT, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=_LONGEST_S,
        ).returncode  # fmt: skip
    except subprocess.TimeoutExpired:
        raise LoadError(f"llama.cpp did not load {file.name} in {_LONGEST_S:g} s.", component="model host") from None
    if ended:
        what = "refuses it" if ended == _REFUSED else f"does not survive it (it ended with {ended})"
        raise LoadError(
            f"llama.cpp cannot load {file.name}: it {what}.", component="model host", remedy="Fetch it again."
        )
    _passed.add(state)


def _version(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}.", component=str(file)) from error
    return found.st_ino, found.st_size, found.st_mtime_ns


def main(file: Path, *, embeds: bool) -> int:
    """Load `file` and compute a step. Returns the exit code."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        server = LlamaServer(file, context_window=1, slots=1, threads=1, embeds=embeds)
        if embeds:
            server.embed(orjson.dumps({"input": [[0, 0]]}))
        else:
            server.complete(orjson.dumps({"prompt": [0, 0], "max_tokens": 1, "stream": True}), lambda _: False)
    except (LoadError, RequestError, EngineError):
        return _REFUSED
    server.close()
    return 0


if __name__ == "__main__":
    # without the end of an interpreter whose library still has threads
    os._exit(main(Path(sys.argv[1]), embeds="--embeds" in sys.argv[2:]))
