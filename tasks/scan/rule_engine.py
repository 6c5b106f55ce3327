"""The program that searches files for the patterns of custom rules; a process of its own, started by path.

Its input is JSON with `root`, `files` and `rules`; its output JSON with lines, never with the text that was found.
A pattern that takes too long (there are such that would take for ever) is given up, and told.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from secret_engine import Reason, read_text  # type: ignore[import-not-found]

RULE_S = 5.0
"""Seconds for one rule on all files."""


class _TooSlowError(Exception):
    pass


def main() -> None:
    """Read the order from stdin, write the result to stdout."""
    order = json.load(sys.stdin)
    json.dump(apply(Path(order["root"]), order["files"], order["rules"]), sys.stdout)


def apply(root: Path, names: list[str], rules: list[dict[str, Any]]) -> dict[str, Any]:
    """Where the rules hit in the files `names` below `root`."""
    signal.signal(signal.SIGALRM, _too_slow)
    found: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    slow: dict[str, str] = {}
    texts: dict[str, str | None] = {}
    for rule in rules:
        pattern = re.compile(rule["pattern"])
        globs = [glob_pattern(glob) for glob in rule["paths"]]
        current = ""
        try:
            signal.setitimer(signal.ITIMER_REAL, RULE_S)
            for name in names:
                current = name
                if not any(glob.fullmatch(name) for glob in globs):
                    continue
                if name not in texts:
                    texts[name] = _text(root / name, name, failed)
                for number, line in enumerate((texts[name] or "").splitlines(), start=1):
                    if pattern.search(line):
                        found.append({"rule": rule["id"], "file": name, "line": number})
        except _TooSlowError:
            slow[rule["id"]] = f"at {current}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return {"found": found, "failed": [{"file": name, "reason": why} for name, why in failed.items()], "slow": slow}


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression: `*` and `?` within one folder, `**` over any number of them."""
    text = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", glob):
        text += {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}.get(part, re.escape(part))
    return re.compile(text, re.DOTALL)


def _text(path: Path, name: str, failed: dict[str, str]) -> str | None:
    text = read_text(path)
    if isinstance(text, Reason):
        failed[name] = text.text
        return None
    return text  # type: ignore[no-any-return]


def _too_slow(_number: int, _frame: FrameType | None) -> None:
    raise _TooSlowError


if __name__ == "__main__":
    main()
