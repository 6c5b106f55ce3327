"""`lama up`, `down`, `status` and `logs`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from blocks.errors import ConfigurationError, LamaError
from blocks.settings import Settings, settings
from lama.cli import COULD_NOT, OK
from lama.commands.signals import terminate_as_interrupt
from lama.commands.terminal import console, echo_json, starting

if TYPE_CHECKING:
    from deployments.platform import Platform
    from deployments.supervision import ProcessState
    from models.health_check import HealthReport

_LOOK_S = 1.0


@click.command()
@click.option("--detach", "-d", is_flag=True, help="Return as soon as everything is ready.")
@click.option("--health-check", "check", is_flag=True, help="Run the health check when ready, and print its report.")
@click.option("--json", "as_json", is_flag=True, help="With --detach: print the outcome as JSON.")
def up(*, detach: bool, check: bool, as_json: bool) -> int:
    """Start the platform and stay up until Ctrl-C. A second `up` attaches to the first."""
    if as_json and not detach:
        raise click.UsageError("--json goes with --detach: otherwise there is no outcome before its end.")
    from deployments.platform import Platform
    from lama.commands.session import start_and_apply

    config = settings()
    platform = Platform(config)
    began = time.monotonic()
    with terminate_as_interrupt():
        with starting(quiet=as_json) as observe:
            started = start_and_apply(platform, observe, keep=True)
        up_s = time.monotonic() - began
        click.echo(f"The platform is up{f' after {up_s:.1f} s' if started else ' already'}.", err=True)
        try:
            report = _check(quiet=as_json) if check else None
            report_s = time.monotonic() - began
            if report is not None:
                click.echo(f"Report after {report_s:.1f} s.", err=True)
            if as_json:
                told = {"run_id": report.run_id, "status": report.status.value, "after_s": report_s} if report else None
                echo_json({"started": started, "up_after_s": up_s, "report": told, **_place(config)})
            else:
                _print_addresses(config)
            if detach:
                return OK
            return _stay(platform, owner=started)
        except BaseException:
            if started and not detach:
                click.echo("Stopping ...", err=True)
                platform.stop()
            raise


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def down(*, as_json: bool) -> int:
    """Stop the platform; no process is left. Flow runs are given time to end."""
    from deployments.platform import Platform

    platform = Platform(settings())
    was_up = platform.supervisor.running()
    platform.stop()
    if as_json:
        echo_json({"was_up": was_up, "up": False, "home": str(platform.settings.home)})
    else:
        click.echo("Stopped." if was_up else "The platform was not up.")
    return OK


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(*, as_json: bool) -> int:
    """Show what is up, where, and since when. Exit code 2 when something that should be up is not."""
    from deployments.platform import Platform

    config = settings()
    platform = Platform(config)
    states = platform.states()
    rows = [_row(platform, name, states) for name in platform.programs]
    up = bool(states)
    well = up and all(row["ready"] or row["starting"] for row in rows)
    if as_json:
        echo_json({"up": up, "ok": well, **_place(config), "processes": rows})
        return OK if well else COULD_NOT
    if not up:
        click.echo("The platform is down. `lama up` starts it.")
        return COULD_NOT
    from rich.table import Table

    table = Table("process", "state", "ready", "pid", "up for", "memory", "log")
    for row in rows:
        memory = f"{row['memory_bytes'] / 2**20:.0f} MiB" if row["memory_bytes"] else ""
        age = _age(row["up_s"])
        table.add_row(row["name"], row["state"], _readiness(row), str(row["pid"] or ""), age, memory, row["log"])
    console().print(table)
    _print_addresses(config)
    return OK if well else COULD_NOT


class _ProcessName(click.ParamType[str]):
    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of the platform's processes."""
        return [CompletionItem(name) for name in _process_names() if name.startswith(incomplete)]


@click.command()
@click.argument("name", type=_ProcessName(), required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on as lines are written.")
@click.option("--lines", "-n", default=50, show_default=True, type=click.IntRange(0), help="How many to begin with.")
@click.option("--json", "as_json", is_flag=True, help="Lines as they are in the file.")
def logs(*, name: str | None, follow: bool, lines: int, as_json: bool) -> int:
    """Show the log of the process NAME; without one, the names."""
    from blocks.home import Home
    from blocks.logs import render
    from deployments.platform import last_lines
    from deployments.programs import log_file

    if name is None:
        click.echo("\n".join(_process_names()))
        return OK
    path = log_file(Home(settings()).logs, name)
    if name not in _process_names():
        raise click.UsageError(f"no process is called {name!r}: {', '.join(_process_names())}.")
    if not path.exists() and not follow:
        raise LamaError(f"there is no log yet at {path}.", component=name)
    for line in last_lines(path, lines):
        click.echo(line if as_json else render(line))
    if follow:
        for line in _tail(path):
            click.echo(line.rstrip("\n") if as_json else render(line))
    return OK


def _process_names() -> list[str]:
    from deployments.programs import programs

    return [*programs(settings()), "supervisord"]


def _tail(path: Any) -> Iterator[str]:
    """New lines of a log file for ever; a file that was rotated is followed to its successor."""
    file = path.open(encoding="utf-8", errors="replace") if path.exists() else None
    if file is not None:
        file.seek(0, 2)
    try:
        while True:
            line = file.readline() if file is not None else ""
            if line:
                yield line
                continue
            time.sleep(0.2)
            with contextlib.suppress(FileNotFoundError):
                import os

                if file is None or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                    fresh = path.open(encoding="utf-8", errors="replace")
                    if file is not None:
                        file.close()
                    file = fresh
    finally:
        if file is not None:
            file.close()


def _check(*, quiet: bool = False) -> HealthReport | None:
    """Run the health check and print its report, unless `quiet`; None when there is none, which is said."""
    from lama.commands.reporting import run_for_report, show
    from models.health_check import HealthReport

    try:
        report = run_for_report("health-check", {}, HealthReport, timeout_s=1800, quiet=quiet)
    except LamaError as error:  # the platform is up all the same, and stays up: that is what `up` is for
        click.echo(f"lama: {error}", err=True)
        return None
    if not quiet:
        show(report, None, level=report.report_level)
    return report


def _place(config: Settings) -> dict[str, Any]:
    return {"home": str(config.home), "addresses": {"prefect": config.ui_url, "gateway": config.gateway_url}}


def _print_addresses(config: Settings) -> None:
    from blocks.home import Home
    from deployments.programs import programs

    click.echo(f"Prefect UI   {config.ui_url}")
    click.echo(
        f"Gateway      {config.gateway_url}  (API at /docs; its key is in {Home(config).secrets / 'gateway.key'})"
    )
    if "mcp" in programs(config):
        click.echo(f"MCP          {config.mcp_url}/mcp/  (its key is in {Home(config).secrets / 'mcp.key'})")
    click.echo(f"Graph        {_graph_place(config)}")
    click.echo(f"Home         {config.home}")


def _graph_place(config: Settings) -> str:
    """Where the knowledge graph is, or why there is none."""
    from blocks.configuration import load_configuration
    from deployments.embedded_graph import not_run_because

    if config.graph_uri is not None:
        return config.graph_uri
    try:
        why = not_run_because(config, load_configuration(config).graph)
    except ConfigurationError:
        why = "lama.toml cannot be read"
    return f"bolt://127.0.0.1:{config.graph_port}" if why is None else f"none: {why}"


def _stay(platform: Platform, *, owner: bool) -> int:
    """Watch until Ctrl-C, and say what happens to the processes."""
    click.echo("Ctrl-C stops it." if owner else "Ctrl-C leaves it up; `lama down` stops it.", err=True)
    watched = platform.supervisor.pid()
    before = {name: _seen(state) for name, state in platform.states().items()}
    try:
        while platform.supervisor.pid() == watched:
            time.sleep(_LOOK_S)
            for name, state in platform.states().items():
                now = _seen(state)
                if now != before.get(name):
                    click.echo(f"  {name}: {state.state.lower()} {state.detail}", err=True)
                before[name] = now
    except KeyboardInterrupt:
        if not owner:
            return OK
        click.echo("Stopping ...", err=True)
        platform.stop()
        return OK
    if not platform.kept or platform.supervisor.pid() is not None:
        click.echo("The platform was stopped.", err=True)  # by `lama down`; what runs now is somebody else's
        return OK
    click.echo("The supervisor ended by itself.", err=True)
    if owner:
        platform.stop()
    return COULD_NOT  # so that systemd or launchd starts us again


def _seen(state: ProcessState) -> tuple[str, int]:
    """What is worth a line when it changes; that a process has been up for a while is not."""
    return ("RUNNING" if state.state == "STARTING" else state.state), state.pid


def _row(platform: Platform, name: str, states: dict[str, Any]) -> dict[str, Any]:
    import psutil

    from deployments.programs import log_file

    state = states.get(name)
    pid = state.pid if state else 0
    memory = 0
    if pid:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            memory = sum(part.memory_info().rss for part in [process, *process.children(recursive=True)])
    program = platform.programs[name]
    ready = bool(pid) and state is not None and program.ready(state.since)
    up_s = max(0.0, time.time() - state.since) if state and state.since else 0.0
    return {
        "name": name,
        "state": state.state if state else "STOPPED",
        "ready": ready,
        # `up` does not wait for it, so a look right after `up` may come before it is ready
        "starting": bool(pid) and not ready and not program.awaited and up_s < platform.settings.start_timeout_s,
        "pid": pid,
        "up_s": up_s,
        "memory_bytes": memory,
        "log": str(log_file(platform.home.logs, name)),
    }


def _readiness(row: dict[str, Any]) -> str:
    return "yes" if row["ready"] else "starting" if row["starting"] else "no"


def _age(seconds: float) -> str:
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"
