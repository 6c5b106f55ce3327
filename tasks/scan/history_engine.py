"""The program that looks for secrets in the objects of a git repository; a process of its own, started by path.

Its input is JSON with `git` (the command up to its subcommand), `environment`, `blobs` (pairs of an object's id and a
name that it had), `salt` and `seconds`; its output JSON with what was found. Contents go from git to here by a pipe
and nowhere else. What git gives for an id is hashed again: a damaged object, or one made to deceive, is told.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).parent))

from contents import LARGEST, TOO_LARGE, Reason, text_of  # type: ignore[import-not-found]
from secret_engine import examine, ready  # type: ignore[import-not-found]
from time_limit import Deadline  # type: ignore[import-not-found]

_MEMORY = 8 << 30
"""Bytes of address space of git: a small object may claim to unpack to anything."""
_DEATHS = 5
_DRAINED = 64 << 20
"""Bytes of a large object that are read and thrown away; above that git is started again behind it."""


def main() -> None:
    """Read the order from stdin, write the result to stdout."""
    order = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with ready():
        json.dump(scan(order), sys.stdout)


def scan(order: dict[str, Any]) -> dict[str, Any]:
    """By object, what `secret_engine.examine` says of it."""
    told: dict[str, Any] = {}
    failed: list[dict[str, str]] = []
    deadline = Deadline(order["seconds"])
    salt = bytes.fromhex(order["salt"])
    left: list[list[str]] = order["blobs"]
    died = 0
    while left:
        done = 0
        for (oid, name), content in zip(left, _contents(order, [oid for oid, _ in left]), strict=False):
            done += 1
            result = content
            if isinstance(content, bytes):
                result = Reason(str(deadline)) if deadline.passed else examine(name, content, salt)
            elif content is TOO_LARGE:
                result = {"large": True}
            elif content is None:
                result = {"binary": True}
            if isinstance(result, Reason):
                failed.append({"blob": oid, "reason": result.text})
            else:
                told[oid] = result
            if deadline.passed:
                break
        left = left[done:]
        died = 0 if done else died + 1
        if deadline.passed or died == _DEATHS:
            reason = str(deadline) if deadline.passed else "git does not give it."
            failed += [{"blob": oid, "reason": reason} for oid, _ in left]
            break
        if not done:  # the first of them is what git died of
            failed.append({"blob": left[0][0], "reason": "git does not give it."})
            left = left[1:]
    return {"told": told, "failed": failed}


def _contents(order: dict[str, Any], oids: list[str]) -> Iterator[bytes | Reason | None]:
    """What git has under each id: the bytes, None for a large binary, or a `Reason`. May end early, after a large one.

    The protocol is that of git-cat-file's manual, section "Batch output".
    """
    command = [*order["git"], "cat-file", "--batch", "--buffer"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=order["environment"]
    )
    feeder = threading.Thread(target=_feed, args=(process.stdin, oids), daemon=True)
    feeder.start()
    try:
        out = process.stdout
        for oid in oids:
            words = (out.readline() if out else b"").split()
            if len(words) == 2:
                yield Reason("is not in this clone.")
                continue
            if len(words) != 3 or out is None:
                return
            size = int(words[2])
            content = out.read(min(size, LARGEST + 1))
            if size > LARGEST:
                yield TOO_LARGE if text_of(content) is TOO_LARGE else None
                if size > _DRAINED:
                    return
                _drain(out, size - len(content))
            else:
                yield content if _is(oid, content) and len(content) == size else Reason("is damaged.")
            out.read(1)
    finally:
        process.kill()
        feeder.join()
        if process.stdout:
            process.stdout.close()
        process.wait()


def _is(oid: str, content: bytes) -> bool:
    digest = hashlib.sha1(usedforsecurity=False) if len(oid) == 40 else hashlib.sha256()
    digest.update(b"blob %d\0" % len(content) + content)
    return digest.hexdigest() == oid


def _drain(stream: IO[bytes], size: int) -> None:
    while size > 0 and (chunk := stream.read(min(size, 1 << 20))):
        size -= len(chunk)


def _feed(stream: IO[bytes] | None, oids: list[str]) -> None:
    if stream is not None:
        with contextlib.suppress(OSError, ValueError), stream:  # git ended early: its silence is told
            stream.write("".join(f"{oid}\n" for oid in oids).encode())


if __name__ == "__main__":
    main()
