"""What a survey means: which gaps in the documentation are worth a finding, and what stayed unseen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from models.health_check import Checkout, DocumentationSettings
from models.report import Finding, Severity, Skip
from tasks.code.unread import listed
from tasks.health_check.documentation.surveyed import Broken, ModuleCoverage, Survey, Undocumented

_WORST = 10
_MOST_BROKEN = 100
_KINDS = {
    "name": "names `{}`, which the code does not define",
    "path": "names the path `{}`, which does not exist",
    "command": "names the command `{}`, which does not exist",
    "link": "links to `{}`, which does not exist",
}
_ALL_KINDS = ("coverage", "flow", "settings", "missing", "more", *_KINDS)


def findings_of(checkout: Checkout, survey: Survey, limits: DocumentationSettings) -> tuple[Finding, ...]:
    """The findings about one checkout."""
    return (
        *_coverage(checkout, survey.code.coverage, limits.docstring_coverage),
        *_undocumented(checkout, "flow", "parameters", survey.code.flows),
        *_undocumented(checkout, "settings", "fields", survey.code.settings),
        *_broken(checkout, survey.broken),
        *_missing(checkout, survey.missing),
    )


def skips_of(checkout: Checkout, survey: Survey, asked: Sequence[str]) -> tuple[Skip, ...]:
    """What of one checkout could not be read; `asked` are the packages that the configuration names."""
    if not survey.unread:
        return ()
    places = [unread.place for unread in survey.unread]
    absent = sorted(set(places) & set(asked))
    hint = f" Correct packages in lama.toml: {', '.join(absent)}." if absent else ""
    return (
        Skip(
            area="documentation",
            component=checkout.name,
            reason=f"{len(places)} of its files could not be read ({listed(survey.unread)}).{hint}",
            # Which objects and references those files hold is not known: anything about this checkout may be hidden.
            hides=hidden_by(checkout),
        ),
    )


def hidden_by(checkout: Checkout) -> tuple[str, ...]:
    """Prefixes of the keys of every finding about `checkout`, which a look that failed may hide."""
    return tuple(f"documentation.{kind}:{checkout.name}/" for kind in _ALL_KINDS)


def metrics_of(surveys: Sequence[Survey]) -> dict[str, float]:
    """Figures over all checkouts."""
    modules = [module for survey in surveys for module in survey.code.coverage]
    total, documented = sum(m.total for m in modules), sum(m.documented for m in modules)
    metrics = {
        "public_objects_total": float(total),
        "documents_total": float(sum(survey.documents_total for survey in surveys)),
        "references_total": float(sum(survey.references_total for survey in surveys)),
        "broken_references_total": float(sum(len(survey.broken) for survey in surveys)),
    }
    if total:
        metrics["docstring_coverage_ratio"] = documented / total
    return metrics


def _coverage(checkout: Checkout, modules: Sequence[ModuleCoverage], threshold: float) -> Iterator[Finding]:
    packages: dict[str, list[ModuleCoverage]] = defaultdict(list)
    for module in modules:
        packages[module.name.partition(".")[0]].append(module)
    for package, members in sorted(packages.items()):
        total, documented = sum(m.total for m in members), sum(m.documented for m in members)
        if total == 0 or documented / total >= threshold:
            continue
        worst = sorted((m for m in members if m.documented < m.total), key=lambda m: (m.documented - m.total, m.name))
        yield Finding(
            key=f"documentation.coverage:{checkout.name}/{package}",
            severity=Severity.low,
            component=f"{checkout.name}: {package}",
            title=f"{documented / total:.1%} of the public objects of {package} have a docstring; "
            f"{threshold:.0%} are wanted",
            detail=f"{total - documented} of {total} have none, most in {', '.join(m.name for m in worst[:3])}.",
            remedy="Write docstrings where the most are missing, or set docstring_coverage in lama.toml.",
            evidence={
                "documented": documented,
                "total": total,
                "worst": [f"{m.name}: {m.total - m.documented} of {m.total} without" for m in worst[:_WORST]],
            },
        )


def _undocumented(checkout: Checkout, kind: str, parts: str, undocumented: Sequence[Undocumented]) -> Iterator[Finding]:
    for one in undocumented:
        yield Finding(
            key=f"documentation.{kind}:{checkout.name}/{one.name}",
            severity=Severity.low,
            component=f"{checkout.name}: {one.name.partition('.')[0]}",
            title=f"{one.name} has {parts} without a description: {', '.join(one.parts[:_WORST])}"
            + (f" and {len(one.parts) - _WORST} more" if len(one.parts) > _WORST else ""),
            remedy="Describe them under Args: in its docstring; Prefect's form shows that."
            if kind == "flow"
            else "Give each a Field(description=...).",
            evidence={parts: list(one.parts)},
        )


def _broken(checkout: Checkout, broken: Sequence[Broken]) -> Iterator[Finding]:
    for one in broken[:_MOST_BROKEN]:
        yield Finding(
            key=f"documentation.{one.kind}:{checkout.name}/{one.document}#{one.text}",
            severity=Severity.low,
            component=f"{checkout.name}: {one.document}",
            title=f"{one.document} {_KINDS[one.kind].format(one.text)}",
            remedy="Correct the document, or bring back what it names.",
            evidence={"line": one.line},
        )
    if len(broken) > _MOST_BROKEN:
        yield Finding(
            key=f"documentation.more:{checkout.name}/references",
            severity=Severity.low,
            component=checkout.name,
            title=f"{len(broken) - _MOST_BROKEN} more references of its documents lead nowhere",
            remedy="Correct those that are listed first; the rest is listed then.",
        )


def _missing(checkout: Checkout, missing: Sequence[str]) -> Iterator[Finding]:
    for name in missing:
        yield Finding(
            key=f"documentation.missing:{checkout.name}/{name}",
            severity=Severity.info,
            component=checkout.name,
            title=f"There is no {name}",
            remedy="Write it, or take it out of paths under [documentation] in lama.toml.",
        )
