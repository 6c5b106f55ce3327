"""The program that looks for secrets in files with detect-secrets; a process of its own, started by path.

Its input is JSON with `root`, `files`, `salt` and `seconds`; its output JSON with what was found. A secret leaves it
only as a salted fingerprint: never in its output, its errors or its arguments.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from contents import Reason, digest_of, read_content, text_of  # type: ignore[import-not-found]
from secret_search import LineSearch  # type: ignore[import-not-found]
from secret_worth import is_made_up  # type: ignore[import-not-found]
from time_limit import Deadline, TooSlowError, limited  # type: ignore[import-not-found]

_FILE_S = 5.0
_GUESSED = frozenset(
    (
        *("Secret Keyword", "Token by Its Name", "Hexadecimal Token by Its Name", "Password in Text"),
        *("Base64 High Entropy String", "Hex High Entropy String"),
    )
)
"""Kinds that are recognised by their surroundings or their disorder, not by their form."""
_KEY_BODY = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
_SETTINGS = re.compile(r"(?:^|/)(?:\.env[^/]*|[^/]*\.env|\.envrc|[^/]*\.(?:ba|z|k)?sh|(?:Docker|Container)file[^/]*)$")
_PRAGMA = re.compile(r"pragma:?[ \t]*(?:white|allow)list", re.IGNORECASE)
_PIECE = 4000
_OVERLAP = 1200
"""Characters: as long as a token with a signature gets."""
_NOISY = frozenset({"IPPublicDetector"})  # an address is not a secret


def main() -> None:
    """Read the order from stdin, write the result to stdout."""
    order = json.load(sys.stdin)
    with ready():
        json.dump(scan(Path(order["root"]), order["files"], bytes.fromhex(order["salt"]), order["seconds"]), sys.stdout)


def scan(root: Path, names: list[str], salt: bytes, seconds: float) -> dict[str, Any]:
    """What is in the files `names` below `root`: by name, what `examine` says and the digest of what was read."""
    told: dict[str, Any] = {}
    failed: list[dict[str, str]] = []
    deadline = Deadline(seconds)
    for name in names:
        content = Reason(str(deadline)) if deadline.passed else read_content(root / name)
        result = content if isinstance(content, Reason) else examine(name, content, salt)
        if isinstance(result, Reason) or isinstance(content, Reason):
            failed.append({"file": name, "reason": getattr(result, "text", "")})
        else:
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)  # as git names it
            told[name] = {"digest": digest_of(content).hex(), "blob": blob.hexdigest(), "result": result}
    return {"told": told, "failed": failed}


@contextlib.contextmanager
def ready() -> Iterator[None]:
    """detect-secrets with its detectors and ours, and silent: it logs the values that its filters leave out."""
    logging.disable(logging.CRITICAL)
    with _configured():
        from detect_secrets.settings import get_plugins  # noqa: PLC0415

        get_plugins()  # a detector that does not load must end this program, not be a remark about every file
        yield


def examine(name: str, content: bytes, salt: bytes) -> dict[str, Any] | Reason:
    """What is in one content, which depends on nothing else: it may be remembered.

    Returns:
        One of `found` (what it holds, beside `hidden`: what comments allow), `binary` and `large`; a `Reason` where it
        could not be looked at this time.
    """
    text = text_of(content)
    if text is None:
        return {"binary": True}
    if isinstance(text, Reason):
        return {"large": True}
    try:
        with limited(_FILE_S):  # whole before it is kept: half of a file is not looked at
            # Code in a notebook is in strings of JSON, and its quotes are escaped there.
            text = text.replace('\\"', '"') if name.endswith(".ipynb") else text
            secrets = list(_secrets(_known_as(name), text))
            hidden = list(_hidden(_known_as(name), text)) if _PRAGMA.search(text) else []
    except TooSlowError:
        return Reason(f"took longer than {_FILE_S:g} s.")
    except Exception as error:  # noqa: BLE001 - a detector may fail in any way; its message may hold the secret
        return Reason(f"could not be scanned ({type(error).__name__}).")
    return {
        "found": [
            {"line": line, "type": kind, "fingerprint": fingerprint(value, salt), "weak": weak}
            for line, kind, value, weak in secrets
        ],
        "hidden": [{"line": line, "type": kind} for line, kind in hidden],
    }


def fingerprint(value: str, salt: bytes) -> str:
    """What identifies a secret without telling it, to those who do not have the salt."""
    return hmac.new(salt, value.encode("utf-8", errors="surrogatepass"), hashlib.sha256).hexdigest()[:16]


def _known_as(name: str) -> str:
    """The name by which detect-secrets knows how values are written in a file: it takes only some for settings."""
    return f"{name}.toml" if _SETTINGS.search(name) else name


def _secrets(name: str, text: str) -> Iterator[tuple[int, str, str, bool]]:
    """Line, kind, value and whether it is weak, of each secret.

    As `detect_secrets.core.scan.scan_file`, but for text that we decoded: it leaves out what is not UTF-8.
    """
    from detect_secrets.transformers import get_transformed_file  # noqa: PLC0415

    file: Any = _NamedText(text)
    file.name = name
    plain = text.splitlines(keepends=True)
    for eager in (False, True):
        lines = get_transformed_file(file, use_eager_transformers=eager) or ([] if eager else plain)
        found = False
        for number in sorted(_search().lines(lines)):
            # Of its context only the line before counts, and only when a pragma for the next line stands there.
            before = lines[number - 1] if number and "pragma" in lines[number - 1] else ""
            told = _told(name, lines[number], before)
            found = found or bool(told)
            known = [value for kind, value in told if kind not in _GUESSED]
            for kind, value in sorted(told):
                # One secret, seen by its form and again by its disorder, is one.
                if kind not in _GUESSED or not any(value in other or other in value for other in known):
                    yield number + 1, kind, *_weighed(kind, value, lines, number)
        if found:
            return


def _hidden(name: str, text: str) -> Iterator[tuple[int, str]]:
    """Line and kind of what would be told, were there no comment that allows it; what seems made up is left out."""
    lines = text.splitlines(keepends=True)
    allowing = {number for number, line in enumerate(lines) if _PRAGMA.search(line)}
    allowed = sorted((allowing | {number + 1 for number in allowing}) & set(range(len(lines))))
    bare = [_PRAGMA.sub("comment", lines[number]) for number in allowed]
    for index in sorted(_search().lines(bare)):
        number = allowed[index]
        told = {value for _, value in _told(name, lines[number], lines[number - 1] if number else "")}
        for kind, value in sorted(_told(name, bare[index], "")):
            if value not in told and kind not in _GUESSED and not _weighed(kind, value, lines, number)[1]:
                yield number + 1, kind


def _told(name: str, line: str, before: str) -> list[tuple[str, str]]:
    """Kind and value of what the detectors say of one line."""
    from detect_secrets.core import scan as engine  # noqa: PLC0415

    told = {
        (secret.type, _whole(secret.type, secret.secret_value, piece))
        for piece in _pieces(name, line)
        for secret in engine._process_line_based_plugins([(1, before), (2, piece)], name)  # noqa: SLF001
        if secret.line_number == 2 and secret.secret_value
    }
    if len(line) <= _PIECE:
        return list(told)
    # What the end of a piece cuts off is whole in the next one.
    return [(kind, value) for kind, value in told if not any(k == kind and value != v and value in v for k, v in told)]


def _pieces(name: str, line: str) -> list[str]:
    """A line, or overlapping pieces of a long one: detect-secrets takes minutes for a megabyte without line breaks."""
    if len(line) <= _PIECE:
        return [line]
    if "pragma" in line:
        from detect_secrets.filters.allowlist import is_line_allowlisted  # noqa: PLC0415
        from detect_secrets.util.code_snippet import get_code_snippet  # noqa: PLC0415

        if is_line_allowlisted(name, line, get_code_snippet([line], 1)):
            return []
    pieces = (line[begin : begin + _PIECE] for begin in range(0, len(line), _PIECE - _OVERLAP))
    return [piece for piece in pieces if _search().lines([piece])]


def _weighed(kind: str, value: str, lines: list[str], number: int) -> tuple[str, bool]:
    """The value that tells this secret from others, and whether it is one only perhaps."""
    if kind != "Private Key":
        return value, is_made_up(kind, value)
    # What was found is the head that all keys have in common.
    after = "".join(lines[number : number + 100]).partition(value)[2].partition("-----END")[0]
    body = "".join(_KEY_BODY.findall(after))
    return value + body, not body


def _whole(kind: str, value: str, line: str) -> str:
    """The secret of which a detector gave only a part: of a GitHub token it gives `ghp`, as its pattern groups that."""
    if len(value) >= 8:
        return value
    for pattern in _denylist(kind):
        for match in pattern.finditer(line):
            if value in match.groups() and match.group(0).startswith(value):
                return match.group(0)
    return value


@functools.cache
def _denylist(kind: str) -> tuple[re.Pattern[str], ...]:
    from detect_secrets.plugins.base import RegexBasedDetector  # noqa: PLC0415
    from detect_secrets.settings import get_plugins  # noqa: PLC0415

    plugins = [plugin for plugin in get_plugins() if plugin.secret_type == kind]
    return tuple(regex for plugin in plugins if isinstance(plugin, RegexBasedDetector) for regex in plugin.denylist)


@functools.cache
def _search() -> LineSearch:
    """The search for lines in which any of the detectors could find anything."""
    from detect_secrets.plugins.base import RegexBasedDetector  # noqa: PLC0415
    from detect_secrets.plugins.high_entropy_strings import HighEntropyStringsPlugin  # noqa: PLC0415
    from detect_secrets.plugins.keyword import DENYLIST, KeywordDetector  # noqa: PLC0415
    from detect_secrets.settings import get_plugins  # noqa: PLC0415

    patterns: list[re.Pattern[str] | None] = []
    for plugin in get_plugins():
        if isinstance(plugin, KeywordDetector):
            patterns += [re.compile(word, re.IGNORECASE) for word in DENYLIST]
        elif isinstance(plugin, HighEntropyStringsPlugin):
            # Text of n different characters has an entropy of log2(n) at most, so shorter ones stay below the limit.
            least = int(2**plugin.entropy_limit)
            patterns.append(re.compile(plugin.regex.pattern.replace("]+)", f"]{{{least},}})"), plugin.regex.flags))
        elif isinstance(plugin, RegexBasedDetector):
            patterns += plugin.denylist
        else:
            patterns.append(None)  # a kind that we do not know: it must see every line
    return LineSearch(patterns)


class _NamedText(io.StringIO):
    name = ""


def _configured() -> Any:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class  # noqa: PLC0415
    from detect_secrets.settings import transient_settings  # noqa: PLC0415

    kinds: dict[str, type] = get_mapping_from_secret_type_to_class()
    names = sorted({plugin.__name__ for plugin in kinds.values()} - _NOISY)
    get_mapping_from_secret_type_to_class.cache_clear()  # so that ours are looked for
    own = f"file://{Path(__file__).with_name('secret_detectors.py')}"  # a path, though it looks like an address
    sys.modules.pop("secret_detectors", None)
    from secret_detectors import OWN  # type: ignore[import-not-found]  # noqa: PLC0415

    plugins = [*({"name": name} for name in names), *({"name": name, "path": own} for name in OWN)]
    return transient_settings({"plugins_used": plugins})


if __name__ == "__main__":
    main()
