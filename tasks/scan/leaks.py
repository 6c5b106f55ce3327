"""Secrets in the files of a checkout, found by detect-secrets and by detectors of our own; never their values."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from blocks.errors import UnavailableError
from models.report import Finding, Severity, Skip
from tasks.engine import run_engine
from tasks.scan.looked import Looked
from tasks.scan.sources import Sources, is_test

_ENGINE = Path(__file__).with_name("secret_engine.py")
_WEAK = {
    "Secret Keyword": Severity.medium,
    "Basic Auth Credentials": Severity.medium,
    "JSON Web Token": Severity.medium,
    "Base64 High Entropy String": Severity.low,
    "Hex High Entropy String": Severity.low,
}
"""Kinds that are recognised by their surroundings and not by their form: often look-alikes."""


async def find_leaks(sources: Sources, salt: str, *, timeout_s: float) -> Looked:
    """The secrets in `sources`. `salt` makes their fingerprints useless to those who do not have it."""
    if not sources.files:
        return Looked()
    # The salt goes by stdin: arguments and environment of a process can be seen by others.
    key = hashlib.sha256(salt.encode()).hexdigest()
    order = json.dumps({"root": str(sources.root), "files": sources.files, "salt": key}).encode(
        "utf-8", "surrogatepass"
    )
    try:
        # Isolated (-I): a module in the working directory or in PYTHONPATH must not stand in for a library's.
        command = [sys.executable, "-I", "-X", "utf8", str(_ENGINE)]
        outcome = await run_engine(command, timeout_s=timeout_s, stdin=order)
    except UnavailableError as error:
        return Looked(skipped=(_unseen(sources, f"{error.component} {error.what}"),))
    if outcome.code != 0:  # its stderr is not told: a traceback shows lines of what it was reading
        return Looked(skipped=(_unseen(sources, f"detect-secrets ended with code {outcome.code}."),))
    return judge_leaks(sources.checkout, json.loads(outcome.stdout))


def judge_leaks(checkout: str, result: Mapping[str, Any]) -> Looked:
    """Findings and skips of what the engine reported: one finding for each secret in each file."""
    places: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for found in result["found"]:
        places[found["file"], found["fingerprint"]].append(found)
    findings: list[Finding] = []
    alike: dict[str, set[int]] = defaultdict(set)
    for (file, fingerprint), told in sorted(places.items()):
        # Several detectors may see one and the same secret: the one that knows its form says best what it is.
        kind = min({one["type"] for one in told}, key=lambda name: (name in _WEAK, name))
        lines = sorted({int(one["line"]) for one in told})
        if is_test(file) and kind in _WEAK:
            alike[file] |= set(lines)
            continue
        findings.append(_finding(checkout, file, fingerprint, kind, lines, word=all(one["word"] for one in told)))
    if alike:
        findings.append(_alike(checkout, alike))
    metrics = {
        "security_scanned_files_total": float(result["scanned"]),
        "security_binary_files_total": float(result["binary"]),
    }
    return Looked(tuple(findings), tuple(_unread(checkout, result["failed"])), metrics)


def _finding(checkout: str, file: str, fingerprint: str, kind: str, lines: list[int], *, word: bool) -> Finding:
    severity = _WEAK.get(kind, Severity.low if is_test(file) else Severity.high)
    if kind == "Secret Keyword" and word:
        severity = Severity.low
    return Finding(
        key=f"security.secret:{checkout}/{file}/{fingerprint}",
        severity=severity,
        component=checkout,
        title=f"{file} holds what looks like a secret: {kind}.",
        detail=f"Line {', '.join(map(str, lines[:10]))}. The value is not told here.",
        remedy="Withdraw it where it was issued, take it out, and keep the new one in an environment variable or a "
        "block. No secret after all? Then say so at the line's end: `pragma: allowlist secret`.",
        evidence={"file": file, "lines": list(lines[:50]), "type": kind, "fingerprint": fingerprint},
    )


def _alike(checkout: str, alike: Mapping[str, set[int]]) -> Finding:
    count = sum(map(len, alike.values()))
    return Finding(
        key=f"security.secret_alike:{checkout}",
        severity=Severity.info,
        component=checkout,
        title=f"{count} lines of tests, examples and documents look like passwords.",
        detail="Made up, most likely; see that none of them is a real one.",
        remedy="Mark those that are made up with `pragma: allowlist secret`.",
        evidence={"places": [f"{file}:{line}" for file in sorted(alike) for line in sorted(alike[file])][:100]},
    )


def _unread(checkout: str, failed: Iterable[Mapping[str, str]]) -> Iterable[Skip]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for one in failed:
        reasons[one["reason"]].append(one["file"])
    for reason, files in sorted(reasons.items()):
        more = f" and {len(files) - 5} more" if len(files) > 5 else ""
        yield Skip(
            area="security",
            component=f"{checkout}: {', '.join(files[:5])}{more}",
            reason=f"Not searched for secrets: {reason}",
            hides=tuple(f"security.secret:{checkout}/{file}/" for file in files[:200]),
        )


def _unseen(sources: Sources, reason: str) -> Skip:
    return Skip(
        area="security",
        component=sources.checkout,
        reason=f"Not searched for secrets: {reason}",
        hides=(f"security.secret:{sources.checkout}/", f"security.secret_alike:{sources.checkout}"),
    )
