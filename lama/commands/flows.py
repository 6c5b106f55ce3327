"""`lama run`, and following a flow run until it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from blocks.prefect_api import FlowRun, PrefectApi
from blocks.settings import settings
from lama.cli import COULD_NOT, OK
from lama.commands.terminal import echo_json, starting


class _DeploymentName(click.ParamType[str]):
    name = "flow"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of the deployments of this checkout; needs no server."""
        from deployments.apply import read_definitions

        names = [str(entry["name"]) for entry in read_definitions()["deployments"]]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command()
@click.argument("flow", type=_DeploymentName())
@click.option("--param", "-p", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter; VALUE may be JSON.")
@click.option("--timeout", "timeout_s", default=3600.0, show_default=True, help="Seconds to wait for its end.")
@click.option("--no-wait", is_flag=True, help="Only start it; the platform has to be up.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def run(*, flow: str, parameters: tuple[str, ...], timeout_s: float, no_wait: bool, as_json: bool) -> int:
    """Run FLOW, the name of a deployment such as `health-check`, through the worker and wait for it."""
    from lama.commands.session import platform_for_a_run, wait_while_starting

    config = settings()
    given = dict(_parameter(text) for text in parameters)
    if no_wait:
        with starting(quiet=as_json) as observe:
            wait_while_starting(config, observe)
        with PrefectApi(config) as api:
            outcome = api.create_run(api.deployment(flow), given)
    else:
        with starting(quiet=as_json) as observe, platform_for_a_run(config, observe, flow):
            outcome = trigger_and_follow(flow, given, timeout_s=timeout_s, quiet=as_json)
    if as_json:
        echo_json({"id": outcome.id, "name": outcome.name, "state": outcome.state_name, "message": outcome.message})
    else:
        click.echo(f"{outcome.name} ({outcome.id}): {outcome.state_name}. {outcome.message}".rstrip())
    return OK if no_wait or outcome.state_type == "COMPLETED" else COULD_NOT


def trigger_and_follow(
    deployment: str, parameters: Mapping[str, Any], *, timeout_s: float, quiet: bool = False
) -> FlowRun:
    """Start a run and show its progress and logs until it ends. Ctrl-C cancels the run."""
    with PrefectApi(settings()) as api:
        started = api.create_run(api.deployment(deployment), parameters)
        if not quiet:
            click.echo(f"Run {started.name}: {settings().ui_url}/runs/flow-run/{started.id}", err=True)
        try:
            return _follow(api, started, timeout_s=timeout_s, quiet=quiet)
        except KeyboardInterrupt:
            api.cancel(started.id)
            raise


def _follow(api: PrefectApi, started: FlowRun, *, timeout_s: float, quiet: bool) -> FlowRun:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, quiet=quiet)
    last = started
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        console=console, transient=True, disable=quiet or not console.is_terminal,
    ) as progress:  # fmt: skip
        bar = progress.add_task(started.state_name, total=100)
        for watched in api.follow(started.id, timeout_s=timeout_s):
            last = watched.run
            for line in watched.logs:
                console.print(f"  {line}", markup=False, highlight=False)
            progress.update(bar, description=last.state_name, completed=watched.progress or 0)
    return last


def _parameter(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--param {text!r}: write KEY=VALUE.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
