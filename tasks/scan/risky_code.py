"""Risky constructs in the Python code of a checkout, found by bandit."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from blocks.errors import UnavailableError
from models.report import Finding, Severity, Skip
from tasks.engine import run_engine
from tasks.scan.looked import Looked
from tasks.scan.sources import Sources

_ARGUMENTS = 100_000  # bytes of file names in one command; systems allow little more than 128 KiB in one string
_SEVERITY = {
    ("HIGH", "HIGH"): Severity.high,
    ("HIGH", "MEDIUM"): Severity.medium,
    ("HIGH", "LOW"): Severity.low,
    ("MEDIUM", "HIGH"): Severity.medium,
    ("MEDIUM", "MEDIUM"): Severity.low,
    ("MEDIUM", "LOW"): Severity.info,
}
"""By bandit's severity and confidence. What it calls LOW (an assert, any subprocess) becomes one remark a checkout."""


async def find_risky_code(sources: Sources, *, timeout_s: float) -> Looked:
    """What bandit says of the Python files of `sources` that are not tests."""
    if not sources.python:
        return Looked()
    try:
        results = await asyncio.gather(*(_bandit(sources, part, timeout_s) for part in _parts(sources.python)))
    except UnavailableError as error:
        reason = f"Code was not looked at: {error.component} {error.what}"
        hides = (f"security.code:{sources.checkout}/", f"security.code_remarks:{sources.checkout}")
        return Looked(skipped=(Skip(area="security", component=sources.checkout, reason=reason, hides=hides),))
    return judge_code(
        sources.checkout,
        [issue for result in results for issue in result["results"]],
        [error for result in results for error in result["errors"]],
    )


def judge_code(checkout: str, issues: Iterable[Mapping[str, Any]], errors: Iterable[Mapping[str, Any]]) -> Looked:
    """Findings and skips of what bandit reported: one finding for each kind of risk in each file."""
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    remarks: dict[str, int] = defaultdict(int)
    for issue in issues:
        if issue["issue_severity"] == "LOW":
            remarks[f"{issue['test_id']} {issue['test_name']}"] += 1
        else:
            grouped[_relative(issue["filename"]), issue["test_id"]].append(issue)
    findings = [_finding(checkout, file, test, told) for (file, test), told in sorted(grouped.items())]
    if remarks:
        findings.append(_remarks(checkout, remarks))
    unread: dict[str, list[str]] = defaultdict(list)
    for error in errors:
        unread[" ".join(str(error["reason"]).split())[:200]].append(_relative(str(error["filename"])))
    skipped = tuple(
        Skip(
            area="security",
            component=f"{checkout}: {', '.join(files[:5])}" + (f" and {len(files) - 5} more" if files[5:] else ""),
            reason=f"The code was not looked at: bandit says {reason}.",
            hides=tuple(f"security.code:{checkout}/{file}/" for file in files[:200]),
        )
        for reason, files in sorted(unread.items())
    )
    return Looked(tuple(findings), skipped)


async def _bandit(sources: Sources, files: Sequence[str], timeout_s: float) -> dict[str, Any]:
    # Isolated (-I), so that a module in the checkout cannot stand in for one of bandit's; files and not the folder,
    # so that a `.bandit` file in the checkout cannot switch its tests off.
    command = [sys.executable, "-I", "-X", "utf8", "-m", "bandit", "--format", "json", "--quiet", "--exit-zero"]
    # bandit leaves out what matches its default exclusions anywhere in the path; the checkout may lie below such.
    command += ["--exclude", "/nowhere", *(f"./{file}" for file in files)]
    outcome = await run_engine(command, timeout_s=timeout_s, cwd=sources.root)
    try:
        result = json.loads(outcome.stdout)
        seen = {_relative(name) for name in result["metrics"]}
        seen |= {_relative(str(error["filename"])) for error in result["errors"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnavailableError(f"gave no readable result (code {outcome.code}).", component="bandit") from error
    result["errors"] += [{"filename": file, "reason": "nothing about it"} for file in files if file not in seen]
    return dict(result)


def _parts(files: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for file in files:
        size += len(file.encode("utf-8", "surrogatepass")) + 3
        if part and size > _ARGUMENTS:
            yield part
            part, size = [], len(file)
        part.append(file)
    if part:
        yield part


def _finding(checkout: str, file: str, test: str, told: Sequence[Mapping[str, Any]]) -> Finding:
    graded = [_SEVERITY.get((one["issue_severity"], one["issue_confidence"]), Severity.unknown) for one in told]
    if test.startswith("B4"):  # the import of a module that can be used badly: a hint, not yet a risk
        graded = [Severity.low]
    lines = sorted({int(one["line_number"]) for one in told})
    return Finding(
        key=f"security.code:{checkout}/{file}/{test}",
        severity=max(graded, key=lambda severity: severity.rank),
        component=checkout,
        title=f"{file}: {str(told[0]['issue_text']).splitlines()[0][:200]}",
        detail=f"Line {', '.join(map(str, lines[:10]))}; {test} {told[0]['test_name']}.",
        remedy=f"Change it, or say at the line why it is safe: `# nosec {test}`.",
        evidence={
            "file": file,
            "lines": list(lines[:50]),
            "test": test,
            "cwe": (told[0].get("issue_cwe") or {}).get("id"),
        },
    )


def _remarks(checkout: str, remarks: Mapping[str, int]) -> Finding:
    return Finding(
        key=f"security.code_remarks:{checkout}",
        severity=Severity.info,
        component=checkout,
        title=f"bandit has {sum(remarks.values())} remarks of low severity.",
        detail="Places to think about, such as processes that are started; few of them are mistakes.",
        remedy="Read them once with `bandit -r`.",
        evidence=dict(sorted(remarks.items())),
    )


def _relative(name: str) -> str:
    return os.path.normpath(name)  # bandit puts `./` before whatever it is given
