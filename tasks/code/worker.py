"""Reads sources in a process of its own: what a file does to the parser, it does to this process.

Requests come on standard input, answers go to standard output in the same order; `tasks.code.pool` is the other side.
"""

from __future__ import annotations

import contextlib
import resource
import struct
import sys
from typing import IO

import orjson

from tasks.code.extract import UnreadableError, extracted
from tasks.code.kept import content_of
from tasks.code.places import read_file

HEAD = struct.Struct(">IBIIII")
"""Of an answer: its number, 1 when the file could not be read, and the lengths of what follows."""
READY = b"lama code 1\n"
_MOST_MEMORY = 3 << 30


def answer(root: str, request: list[object]) -> tuple[int, list[bytes]]:
    """The answer for one file: (1, [reason, content]) or (0, [content, module, index, words])."""
    _, module, package, place, stub = request
    try:
        data, _ = read_file(f"{root}/{place}")
    except (OSError, ValueError) as error:
        return 1, [(getattr(error, "strerror", None) or str(error)).encode(errors="backslashreplace"), b"", b"", b""]
    second = None
    if stub is not None:
        with contextlib.suppress(OSError, ValueError):  # found when it was looked at before, and said
            second = read_file(f"{root}/{stub}")[0]
    content = content_of(data, second)
    return read_bytes(str(module), data, second, content, package=bool(package))


def read_bytes(module: str, data: bytes, stub: bytes | None, content: str, *, package: bool) -> tuple[int, list[bytes]]:
    """The answer for a file of which the bytes are known."""
    try:
        entries = extracted(module, package=package, data=data, stub=stub)
    except UnreadableError as error:
        return 1, [str(error).encode("utf-8", "backslashreplace"), content.encode(), b"", b""]
    return 0, [content.encode(), *entries]


def main() -> None:
    """Answer until standard input ends."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    root = orjson.loads(_frame(source))
    sink.write(READY)
    sink.flush()
    while frame := _frame(source):
        for request in orjson.loads(frame):
            failed, parts = answer(root, request)
            sink.write(HEAD.pack(request[0], failed, *map(len, parts)))
            sink.writelines(parts)
            sink.flush()


def _frame(source: IO[bytes]) -> bytes:
    head = source.read(4)
    return source.read(int.from_bytes(head)) if len(head) == 4 else b""


if __name__ == "__main__":
    main()
