"""The program that searches files for the patterns of custom rules; a process of its own, started by path.

Its input is JSON with `root`, `files` (pairs of a name and the positions of the patterns that apply to it), `patterns`
and `seconds`; its output JSON with lines, never with the text that was found. A pattern that takes too long on a file
(there are such that would take for ever) is given up for good, and told.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from contents import TOO_LARGE, Reason, digest_of, read_content, text_of  # type: ignore[import-not-found]
from time_limit import Deadline, TooSlowError, limited  # type: ignore[import-not-found]

FILE_S = 2.0
"""Seconds for one pattern on one file."""


def main() -> None:
    """Read the order from stdin, write the result to stdout."""
    order = json.load(sys.stdin)
    patterns = [re.compile(pattern) for pattern in order["patterns"]]
    json.dump(apply(Path(order["root"]), order["files"], patterns, order["seconds"]), sys.stdout)


def apply(root: Path, files: list[Any], patterns: list[re.Pattern[str]], seconds: float) -> dict[str, Any]:
    """By file, the lines in which each pattern hits (`hits`, by its position), and the digest of what was read."""
    told: dict[str, Any] = {}
    failed: list[dict[str, str]] = []
    slow: dict[int, str] = {}
    deadline = Deadline(seconds)
    for name, applying in files:
        content = Reason(str(deadline)) if deadline.passed else read_content(root / name)
        text = content if isinstance(content, Reason) else text_of(content)
        if isinstance(text, Reason) and text is not TOO_LARGE:
            failed.append({"file": name, "reason": text.text})
            continue
        result: dict[str, Any] = {"large": True} if text is TOO_LARGE else {"hits": {}}
        lines = text.splitlines() if isinstance(text, str) else []
        for number in applying:
            if number not in slow:
                try:
                    with limited(FILE_S):
                        hits = [at for at, line in enumerate(lines, start=1) if patterns[number].search(line)]
                except TooSlowError:
                    slow[number] = name
                else:
                    result.get("hits", {})[str(number)] = hits
        whole = not slow or not any(number in slow for number in applying)
        told[name] = {"digest": digest_of(content).hex(), "result": result, "whole": whole}
    return {"told": told, "failed": failed, "slow": {str(number): name for number, name in slow.items()}}


if __name__ == "__main__":
    main()
