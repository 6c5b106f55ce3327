"""`lama docs check`, `propose` and `accept`: whether documents are true, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from blocks.errors import ConfigurationError
from lama.cli import COULD_NOT, FINDINGS, OK
from lama.commands.checkout_name import CheckoutName
from lama.commands.terminal import echo_json, printable

if TYPE_CHECKING:
    from models.code import Codebase
    from models.docs import DocsSettings
    from models.health_check import Checkout
    from models.report import Finding, Skip
    from tasks.docs.truth.judge import Material

_SEVERITIES = ("info", "low", "unknown", "medium", "high", "critical")


@click.command()
@click.argument("path", required=False, type=CheckoutName())
@click.option("--fail-level", type=click.Choice(_SEVERITIES), help="Findings that make the exit code 1.")
@click.option("--since", metavar="REF", help="Also say what of the interface has broken since this commit of git.")
@click.option("--run/--no-run", "run", default=None, help="Whether examples are run, in a process of their own.")
@click.option("--json", "as_json", is_flag=True, help="Print findings, skips and figures as JSON.")
def check(*, path: str | None, fail_level: str | None, since: str | None, run: bool | None, as_json: bool) -> int:
    """Hold the documents and docstrings of PATH against its code; by default of the folder that you are in.

    PATH is a checkout of lama.toml, or a folder. Exit code 1: findings at or above the fail level; 2: something could
    not be looked at.
    """
    from models.severity import Severity
    from tasks.docs.job import skips_of
    from tasks.docs.truth.judge import check as look

    checkout, chosen = _chosen(path)
    codebase = _codebase(checkout)
    findings, skips, metrics = look(checkout, codebase, chosen, run=run)
    skips = [*skips_of(checkout, codebase, "was not judged"), *skips]
    if since is not None:
        from tasks.docs.truth.breakage import breakage

        told, unseen = breakage(checkout, since)
        findings, skips = [*findings, *told], [*skips, *unseen]
    level = Severity(fail_level) if fail_level is not None else chosen.fail_level
    findings = sorted(findings, key=lambda one: (-one.severity.rank, *_place(one)))
    if as_json:
        told_all = {"findings": [one.model_dump(mode="json") for one in findings]}
        echo_json({**told_all, "skipped": [one.model_dump(mode="json") for one in skips], "metrics": metrics})
    else:
        _tell(findings, skips, documents=int(metrics["docs_documents_total"]))
    if skips:
        return COULD_NOT
    return FINDINGS if any(one.severity.rank >= level.rank for one in findings) else OK


@click.command()
@click.argument("path", required=False, type=CheckoutName())
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the patch to this file.")
@click.option("--prose", is_flag=True, help="Also have the regions written that are marked for it.")
@click.option("--apply", "apply_", is_flag=True, help="Change the documents here.")
@click.option("--pull-request", is_flag=True, help="Make a pull request of it, with the token of LAMA_GITHUB_TOKEN.")
def propose(*, path: str | None, output: Path | None, prose: bool, apply_: bool, pull_request: bool) -> int:
    """Show the repairs of the documents of PATH that are sure, as a patch; by default of the folder that you are in.

    A name that has moved to one place, a link whose file lies in one other place. Nothing is made up, and nothing is
    changed unless you say so.
    """
    from tasks.docs.truth.proposed import patch_of

    if apply_ and pull_request:
        raise click.UsageError("--apply changes files here, --pull-request leaves them as they are: choose one.")
    checkout, chosen = _chosen(path)
    changes, repairs = patch_of(checkout, chosen)
    for one in repairs:
        click.echo(printable(one.sentence), err=True)
    unwritten: list[Skip] = []
    if prose:
        import asyncio

        from blocks.settings import settings
        from tasks.docs.truth.proposed import with_prose

        changes, unwritten = asyncio.run(with_prose(settings(), checkout, chosen, changes))
        for skip in unwritten:
            click.echo(printable(skip.reason), err=True)
    if not changes:
        click.echo("There is nothing that can be repaired for sure.", err=True)
        return COULD_NOT if unwritten else OK
    diff = "".join(change.diff for change in changes)
    if output is not None:
        output.write_text(diff, encoding="utf-8")
    else:
        click.echo(printable(diff, keep="\n\t"), nl=False)
    if apply_:
        from tasks.proposals.change import apply

        apply(checkout.path, changes)
        click.echo(f"{len(changes)} {'document was' if len(changes) == 1 else 'documents were'} changed.", err=True)
    if pull_request:
        import asyncio

        from blocks.configuration import load_configuration
        from blocks.settings import settings
        from tasks.docs.truth.proposed import proposed
        from tasks.target import Target

        config = settings()
        target = Target(config, load_configuration(config), (checkout,), "command", config.node)
        click.echo(asyncio.run(proposed(target, checkout, changes, repairs)).title)
    return COULD_NOT if unwritten else OK


@click.command()
@click.argument("path", required=False, type=CheckoutName())
@click.option("--page", "pages", multiple=True, metavar="FILE", help="Only this document; may be given several times.")
def accept(*, path: str | None, pages: tuple[str, ...]) -> int:
    """Say of the documents of PATH that they are true of its code as it is now; later changes are held against that.

    Writes docs/.truth.json (or what `baseline` of [docs] names) of the checkout: commit it with the documents. What
    cannot be read stays as it was accepted before; then the exit code is 2.
    """
    from tasks.docs.truth.judge import accepted
    from tasks.docs.truth.kept import keep

    checkout, chosen = _chosen(path)
    material = _material(checkout, chosen)
    if not material.pages and not (checkout.path / chosen.baseline).exists():
        raise ConfigurationError(f"{checkout.path} has no documents that could be accepted.", component=checkout.name)
    unknown = [page for page in pages if page not in material.pages]
    if unknown:
        known = ", ".join(sorted(material.pages)[:5])
        raise click.UsageError(f"{unknown[0]!r} is none of its documents; there are {known}.")
    if material.problem and pages:
        raise click.UsageError(f"{material.problem} Accept all of it anew, without --page.")
    baseline = accepted(material, pages or None)
    changed = keep(checkout.path / chosen.baseline, baseline)
    sections = sum(len(found) for found in baseline.pages.values())
    click.echo(f"{chosen.baseline}: {sections} sections of {len(baseline.pages)} documents; "
               f"{'written' if changed else 'as it was'}.")  # fmt: skip
    unread = [*material.resolver.codebase.unread, *material.documents.unread]
    for one in unread:
        click.echo(f"not read, and as it was before: {printable(one.place)}: {printable(one.reason)}", err=True)
    return COULD_NOT if unread else OK


def _place(finding: Finding) -> tuple[str, int, str]:
    line = finding.evidence.get("line")
    return str(finding.evidence.get("file", "")), line if isinstance(line, int) else 0, finding.key


def _chosen(path: str | None) -> tuple[Checkout, DocsSettings]:
    from blocks.docs_configuration import load_docs
    from blocks.settings import settings
    from tasks.docs.places import chosen_checkout

    part = load_docs(settings())
    return chosen_checkout(path, part.checkouts), part.docs


def _codebase(checkout: Checkout) -> Codebase:
    from blocks.home import Home
    from blocks.settings import settings
    from tasks.code.read import read
    from tasks.docs.places import cache_of

    home = Home(settings())
    home.prepare()
    return read(checkout.path, checkout.packages or None, exclude=checkout.exclude, cache=cache_of(home, checkout))


def _material(checkout: Checkout, chosen: DocsSettings) -> Material:
    from tasks.docs.truth.judge import gather

    return gather(checkout, _codebase(checkout), chosen)


def _tell(findings: list[Finding], skips: list[Skip], *, documents: int) -> None:
    for one in findings:
        click.echo(f"{one.severity.value}: {printable(one.title)}")
        if one.remedy:
            click.echo(f"    {printable(one.remedy)}")
    for skip in skips:
        click.echo(f"not looked at: {printable(skip.component)}: {printable(skip.reason)}", err=True)
    found = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
    click.echo(f"{found} in {'1 document' if documents == 1 else f'{documents} documents'} and the docstrings.")
