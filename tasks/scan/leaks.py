"""Secrets in the files of a checkout, found by detect-secrets and by detectors of our own; never their values."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from models.report import Finding, Severity, Skip
from tasks.result_cache import ResultCache, content_key
from tasks.scan.contents import LARGEST
from tasks.scan.incremental import Examined, Memory, examine, kind_of, run_program
from tasks.scan.looked import Looked
from tasks.scan.sources import Sources, is_lock, is_test, shown

_HERE = Path(__file__).parent
_ENGINE = _HERE / "secret_engine.py"
_PARTS = ("contents", "secret_engine", "secret_search", "secret_detectors", "secret_worth", "time_limit")
_PROGRAMS = tuple(_HERE / f"{name}.py" for name in _PARTS)
WEAK = {
    "Secret Keyword": Severity.medium,
    "Token by Its Name": Severity.medium,
    "Hexadecimal Token by Its Name": Severity.medium,
    "Password in Text": Severity.medium,
    "Basic Auth Credentials": Severity.medium,
    "JSON Web Token": Severity.medium,
    "Base64 High Entropy String": Severity.low,
    "Hex High Entropy String": Severity.low,
}
"""Kinds that are recognised by their surroundings and not by their form: often look-alikes."""


def secret_memory(cache: ResultCache, salt: str) -> Memory:
    """What was said about contents before, with this salt: fingerprints depend on it.

    Raises:
        importlib.metadata.PackageNotFoundError: detect-secrets is not installed.
    """
    return Memory(cache, kind_of("secrets", version("detect-secrets"), _PROGRAMS, bytes.fromhex(salt_key(salt))))


def salt_key(salt: str) -> str:
    """The key of fingerprints, in hexadecimal: useless to those who do not have `salt`."""
    return hashlib.sha256(salt.encode()).hexdigest()


def blob_key(blob: str, name: str) -> bytes:
    """The key of what was said about an object of git that had this name."""
    return content_key(b"blob", bytes.fromhex(blob), name.encode("utf-8", "surrogatepass"))


async def find_leaks(
    sources: Sources, salt: str, *, digests: Mapping[str, bytes], cache: ResultCache, timeout_s: float
) -> tuple[Looked, frozenset[str]]:
    """The secrets in `sources`, and the fingerprints of all of them, told or not.

    Args:
        sources: what to look at.
        salt: makes fingerprints useless to those who do not have it.
        digests: what the files' contents were, by name.
        cache: what was said about contents before.
        timeout_s: seconds for it.
    """
    names = [name for name in sources.files if not is_lock(name)]
    try:
        memory = secret_memory(cache, salt)
        ended = {"secrets": f"detect-secrets {version('detect-secrets')}"}
    except PackageNotFoundError:
        return unseen(sources, "detect-secrets is not installed; install it."), frozenset()
    if not names:
        return Looked(engines=ended), frozenset()

    def key(name: str, digest: bytes) -> bytes:  # its name says how a file is written
        return content_key(digest, name.encode("utf-8", "surrogatepass"))

    examined = await examine(
        names,
        {name: key(name, digests[name]) for name in names if name in digests},
        memory,
        lambda batch: run_program(
            _ENGINE, {"root": str(sources.root), "files": batch, "salt": salt_key(salt)}, timeout_s=timeout_s
        ),
        keys_read=lambda name, told: (key(name, bytes.fromhex(told["digest"])), blob_key(told["blob"], name)),
    )
    fingerprints = {found["fingerprint"] for one in examined.results.values() for found in one.get("found", ())}
    looked = judge_leaks(sources, examined)
    if examined.broken:
        ended = {"secrets": f"did not run to its end: {examined.broken[0]}"}
    return Looked(looked.findings, looked.skipped, looked.metrics, ended), frozenset(fingerprints)


def judge_leaks(sources: Sources, examined: Examined) -> Looked:
    """Findings and skips of what is known about the files: one finding for each secret in each file."""
    findings: list[Finding] = []
    alike: dict[str, set[int]] = {}
    for file, result in sorted(examined.results.items()):
        places: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for found in result.get("found", ()):
            places[found["fingerprint"]].append(found)
        for fingerprint, told in sorted(places.items()):
            kind = kind_said_best(told)
            lines = sorted({int(one["line"]) for one in told})
            if is_test(file) and kind in WEAK:
                alike.setdefault(shown(file), set()).update(lines)
                continue
            findings.append(_finding(sources.checkout, file, fingerprint, kind, lines, grade(kind, file, told)))
    if alike:
        findings.append(_alike(sources.checkout, alike))
    hidden = {
        (f"{shown(file)}:{one['line']}", str(one["type"]))
        for file, result in examined.results.items()
        for one in result.get("hidden", ())
    }
    if hidden:
        findings.append(_hidden(sources.checkout, sorted(hidden)))
    failed = dict(examined.failed)
    failed |= {name: f"is larger than {LARGEST} bytes." for name, one in examined.results.items() if "large" in one}
    binary = sum("binary" in one for one in examined.results.values())
    metrics = {
        "security_scanned_files_total": float(sum("found" in one for one in examined.results.values())),
        "security_binary_files_total": float(binary),
    }
    skipped = [*unread(sources.checkout, failed, said="Not searched for secrets: ", kind="secret")]
    if examined.broken:
        skipped += unseen(sources, examined.broken[0]).skipped
    return Looked(tuple(findings), tuple(skipped), metrics)


def kind_said_best(told: Iterable[Mapping[str, Any]]) -> str:
    """Several detectors may see one and the same secret: the one that knows its form says best what it is."""
    kinds = {str(one["type"]) for one in told}
    return min(kinds, key=lambda name: (name in WEAK, -WEAK.get(name, Severity.high).rank, name))


def grade(kind: str, file: str, told: Iterable[Mapping[str, Any]]) -> Severity:
    """How much a secret matters, by its kind and by where it is."""
    if all(one["weak"] for one in told):
        return Severity.low
    # Examples and tests are copied and read like everything else: what is no look-alike is no less a secret there.
    return WEAK.get(kind, Severity.medium if is_test(file) else Severity.high)


def unseen(sources: Sources, reason: str) -> Looked:
    """Nothing, or not all, is known about secrets in the files."""
    more = tuple(f"security.{kind}:{sources.checkout}" for kind in ("secret_alike", "secret_hidden"))
    hides = (f"security.secret:{sources.checkout}/", *more)
    skip = Skip(area="security", component=sources.checkout, reason=f"Not searched for secrets: {reason}", hides=hides)
    return Looked(skipped=(skip,), engines={"secrets": f"did not run: {reason}"})


def _finding(checkout: str, file: str, fingerprint: str, kind: str, lines: list[int], severity: Severity) -> Finding:
    return Finding(
        key=f"security.secret:{checkout}/{shown(file)}/{fingerprint}",
        severity=severity,
        component=checkout,
        title=f"{shown(file)} holds what looks like a secret: {kind}.",
        detail=f"Line {', '.join(map(str, lines[:10]))}. The value is not told here.",
        remedy="Withdraw it where it was issued, take it out, and keep the new one in an environment variable or a "
        "block. No secret after all? Then say so at the line's end: `pragma: allowlist secret`.",
        evidence={"file": shown(file), "lines": list(lines[:50]), "type": kind, "fingerprint": fingerprint},
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


def _hidden(checkout: str, hidden: Sequence[tuple[str, str]]) -> Finding:
    kinds = sorted({kind for _, kind in hidden})
    places = list(dict.fromkeys(place for place, _ in hidden))
    return Finding(
        key=f"security.secret_hidden:{checkout}",
        severity=Severity.info,
        component=checkout,
        title=f"Comments allow {len(hidden)} values that have the form of a secret.",
        detail=f"`pragma: allowlist secret` at {', '.join(places[:10])}; {', '.join(kinds[:10])}.",
        remedy="Read the lines: whoever writes a secret can allow it. What is really none belongs to [[suppressions]] "
        "of lama.toml, with a reason and a last day.",
        evidence={"places": places[:100], "types": list(kinds)},
    )


def unread(checkout: str, failed: Mapping[str, str], *, said: str, kind: str) -> Iterable[Skip]:
    """A skip for each reason why files (by name, with the reason) were not looked at."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for file, reason in sorted(failed.items()):
        reasons[reason].append(shown(file))
    for reason, files in sorted(reasons.items()):
        more = f" and {len(files) - 5} more" if len(files) > 5 else ""
        # Naming thousands of files one by one helps nobody; then all of the checkout may hide something.
        hides = tuple(f"security.{kind}:{checkout}/{file}/" for file in files)
        yield Skip(
            area="security",
            component=f"{checkout}: {', '.join(files[:5])}{more}",
            reason=said + reason,
            hides=hides if len(hides) <= 200 else (f"security.{kind}:{checkout}/",),
        )
