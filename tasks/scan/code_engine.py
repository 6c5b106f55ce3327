"""The program that looks for risky constructs in Python code with bandit; a process of its own, started by path.

Its input is JSON with `root`, `files` and `seconds`; its output JSON with what was found. bandit gets contents that
were read here, under one and the same name: so that what was hashed is what was looked at, no file of the checkout
switches its tests off, and what it says depends on nothing but the content.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from contents import TOO_LARGE, Reason, digest_of, read_content, text_of  # type: ignore[import-not-found]
from time_limit import Deadline, TooSlowError, limited  # type: ignore[import-not-found]

_FILE_S = 10.0
_NAME = "./code.py"
_COMMENT = b"nosec"
_PASSWORDS = frozenset({"B105", "B106", "B107"})


def main() -> None:
    """Read the order from stdin, write the result to stdout."""
    logging.disable(logging.CRITICAL)  # bandit's errors show lines of what it reads
    order = json.load(sys.stdin)
    json.dump(look(Path(order["root"]), order["files"], order["seconds"]), sys.stdout)


def look(root: Path, names: list[str], seconds: float) -> dict[str, Any]:
    """What is in the files `names` below `root`: by name, bandit's issues and the digest of what was read."""
    told: dict[str, Any] = {}
    failed: list[dict[str, str]] = []
    deadline = Deadline(seconds)
    for name in names:
        content = Reason(str(deadline)) if deadline.passed else read_content(root / name)
        result = content if isinstance(content, Reason) else examine(content)
        if isinstance(result, Reason):
            failed.append({"file": name, "reason": result.text})
        else:
            told[name] = {"digest": digest_of(content).hex(), "result": result}
    return {"told": told, "failed": failed}


def examine(content: bytes) -> dict[str, Any] | Reason:
    """Bandit's `issues` in one content and those that comments keep it from telling (`hidden`), or the `error` because
    of which there are none.
    """
    if text_of(content) is TOO_LARGE:
        return {"error": TOO_LARGE.text}
    manager = _bandit()
    try:
        with limited(_FILE_S):
            told = _issues(manager, content, ignore_nosec=False)
            everything = _issues(manager, content, ignore_nosec=True) if _COMMENT in content.lower() else told
    except TooSlowError:
        return Reason(f"bandit took longer than {_FILE_S:g} s.")
    except (RecursionError, MemoryError):
        return {"error": "bandit says: nested too deeply."}
    if manager.skipped:
        return {"error": f"bandit says: {manager.skipped[0][1]}."}
    known = {(issue["test_id"], issue["line_number"]) for issue in told}
    return {
        "issues": [_told(issue) for issue in told],
        "hidden": [
            {name: issue[name] for name in ("test_id", "line_number", "issue_severity")}
            for issue in everything
            if (issue["test_id"], issue["line_number"]) not in known
        ],
    }


def _issues(manager: Any, content: bytes, *, ignore_nosec: bool) -> list[dict[str, Any]]:
    manager.results.clear()
    manager.skipped.clear()
    manager.ignore_nosec = ignore_nosec
    manager._parse_file(_NAME, io.BytesIO(content), [_NAME])  # noqa: SLF001 - it reads files itself otherwise
    return [issue.as_dict(with_code=False) for issue in manager.get_issue_list()]


def _told(issue: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an issue. The texts of some tests repeat the password that they found; they are made anew."""
    kept = {name: issue[name] for name in ("test_id", "test_name", "issue_severity", "issue_confidence")}
    if issue["issue_severity"] == "LOW":  # those are counted only
        return kept
    text = "Possible hardcoded password." if issue["test_id"] in _PASSWORDS else str(issue["issue_text"])
    return {**kept, "issue_text": text, "line_number": issue["line_number"], "issue_cwe": issue.get("issue_cwe")}


@functools.cache
def _bandit() -> Any:
    from bandit.core.config import BanditConfig  # noqa: PLC0415
    from bandit.core.manager import BanditManager  # noqa: PLC0415

    return BanditManager(BanditConfig(), "file")


if __name__ == "__main__":
    main()
