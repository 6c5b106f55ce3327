"""`lama docs`: sites generated from the source, kept up to date, and served on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lama.cli import COULD_NOT, FINDINGS, OK
from lama.commands.checkout_name import CheckoutName
from lama.commands.lazy_group import LazyGroup
from lama.commands.signals import terminate_as_interrupt
from lama.commands.terminal import echo_json, printable

if TYPE_CHECKING:
    from tasks.docs.job import Answer, Job

FORMS = ("md", "html", "json", "inv")
"""Those of `models.docs`, known here without its imports."""

_ELSEWHERE = {
    "check": "lama.commands.docs_truth:check",
    "propose": "lama.commands.docs_truth:propose",
    "accept": "lama.commands.docs_truth:accept",
}
"""Commands of this group that another module has, `name` -> `module:attribute`; imported when one is called."""


@click.group(cls=LazyGroup, elsewhere=_ELSEWHERE)
def docs() -> None:
    """Documentation from the source: generate it, read it, hold what people wrote against it."""


def _forms(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    forms = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    wrong = [form for form in forms if form not in FORMS]
    if wrong or not forms:
        raise click.BadParameter(f"{wrong[0]!r} is none of {', '.join(FORMS)}." if wrong else "it is empty.")
    return forms


_SHARED = (
    click.argument("path", required=False, type=CheckoutName()),
    click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Folder of the site."),
    click.option("--templates", type=click.Path(file_okay=False, path_type=Path), help="Folder with your templates."),
    click.option("--private/--public", default=None, help="Whether private names have a place, too."),
)


def _shared(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_SHARED):
        command = option(command)
    return command


@docs.command(short_help="Generate a site; only what has changed is written.")
@_shared
@click.option("--format", "forms", callback=_forms, help="What is generated, such as md,html,json,inv; by default all.")
@click.option("--watch", is_flag=True, help="Stay, and build again whenever a source changes, until Ctrl-C.")
@click.option(
    "--gate",
    type=click.FloatRange(0, 1),
    help="Share of public objects with a docstring below which the exit code is 1.",
)
@click.option("--no-cache", is_flag=True, help="Read everything again, also what has not changed.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def build(
    *,
    path: str | None,
    output: Path | None,
    templates: Path | None,
    private: bool | None,
    forms: tuple[str, ...] | None,
    watch: bool,
    gate: float | None,
    no_cache: bool,
    as_json: bool,
) -> int:
    """Generate the site of PATH: a checkout of lama.toml, or a folder; by default the one that you are in.

    Only what tells something else than before is written. Exit code 1: fewer docstrings than --gate wants; 2: something
    could not be read, and has no page.
    """
    if watch and as_json:
        raise click.UsageError("--watch has no end, and so no document to print; leave out --json.")
    from tasks.collector import collector_paused

    with collector_paused():  # the imports, which make nothing but what stays
        job = _job(path, output, templates, private=private, forms=forms, cache=not no_cache)
    if gate is not None:
        job = job.model_copy(update={"chosen": job.chosen.model_copy(update={"coverage": gate})})
    answer = _perform(job, quiet=as_json)
    _tell(answer, as_json=as_json)
    if watch:
        _watch(job, lambda: None)
    if answer.skipped:
        return COULD_NOT
    too_few = gate is not None and any(one.key.startswith("docs.coverage:") for one in answer.findings)
    return FINDINGS if too_few else OK


@docs.command(short_help="Show the site on this machine, and keep it up to date.")
@_shared
@click.option("--port", type=click.IntRange(0, 65535), default=8790, show_default=True, help="Port; 0: any free one.")
def serve(*, path: str | None, output: Path | None, templates: Path | None, private: bool | None, port: int) -> int:
    """Generate the site of PATH, show it on loopback, and build it again whenever a source changes, until Ctrl-C."""
    job = _job(path, output, templates, private=private, forms=("html", "inv"), cache=True)
    if output is None:  # apart from the one with other formats, which would take turns with it
        job = job.model_copy(update={"output": job.output.with_name(f"{job.output.name}-served")})
    from tasks.docs.serve import Serving, refuse_taken

    refuse_taken(port)
    answer = _perform(job, quiet=False)
    _tell(answer, as_json=False)
    with Serving(job.output / "html", port) as serving:
        click.echo(f"{serving.url} (Ctrl-C ends it)")
        _watch(job, serving.check)
    return OK


def _watch(job: Job, check: Callable[[], None]) -> None:
    """Build again whenever a source changes, until Ctrl-C."""
    from blocks.errors import LamaError
    from tasks.docs.watch import changes

    alone = job.model_copy(update={"jobs": 1})
    with contextlib.suppress(KeyboardInterrupt), terminate_as_interrupt():
        for _ in changes(job.checkout, job.chosen.templates, job.output):
            check()
            try:
                answer = _perform(alone, quiet=True)
            except LamaError as error:  # half of a file, perhaps: what comes next mends it
                click.echo(f"lama: {error}", err=True)
                continue
            if answer.site is not None and (answer.site.written or answer.site.removed):
                _tell(answer, as_json=False)


def _job(
    path: str | None,
    output: Path | None,
    templates: Path | None,
    *,
    private: bool | None,
    forms: tuple[str, ...] | None,
    cache: bool,
) -> Job:
    from blocks.docs_configuration import load_docs
    from blocks.home import Home
    from blocks.settings import settings
    from models.docs import Form
    from tasks.docs.job import Job
    from tasks.docs.places import cache_of, chosen_checkout, output_of

    config = settings()
    part = load_docs(config)
    checkout = chosen_checkout(path, part.checkouts)
    update: dict[str, Any] = {}
    if forms is not None:
        update["formats"] = tuple(Form(form) for form in forms)
    if templates is not None:
        update["templates"] = templates.absolute()
    if private is not None:
        update["private"] = private
    chosen = part.docs.model_copy(update=update)
    home = Home(config)
    home.prepare()
    return Job(
        checkout=checkout,
        chosen=chosen,
        output=output.absolute() if output is not None else output_of(home, chosen, checkout, part.checkouts),
        cache=cache_of(home, checkout) if cache else None,
        check=False,
    )


def _perform(job: Job, *, quiet: bool) -> Answer:
    from tasks.docs.job import perform

    if quiet:
        return perform(job)
    return perform(job, done=lambda words: click.echo(f"  {words}", err=True))


def _tell(answer: Answer, *, as_json: bool) -> None:
    from tasks.docs.job import described_briefly

    if as_json:
        echo_json(answer.model_dump(mode="json"))
        return
    for finding in answer.findings:
        click.echo(f"{finding.severity.value}: {printable(finding.title)} {printable(finding.remedy)}", err=True)
    for skip in answer.skipped:
        click.echo(f"{printable(skip.component)}: {printable(skip.reason)}", err=True)
    if answer.site is not None:
        click.echo(described_briefly(answer.site))
        click.echo(printable(answer.site.output))
