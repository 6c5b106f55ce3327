"""The program that looks for secrets in files with detect-secrets; a process of its own, started by path.

Its input is JSON with `root`, `files` and `salt`; its output JSON with what was found. A secret leaves it only as a
salted fingerprint: never in its output, its errors or its arguments.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import hmac
import io
import itertools
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

LARGEST = 2_000_000
"""Bytes of a text file; above that it is generated, or data."""
_FILE_S = 5.0
_LOCKS = frozenset(
    {
        *("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "Pipfile.lock", "package-lock.json", "yarn.lock"),
        *("npm-shrinkwrap.json", "pnpm-lock.yaml", "bun.lock", "Cargo.lock", "go.sum", "composer.lock", "Gemfile.lock"),
        *("flake.lock", "Podfile.lock", "packages.lock.json"),
    }
)
_GUESSED = frozenset({"Secret Keyword", "Base64 High Entropy String", "Hex High Entropy String"})
"""Kinds that are recognised by their surroundings or their disorder, not by their form."""
_WORD = re.compile(r"[a-z_.-]{1,12}")  # a name more often than a password
_NOISY = frozenset({"IPPublicDetector"})  # an address is not a secret


class _TooSlowError(Exception):
    pass


def main() -> None:
    """Read the order from stdin, write the result to stdout."""
    logging.disable(logging.CRITICAL)  # detect-secrets logs the values that its filters leave out
    order = json.load(sys.stdin)
    salt = bytes.fromhex(order["salt"])
    with _configured():
        from detect_secrets.settings import get_plugins  # noqa: PLC0415

        get_plugins()  # a detector that does not load must end this program, not be a remark about every file
        json.dump(scan(Path(order["root"]), order["files"], salt), sys.stdout)


def scan(root: Path, names: list[str], salt: bytes) -> dict[str, Any]:
    """What is in the files `names` below `root`."""
    found: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    binary = scanned = 0
    signal.signal(signal.SIGALRM, _too_slow)
    for name in names:
        if os.path.basename(name) in _LOCKS:  # noqa: PTH119 - thousands of names, no need of objects
            continue
        text = read_text(root / name)
        if text is None:
            binary += 1
        elif isinstance(text, Reason):
            failed.append({"file": name, "reason": text.text})
        else:
            scanned += 1
            signal.setitimer(signal.ITIMER_REAL, _FILE_S)
            try:
                # Whole before it is kept: half of a file is not looked at.
                secrets = list(_secrets(name, text))
            except _TooSlowError:
                failed.append({"file": name, "reason": f"took longer than {_FILE_S:g} s."})
            except Exception as error:  # noqa: BLE001 - a detector may fail in any way; its message may hold the secret
                failed.append({"file": name, "reason": f"could not be scanned ({type(error).__name__})."})
            else:
                found += [
                    {
                        "file": name,
                        "line": line,
                        "type": kind,
                        "fingerprint": fingerprint(value, salt),
                        "word": _WORD.fullmatch(value) is not None,
                    }
                    for line, kind, value in secrets
                ]
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    return {"found": found, "failed": failed, "binary": binary, "scanned": scanned}


class Reason:
    """Why a file has no text."""

    def __init__(self, text: str) -> None:
        self.text = text


def read_text(path: Path) -> str | Reason | None:
    """The text of a file; None of a binary one; a `Reason` when it was not read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        return Reason(f"cannot be read: {error.strerror}.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content[:8192]:
        return None
    if len(content) > LARGEST:
        return Reason(f"is larger than {LARGEST} bytes.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def fingerprint(value: str, salt: bytes) -> str:
    """What identifies a secret without telling it, to those who do not have the salt."""
    return hmac.new(salt, value.encode("utf-8", errors="surrogatepass"), hashlib.sha256).hexdigest()[:16]


def _secrets(name: str, text: str) -> Iterator[tuple[int, str, str]]:
    """As `detect_secrets.core.scan.scan_file`, but for text that we decoded: it leaves out what is not UTF-8."""
    from detect_secrets.core import scan as engine  # noqa: PLC0415
    from detect_secrets.transformers import get_transformed_file  # noqa: PLC0415

    file: Any = _NamedText(text)
    file.name = name
    plain = text.splitlines(keepends=True)
    for eager in (False, True):
        lines = get_transformed_file(file, use_eager_transformers=eager) or ([] if eager else plain)
        found = False
        for number in sorted(_candidates(lines)):
            # Of its context only the line before counts, and only when a pragma for the next line stands there.
            before = lines[number - 1] if number and "pragma" in lines[number - 1] else ""
            window = [(1, before), (2, lines[number])]
            told = [
                (secret.type, _whole(secret.type, secret.secret_value, lines[number]))
                for secret in engine._process_line_based_plugins(window, name)  # noqa: SLF001
                if secret.line_number == 2 and secret.secret_value
            ]
            found = found or bool(told)
            known = [value for kind, value in told if kind not in _GUESSED]
            for kind, value in sorted(told):
                # One secret, seen by its form and again by its disorder, is one.
                if kind not in _GUESSED or not any(value in other or other in value for other in known):
                    yield number + 1, kind, value
        if found:
            return


def _whole(kind: str, value: str, line: str) -> str:
    """The secret of which a detector gave only a part: of a GitHub token it gives `ghp`, as its pattern groups that."""
    if len(value) >= 8:
        return value
    for pattern in _denylist(kind):
        for match in pattern.finditer(line):
            if value in match.groups():
                return match.group(0)
    return value


@functools.cache
def _denylist(kind: str) -> tuple[re.Pattern[str], ...]:
    from detect_secrets.plugins.base import RegexBasedDetector  # noqa: PLC0415
    from detect_secrets.settings import get_plugins  # noqa: PLC0415

    plugins = [plugin for plugin in get_plugins() if plugin.secret_type == kind]
    return tuple(regex for plugin in plugins if isinstance(plugin, RegexBasedDetector) for regex in plugin.denylist)


def _candidates(lines: list[str]) -> set[int]:
    """Indices of the lines in which any detector could find anything.

    detect-secrets asks every detector and every filter about every line, which takes a second for a thousand lines.
    Searching the text as a whole for what each detector begins with is a hundred times faster; the few lines with a
    hit then go through detect-secrets itself.
    """
    text = "".join(lines)
    begins = list(itertools.accumulate(map(len, lines), initial=0))
    marked: set[int] = set()
    for pattern in _patterns():
        if pattern is None:
            return set(range(len(lines)))
        for match in pattern.finditer(text):
            first = bisect.bisect_right(begins, match.start()) - 1
            last = bisect.bisect_right(begins, max(match.end() - 1, match.start())) - 1
            marked.update(range(first, last + 1))
    return {number for number in marked if number < len(lines)}


@functools.cache
def _patterns() -> list[re.Pattern[str] | None]:
    """What to search a text for; None for a detector of a kind that we do not know: it must see every line."""
    from detect_secrets.plugins.base import RegexBasedDetector  # noqa: PLC0415
    from detect_secrets.plugins.high_entropy_strings import HighEntropyStringsPlugin  # noqa: PLC0415
    from detect_secrets.plugins.keyword import DENYLIST, KeywordDetector  # noqa: PLC0415
    from detect_secrets.settings import get_plugins  # noqa: PLC0415

    patterns: list[re.Pattern[str] | None] = []
    for plugin in get_plugins():
        if isinstance(plugin, KeywordDetector):
            patterns.append(re.compile("|".join(DENYLIST), re.IGNORECASE))
        elif isinstance(plugin, HighEntropyStringsPlugin):
            # Text of n different characters has an entropy of log2(n) at most, so shorter ones stay below the limit.
            least = int(2**plugin.entropy_limit)
            patterns.append(re.compile(plugin.regex.pattern.replace("]+)", f"]{{{least},}})"), plugin.regex.flags))
        elif isinstance(plugin, RegexBasedDetector):
            # `^` and `$` mean the ends of a line there, and of the whole text here.
            patterns += [re.compile(regex.pattern, regex.flags | re.MULTILINE) for regex in plugin.denylist]
        else:
            patterns.append(None)
    return patterns


class _NamedText(io.StringIO):
    name = ""


def _configured() -> Any:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class  # noqa: PLC0415
    from detect_secrets.settings import transient_settings  # noqa: PLC0415

    kinds: dict[str, type] = get_mapping_from_secret_type_to_class()
    names = sorted({plugin.__name__ for plugin in kinds.values()} - _NOISY)
    get_mapping_from_secret_type_to_class.cache_clear()  # so that ours are looked for
    own = f"file://{Path(__file__).with_name('secret_detectors.py')}"  # a path, though it looks like an address
    ours = ["LettaDetector", "GoogleDetector", "NotionDetector", "TaskadeDetector", "PrefectDetector"]
    plugins = [*({"name": name} for name in names), *({"name": name, "path": own} for name in ours)]
    return transient_settings({"plugins_used": plugins})


def _too_slow(_number: int, _frame: FrameType | None) -> None:
    raise _TooSlowError


if __name__ == "__main__":
    main()
