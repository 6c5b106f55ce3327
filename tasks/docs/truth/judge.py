"""The truth of a checkout's documentation: what its documents and docstrings say, held against its code."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from blocks.errors import LamaError
from models.code import Codebase, Unread
from models.docs import DocsSettings
from models.health_check import Checkout
from models.report import Finding, Severity, Skip
from tasks.code.unread import listed
from tasks.docs.prose.regions import State, regions_of
from tasks.docs.truth.baseline import FILE, LARGEST, Baseline, accept, with_unread
from tasks.docs.truth.described import handed_on
from tasks.docs.truth.docstrings import Mismatch, mismatches
from tasks.docs.truth.documents import ALL_DOCUMENTS, Documents, read_documents
from tasks.docs.truth.drift import Drift, drift_of
from tasks.docs.truth.followed import follow, within
from tasks.docs.truth.guarded import cause, guarded
from tasks.docs.truth.links import DeadLink, Links
from tasks.docs.truth.options import Options, Unknown
from tasks.docs.truth.page import Page, read_page
from tasks.docs.truth.references import References, judge_command, judge_path
from tasks.docs.truth.resolve import Answer, Resolver
from tasks.docs.truth.spoken import Literals, Spoken, speak
from tasks.docs.truth.told import bounded, short_key

AREA = "docs"
_KINDS = (
    "name", "example", "signature", "link", "path", "command", "option", "setting", "parameter", "prose", "docstring",
    "undocumented", "baseline",
)  # fmt: skip
"""What a key begins with behind `docs.`: a document that was not read may hide any of them."""


@dataclass
class Truth:
    """What was found out about one checkout."""

    findings: list[Finding] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class Material:
    """What a checkout's documents are, and what they are held against."""

    checkout: Checkout
    resolver: Resolver
    documents: Documents
    pages: dict[str, Page]
    known: References
    literals: Literals
    baseline: Baseline
    problem: str = ""
    """Why the baseline cannot be read."""
    gone: tuple[str, ...] = ()
    """Pages of the baseline that are not there, under no other name either."""
    skips: list[Skip] = field(default_factory=list)
    """Pages and modules that could not be judged."""

    def guard(self, place: str, *hides: str) -> AbstractContextManager[None]:
        """Have an error within tell that `place` could not be judged; `hides` goes on behind `docs.<kind>:<name>/`."""
        kinds = [f"docs.{kind}:{self.checkout.name}/" for kind in _KINDS]
        every = [f"{kind}{behind}" for kind in kinds for behind in hides or ("",)]
        return guarded(self.skips, AREA, self.checkout.name, place, every)


class _CodeNames:
    """The names of a code base as references want to know them."""

    def __init__(self, resolver: Resolver, literals: Literals) -> None:
        self._resolver = resolver
        self._literals = literals

    def defines(self, name: str) -> bool:
        """Whether `name` is defined, or may be."""
        return self._resolver.resolve(name).answer is not Answer.gone and self._resolver.is_ours(name)

    def spells(self, word: str) -> bool:
        """Whether the code has `word` in a string, or defines a function of that name."""
        return self._literals.has_word(word)


def gather(checkout: Checkout, codebase: Codebase, settings: DocsSettings) -> Material:
    """Read what there is to check in `checkout`."""
    resolver = Resolver(codebase)
    literals = Literals(resolver)
    documents = read_documents(checkout.path, settings.documents, checkout.exclude)
    known = References.of(checkout.path, _CodeNames(resolver, literals), list(codebase.packages), programs=False)
    material = Material(checkout, resolver, documents, {}, known, literals, Baseline())
    for file, text in documents.texts.items():
        try:
            material.pages[file] = read_page(file, text)
        except Exception as error:  # noqa: BLE001 - what was accepted of it stays, as of all that cannot be read
            documents.unread.append(Unread(file, cause(error)))
    try:
        before = read_baseline(checkout.path / settings.baseline)
        unread = {one.place for one in documents.unread}
        material.baseline, material.gone = follow(before, material.pages, unread)
    except LamaError as error:
        material.problem = str(error)
    return material


def read_baseline(path: Path) -> Baseline:
    """The baseline at `path`; an empty one where there is none.

    Raises:
        BaselineError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return Baseline.read(file.read(LARGEST))
    except FileNotFoundError:
        return Baseline()
    except OSError as error:
        raise LamaError(f"cannot be read: {error.strerror}.", component=FILE) from error


def check(
    checkout: Checkout,
    codebase: Codebase,
    settings: DocsSettings,
    *,
    cache: Path | None = None,
    run: bool | None = None,
) -> tuple[list[Finding], list[Skip], dict[str, float]]:
    """Findings, skips and metrics about the documentation of `checkout`.

    Args:
        checkout: whose documents are read.
        codebase: what its source says.
        settings: what is read, and how much of it is judged.
        cache: an SQLite file of the code base's reading, which is not needed here.
        run: whether examples are run; None: as `settings` say. Then this must not be called within an event loop.

    Returns:
        Findings with keys that begin with `docs.`, what could not be looked at, and figures.
    """
    del cache
    started = time.monotonic()
    material = gather(checkout, codebase, settings)
    truth = Truth()
    _documents(material, truth)
    _docstrings(material, truth, settings)
    with material.guard("its options and settings"):
        _options(material, truth)
    _prose(material, truth)
    _skips(material, truth)
    if settings.run_examples if run is None else run:
        import asyncio  # noqa: PLC0415

        from tasks.docs.truth.examples import run_examples  # noqa: PLC0415

        findings, skips, figures = asyncio.run(run_examples(checkout, settings, codebase))
        truth.findings += findings
        truth.skips += skips
        truth.metrics |= figures
    truth.metrics["docs_truth_seconds"] = time.monotonic() - started
    return bounded(truth.findings, checkout), truth.skips, truth.metrics


def accepted(material: Material, files: Sequence[str] | None = None) -> Baseline:
    """The baseline that says of the pages `files` (None: of all) that they are true now.

    What was accepted of a page or a symbol that cannot be read now stays as it was: nobody has looked at it.
    """
    chosen = [page for file, page in material.pages.items() if files is None or file in files]
    before = material.baseline
    if files is None:
        unread = {one.place for one in material.documents.unread}
        kept = {file: told for file, told in before.pages.items() if ALL_DOCUMENTS in unread or within(file, unread)}
        before = Baseline(kept)
    found = accept(chosen, material.resolver, before)
    modules = {_dotted(one.place) for one in material.resolver.codebase.unread}
    return with_unread(found, material.baseline, chosen, modules) if modules else found


def _dotted(place: str) -> str:
    """What a file or folder of source defines: everything whose path begins so."""
    name = place.removeprefix("src/").removesuffix("/").removesuffix(".pyi").removesuffix(".py")
    return name.removesuffix("/__init__").replace("/", ".")


def drifts(material: Material) -> Iterator[tuple[Page, Drift]]:
    """What of each page is no longer true of the code."""
    for page, _, found in _spoken(material):
        for drift in found:
            yield page, drift


def _spoken(material: Material) -> Iterator[tuple[Page, Spoken, list[Drift]]]:
    """What each section says of the code, and what of that is wrong; of what is history, nothing is."""
    for page in material.pages.values():
        sections = material.baseline.pages.get(page.file, {})
        with material.guard(page.file, f"{page.file}#"):
            for spoken in speak(page, material.resolver):
                accepted_then = sections.get(spoken.section.key)
                found = drift_of(page.file, spoken, accepted_then, material.resolver, material.literals)
                yield page, spoken, [] if page.history else list(found)


def dead_links(material: Material) -> Iterator[tuple[Page, DeadLink]]:
    """The links of each page that lead nowhere."""
    links = Links(material.checkout.path, material.pages, material.known, material.resolver)
    for page in material.pages.values():
        with material.guard(page.file, f"{page.file}#"):
            for dead in links.dead(page):
                yield page, dead


def _documents(material: Material, truth: Truth) -> None:
    name = material.checkout.name
    names = calls = unread = passed = 0
    for page, spoken, found in _spoken(material):
        names += len(spoken.names)
        calls += len(spoken.calls) + len(spoken.shown)
        unread += spoken.unread
        passed += spoken.passed
        for drift in found:
            truth.findings.append(
                _finding(
                    material,
                    f"docs.{drift.kind}:{name}/{page.file}#{drift.subject}",
                    page.file,
                    drift.line,
                    f"{page.file}:{drift.line} {drift.title}",
                    drift.remedy,
                    dict(drift.evidence),
                )
            )
    links = sum(len(section.links) for page in material.pages.values() for section in page.sections)
    for page, dead in dead_links(material):
        evidence: dict[str, object] = {"near": list(dead.near)} if dead.near else {}
        where = {"anchor": "a heading", "reference": "a label", "image": "an image", "link": "a file"}[dead.kind]
        hint = f" Did you mean `{dead.repair}`?" if dead.repair else ""
        truth.findings.append(
            _finding(
                material,
                f"docs.link:{name}/{page.file}#{dead.target}",
                page.file,
                dead.line,
                f"{page.file}:{dead.line} links to `{dead.target}`, {where} that does not exist",
                f"Correct the link, or bring back what it leads to.{hint}",
                evidence,
            )
        )
    for page, line, kind, text in _paths_and_commands(material):
        truth.findings.append(
            _finding(
                material,
                f"docs.{kind}:{name}/{page.file}#{text}",
                page.file,
                line,
                f"{page.file}:{line} names the {kind} `{text}`, which does not exist",
                "Correct the document, or bring back what it names.",
                {},
            )
        )
    for file in material.gone:
        title = f"what was accepted of `{file}` is held against nothing: there is no such document any more"
        remedy = "Bring it back, or take it out of the baseline with `lama docs accept`."
        truth.findings.append(
            _finding(material, f"docs.baseline:{name}/{file}", file, 1, title, remedy, {}, Severity.low)
        )
    truth.metrics |= {
        "docs_documents_total": float(len(material.pages)),
        "docs_document_names_total": float(names),
        "docs_document_calls_total": float(calls),
        "docs_document_links_total": float(links),
        "docs_document_examples_unread_total": float(unread),
        "docs_document_past_names_total": float(passed),
    }


def _prose(material: Material, truth: Truth) -> None:
    """Regions that a machine writes: which of them tell of what was, and which are somebody's own by now."""
    from tasks.docs.prose.write import source_of  # noqa: PLC0415 - what writes them is built on what is here

    words = {
        State.stale: ("tells of the source as it was", "Have it written anew with `lama docs propose --prose`."),
        State.empty: ("was asked for and not yet written", "Have it written with `lama docs propose --prose`."),
        State.edited: ("was changed by a person, and is left as it is", "Take its marks away, or empty it."),
        State.broken: ("has no end, or begins within another", "Put <!-- /lama:prose --> behind it."),
    }
    for file, text in material.documents.texts.items():
        with material.guard(file, f"{file}#"):
            for region in regions_of(text):
                source = source_of(region.name, material.resolver)
                what, remedy = "describes what the code does not define", "Name something else, or take it away."
                if source is not None:
                    state = region.state(source)
                    if state is State.fresh:
                        continue
                    what, remedy = words[state]
                truth.findings.append(
                    _finding(
                        material,
                        f"docs.prose:{material.checkout.name}/{file}#{region.name}",
                        file,
                        region.line,
                        f"{file}:{region.line} the text about `{region.name}` {what}",
                        remedy,
                        {},
                        Severity.info if source is not None and region.state(source) is State.edited else Severity.low,
                    )
                )


def _paths_and_commands(material: Material) -> Iterator[tuple[Page, int, str, str]]:
    for page in material.pages.values():
        if page.history:
            continue
        with material.guard(page.file, f"{page.file}#"):
            for span in (span for section in page.sections for span in section.spans):
                if span.past or len(span.text) > 200:
                    continue
                judge = (
                    judge_command if " " in span.text else judge_path if "/" in span.text and not span.made else None
                )
                verdict = judge(span.text, material.known) if judge is not None else None
                if verdict is not None and not verdict[2] and verdict[0] in {"path", "command"}:
                    yield page, span.line, verdict[0], verdict[1]


def _docstrings(material: Material, truth: Truth, settings: DocsSettings) -> None:
    judged = 0
    found: list[Mismatch] = []
    handed: frozenset[str] = frozenset()
    with material.guard("what its packages hand on"):
        handed = handed_on(material.resolver.codebase)
    for path in sorted(material.resolver.codebase.files):
        with material.guard(path, f"{path}#", f"{path}."):
            told, count = mismatches(
                path, material.resolver, material.literals, private=settings.private, handed=handed
            )
            judged += count
            found += told
    for one in found:
        truth.findings.append(
            _finding(
                material,
                f"docs.docstring:{material.checkout.name}/{one.symbol}#{one.kind}.{one.subject}",
                one.file,
                one.line,
                f"{one.file}:{one.line} {one.title}",
                one.remedy,
                dict(one.evidence),
                Severity.low,
            )
        )
    truth.metrics["docs_docstrings_judged_total"] = float(judged)
    truth.metrics["docs_docstring_mismatches_total"] = float(len(found))


def _options(material: Material, truth: Truth) -> None:
    options = Options.of(material.checkout.path, material.resolver)
    judged = 0
    for page in material.pages.values():
        if page.history:
            continue
        unknown: list[Unknown] = []
        with material.guard(page.file, f"{page.file}#"):
            unknown, count = options.unknown(page)
            judged += count
        for one in unknown:
            truth.findings.append(
                _finding(
                    material,
                    f"docs.{one.kind}:{material.checkout.name}/{page.file}#{one.subject}",
                    page.file,
                    one.line,
                    f"{page.file}:{one.line} {one.title}",
                    one.remedy,
                    dict(one.evidence),
                )
            )
    for one in options.undocumented(material.pages.values(), whole=not material.documents.unread):
        truth.findings.append(
            _finding(
                material,
                f"docs.undocumented:{material.checkout.name}/{one.subject}",
                one.file,
                one.line,
                one.title,
                one.remedy,
                dict(one.evidence),
                Severity.low,
            )
        )
    truth.metrics["docs_document_options_total"] = float(judged)


def _skips(material: Material, truth: Truth) -> None:
    truth.skips += material.skips
    name = material.checkout.name
    hides = tuple(f"docs.{kind}:{name}/" for kind in _KINDS)
    problems = material.documents.unread  # what of the source could not be read, the reader of the source tells
    if problems:
        reason = f"{len(problems)} of its files could not be read ({listed(problems)})."
        truth.skips.append(Skip(area=AREA, component=name, reason=reason, hides=hides))
    chosen = [one for one in material.documents.missing if one not in DocsSettings.model_fields["documents"].default]
    if chosen:
        reason = f"{', '.join(chosen)} of `documents` in `[docs]` {'is' if len(chosen) == 1 else 'are'} not there."
        truth.skips.append(Skip(area=AREA, component=name, reason=reason, hides=hides))
    if material.problem:
        reason = f"What its pages spoke of before is not known: {material.problem}"
        truth.skips.append(Skip(area=AREA, component=name, reason=reason, hides=(f"docs.signature:{name}/",)))


def _finding(
    material: Material,
    key: str,
    file: str,
    line: int,
    title: str,
    remedy: str,
    evidence: dict[str, object],
    severity: Severity = Severity.medium,
) -> Finding:
    return Finding.model_validate(
        {
            "key": short_key(key),
            "severity": severity,
            "component": f"{material.checkout.name}: {file}",
            "title": title,
            "remedy": remedy,
            "evidence": {"file": file, "line": line, **evidence},
        }
    )
