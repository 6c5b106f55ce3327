"""Risky constructs in the Python code of a checkout, found by bandit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from models.report import Finding, Severity, Skip
from tasks.result_cache import ResultCache, content_key
from tasks.scan.incremental import Examined, Memory, examine, kind_of, run_program
from tasks.scan.leaks import unread
from tasks.scan.looked import Looked, together
from tasks.scan.sources import Sources, shown

_HERE = Path(__file__).parent
_ENGINE = _HERE / "code_engine.py"
_PROGRAMS = (_HERE / "contents.py", _ENGINE, _HERE / "time_limit.py")
_SEVERITY = {
    ("HIGH", "HIGH"): Severity.high,
    ("HIGH", "MEDIUM"): Severity.medium,
    ("HIGH", "LOW"): Severity.low,
    ("MEDIUM", "HIGH"): Severity.medium,
    ("MEDIUM", "MEDIUM"): Severity.low,
    ("MEDIUM", "LOW"): Severity.info,
}
"""By bandit's severity and confidence. What it calls LOW (an assert, any subprocess) becomes one remark a checkout."""


async def find_risky_code(
    sources: Sources, *, digests: Mapping[str, bytes], cache: ResultCache, timeout_s: float
) -> Looked:
    """What bandit says of the Python files of `sources` that are not tests.

    Args:
        sources: what to look at.
        digests: what the files' contents were, by name.
        cache: what was said about contents before.
        timeout_s: seconds for it.
    """
    try:
        told = version("bandit")
    except PackageNotFoundError:
        return _unseen(sources, "bandit is not installed; install it.")
    ended = {"code": f"bandit {told}"}
    if not sources.python:
        return Looked(engines=ended)
    keys = {name: content_key(digests[name]) for name in sources.python if name in digests}
    examined = await examine(
        sources.python,
        keys,
        Memory(cache, kind_of("code", told, _PROGRAMS)),
        lambda batch: run_program(_ENGINE, {"root": str(sources.root), "files": batch}, timeout_s=timeout_s),
        keys_read=lambda _, read: (content_key(bytes.fromhex(read["digest"])),),
    )
    looked = judge_code(sources.checkout, examined)
    if not examined.broken:
        return Looked(looked.findings, looked.skipped, looked.metrics, ended)
    return together((looked, _unseen(sources, examined.broken[0])))


def judge_code(checkout: str, examined: Examined) -> Looked:
    """Findings and skips of what bandit said: one finding for each kind of risk in each file."""
    findings: list[Finding] = []
    remarks: dict[str, int] = defaultdict(int)
    failed = dict(examined.failed)
    for file, result in sorted(examined.results.items()):
        if "error" in result:
            failed[file] = str(result["error"])
        grouped: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for issue in result.get("issues", ()):
            if issue["issue_severity"] == "LOW":
                remarks[f"{issue['test_id']} {issue['test_name']}"] += 1
            else:
                grouped[issue["test_id"]].append(issue)
        findings += [_finding(checkout, shown(file), test, told) for test, told in sorted(grouped.items())]
    if remarks:
        findings.append(_remarks(checkout, remarks))
    hidden = [
        (f"{shown(file)}:{one['line_number']}", str(one["test_id"]))
        for file, result in sorted(examined.results.items())
        for one in result.get("hidden", ())
        if one["issue_severity"] != "LOW"  # of those, what is told is a number as well
    ]
    if hidden:
        findings.append(_hidden(checkout, hidden))
    return Looked(tuple(findings), tuple(unread(checkout, failed, said="The code was not looked at: ", kind="code")))


def _unseen(sources: Sources, reason: str) -> Looked:
    more = tuple(f"security.{kind}:{sources.checkout}" for kind in ("code_remarks", "code_hidden"))
    hides = (f"security.code:{sources.checkout}/", *more)
    skip = Skip(area="security", component=sources.checkout, reason=f"Code was not looked at: {reason}", hides=hides)
    return Looked(skipped=(skip,), engines={"code": f"did not run: {reason}"})


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


def _hidden(checkout: str, hidden: Sequence[tuple[str, str]]) -> Finding:
    tests = sorted({test for _, test in hidden})
    return Finding(
        key=f"security.code_hidden:{checkout}",
        severity=Severity.info,
        component=checkout,
        title=f"Comments keep bandit from telling {len(hidden)} of what it sees.",
        detail=f"`# nosec` at {', '.join(place for place, _ in hidden[:10])}; {', '.join(tests[:10])}.",
        remedy="Read the lines: whoever writes the code can silence what guards it. What is really no risk belongs to "
        "[[suppressions]] of lama.toml, with a reason and a last day.",
        evidence={"places": [place for place, _ in hidden[:100]], "tests": list(tests)},
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
