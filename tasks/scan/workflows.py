"""What zizmor says of the GitHub workflows, actions and Dependabot settings of a checkout."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from blocks.errors import UnavailableError
from models.report import Finding, Severity, Skip
from tasks.engine import run_engine
from tasks.result_cache import ResultCache, content_key
from tasks.scan.built_in import BuiltInRule, Hit, UnreadableError, findings_of, printable, read_text, unseen
from tasks.scan.contents import Reason, digest_of, read_content
from tasks.scan.incremental import Memory, examine, kind_of
from tasks.scan.looked import Looked
from tasks.scan.sources import Sources, is_test, shown

SET_ASIDE = BuiltInRule(
    "WF001",
    "comments keep zizmor from telling what it sees.",
    Severity.info,
    "Whoever writes a workflow can silence what guards it; somebody else should have agreed.",
    "Read the lines. What is really no risk belongs to [[suppressions]] of lama.toml, with a reason and a last day.",
)
RULES = (SET_ASIDE,)
"""Ours. Those of zizmor have their own ids, such as `template-injection`; see docs.zizmor.sh/audits."""

KIND = "workflow"
_FILES = re.compile(
    r"(?:^|.*/)\.github/(?:workflows/[^/]+|dependabot)\.ya?ml|(?:.*/)?action\.ya?ml", re.IGNORECASE | re.DOTALL
)
_SEVERITY = {
    ("High", "High"): Severity.high,
    ("High", "Medium"): Severity.high,
    ("High", "Low"): Severity.medium,
    ("Medium", "High"): Severity.medium,
    ("Medium", "Medium"): Severity.medium,
    ("Medium", "Low"): Severity.low,
    ("Low", "High"): Severity.low,
    ("Low", "Medium"): Severity.low,
    ("Low", "Low"): Severity.info,
    ("Informational", "High"): Severity.info,
    ("Informational", "Medium"): Severity.info,
    ("Informational", "Low"): Severity.info,
}
"""By zizmor's severity and confidence. A workflow runs with the repository's token and secrets, so what it is rather
sure of keeps its severity; what may well be nothing loses one step."""
_AT_MOST = {"unpinned-uses": Severity.medium}
"""Rules that zizmor weighs heavier than we: before a tag can do harm, somebody must have taken over the action."""
_AT_ONCE = 2
_FILE_S = 20.0  # zizmor takes some 10 ms for a file; only one that was made for it takes longer
_LARGEST = 500_000
_MISSING = "zizmor is not installed: `pip install zizmor==1.32.0` into the environment that Lama runs in."


async def look_at_workflows(
    sources: Sources,
    *,
    digests: Mapping[str, bytes],
    cache: ResultCache,
    timeout_s: float,
    zizmor: Path | None = None,
) -> Looked:
    """What zizmor finds in the workflows, actions and Dependabot settings of `sources`.

    Each file is looked at by a process of its own, so that one that cannot be read hides no other. A configuration of
    the checkout (`zizmor.yml`) does not count: whoever writes the workflows could switch everything off.

    Args:
        sources: the files of a checkout.
        digests: what the files' contents were, by name.
        cache: what was said about contents before.
        timeout_s: seconds for all of them.
        zizmor: the program; by default the one beside this Python.
    """
    files = [name for name in sources.files if _FILES.fullmatch(name) and not is_test(name)]
    metrics = {"security_workflows_total": float(len(files))}
    if not files:
        return Looked(metrics=metrics, engines={"workflows": "nothing to look at"})
    program = zizmor or Path(sys.executable).with_name("zizmor")
    if not program.is_file():
        return _did_not_run(sources, _MISSING)
    turns = asyncio.Semaphore(_AT_ONCE)
    deadline = asyncio.get_running_loop().time() + timeout_s

    async def one(name: str) -> dict[str, Any] | str:
        async with turns:
            left = deadline - asyncio.get_running_loop().time()
            try:
                return await _zizmor(program, sources, name, min(left, _FILE_S))
            except (UnavailableError, UnreadableError) as error:
                return str(error)

    async def ask(batch: list[str]) -> Mapping[str, Any]:
        answers = dict(zip(batch, await asyncio.gather(*map(one, batch)), strict=True))
        told = {name: answer for name, answer in answers.items() if isinstance(answer, dict)}
        failed = [{"file": name, "reason": answer} for name, answer in answers.items() if isinstance(answer, str)]
        return {"told": told, "failed": failed}

    known = version_of_zizmor()
    examined = await examine(
        files,
        {name: _key(name, digests[name]) for name in files if name in digests},
        Memory(cache if known else ResultCache(None), kind_of("workflows", known or "", [Path(__file__)])),
        ask,
        keys_read=lambda name, told: (_key(name, told["digest"]),) if told["digest"] else (),
    )
    findings = [
        finding
        for name in files
        if name in examined.results
        for finding in judge_workflow(sources.checkout, name, examined.results[name]["told"])
    ]
    skipped = [
        unseen(KIND, sources.checkout, name, f"The workflow was not looked at: {reason}")
        for name, reason in sorted(examined.failed.items())
    ]
    ended = {"workflows": f"zizmor {known or 'of unknown version'}"}
    return Looked(tuple(findings), tuple(skipped), metrics, ended)


def _key(name: str, digest: bytes) -> bytes:
    """What zizmor says depends on the content, and on the name that says what kind of file it is."""
    return content_key(digest, name.encode("utf-8", "surrogatepass"))


def judge_workflow(checkout: str, file: str, told: Sequence[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """Findings about `file` of what zizmor tells: one for each of its rules, and one for all that comments hide."""
    rules: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    aside: list[Hit] = []
    for one in told:
        if one["ignored"]:
            aside += [Hit(SET_ASIDE, line, f"{one['ident']}.") for line in _lines(one)[:1]]
        else:
            rules[one["ident"]].append(one)
    found = tuple(_finding(checkout, file, rule, rules[rule]) for rule in sorted(rules))
    return found + findings_of(KIND, checkout, file, aside)


async def _zizmor(program: Path, sources: Sources, name: str, timeout_s: float) -> dict[str, Any]:
    if timeout_s <= 0:
        raise UnavailableError("there was no time left for it.")
    if len(read_text(sources.root, name)) > _LARGEST:
        raise UnreadableError(f"is larger than {_LARGEST} bytes.")
    before = _digest(sources, name)
    command = [str(program), "--offline", "--no-config", "--no-ignores", "--collect=all", "--strict-collection"]
    command += ["--format=json-v1", "--no-progress", "--no-exit-codes", "--quiet", "--", f"./{name}"]
    # An environment of its own: with a token in ours it would ask GitHub, and ZIZMOR_CONFIG would name a file.
    bare = {"HOME": "/nonexistent", "LC_ALL": "C", "NO_COLOR": "1"}
    outcome = await run_engine(command, timeout_s=timeout_s, cwd=sources.root, environment=bare)
    if outcome.code != 0:
        raise UnavailableError(f"zizmor ended with code {outcome.code}: {_cause(outcome.stderr)}")
    try:
        told = [_kept(one) for one in json.loads(outcome.stdout)]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UnavailableError("zizmor gave no result that can be read; is it another version?") from error
    # It reads the file itself: only if that was the same before and after is it known what was looked at.
    return {"result": {"told": told}, "digest": before if before == _digest(sources, name) else None}


def _digest(sources: Sources, name: str) -> bytes | None:
    content = read_content(sources.root / name)
    return None if isinstance(content, Reason) else digest_of(content)


def _kept(one: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a finding: not the text of the file that comes with it, which may hold a secret.

    Raises:
        KeyError, TypeError, IndexError, AttributeError: it is of another shape.
    """
    determined = one["determinations"]
    _lines(one)
    return {
        "ident": one["ident"],
        "desc": one["desc"],
        "url": one["url"],
        "ignored": one["ignored"],
        "determinations": {"severity": determined["severity"], "confidence": determined.get("confidence")},
        "locations": [
            {
                "symbolic": {
                    "kind": place["symbolic"]["kind"],
                    "annotation": str(place["symbolic"].get("annotation", "")),
                },
                "concrete": {"location": {"start_point": {"row": _row(place)}}},
            }
            for place in one["locations"]
        ],
        "fixes": [{"title": str(fix["title"])} for fix in one.get("fixes") or () if isinstance(fix, dict)],
    }


def _cause(stderr: str) -> str:
    """Why zizmor could not read a file, in our words: its own may quote what is in the file."""
    if "invalid YAML" in stderr:
        place = re.search(r"at (line \d+ column \d+)", stderr)
        return f"it is no valid YAML{f' ({place.group(1)})' if place else ''}."
    if "schema" in stderr or "is not of type" in stderr or "failed to validate" in stderr:
        return "it does not have the form of a workflow."
    return "it cannot read it."


def _finding(checkout: str, file: str, rule: str, told: Sequence[Mapping[str, Any]]) -> Finding:
    graded = [
        _SEVERITY.get((one["determinations"]["severity"], one["determinations"].get("confidence")), Severity.unknown)
        for one in told
    ]
    worst = max(graded, key=lambda severity: severity.rank)
    lines = sorted({line for one in told for line in _lines(one)})
    notes = list(dict.fromkeys(printable(note) for one in told for note in _notes(one)))
    name = shown(file)
    return Finding(
        key=f"security.{KIND}:{checkout}/{name}/{rule}",
        severity=min(worst, _AT_MOST.get(rule, worst), key=lambda severity: severity.rank),
        component=checkout,
        title=f"{name}: {printable(told[0]['desc'])[:200]}.",
        detail=f"Line {', '.join(map(str, lines[:10]))}; {rule} of zizmor: {'; '.join(notes[:3])}.",
        remedy=_remedy(told),
        evidence={
            "file": name,
            "lines": list(lines[:50]),
            "rule": rule,
            "url": str(told[0]["url"]),
        },
    )


def _remedy(told: Sequence[Mapping[str, Any]]) -> str:
    titles = [str(fix["title"]) for one in told for fix in one.get("fixes") or () if isinstance(fix, dict)]
    advice = list(dict.fromkeys(printable(title)[:200] for title in titles))[:3]
    first = f"{'; '.join(advice)}. ".capitalize() if advice else ""
    return f"{first}{told[0]['url']} says what to do."


def _lines(one: Mapping[str, Any]) -> list[int]:
    """The lines of the places that a finding is about; those that only explain it are left out."""
    places = one["locations"]
    chosen = [place for place in places if place["symbolic"]["kind"] == "Primary"] or places
    return sorted({_row(place) + 1 for place in chosen})


def _row(place: Mapping[str, Any]) -> int:
    return int(place["concrete"]["location"]["start_point"]["row"])


def _notes(one: Mapping[str, Any]) -> list[str]:
    # Notes are zizmor's words. The text of the file that comes with them may hold a secret, and is left out.
    return [str(p["symbolic"].get("annotation", "")) for p in one["locations"] if p["symbolic"]["kind"] == "Primary"]


def version_of_zizmor() -> str | None:
    """The version that is installed here; None when that is not known."""
    try:
        return version("zizmor")
    except PackageNotFoundError:
        return None


def _did_not_run(sources: Sources, reason: str) -> Looked:
    skip = Skip(
        area="security",
        component=sources.checkout,
        reason=f"Workflows were not looked at: {reason}",
        hides=(f"security.{KIND}:{sources.checkout}/",),
    )
    return Looked(skipped=(skip,), engines={"workflows": f"did not run: {reason}"})
