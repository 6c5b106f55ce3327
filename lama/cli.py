"""The `lama` command. Exit codes: 0 ok, 1 findings at or above the chosen level, 2 it could not be done.

Subcommands are imported when they are called, so that `lama --help` and completion answer at once.
"""

from __future__ import annotations

import atexit
import gc
import sys

import click

_COMMANDS = {
    "up": ("lama.commands.platform:up", "Start the platform and stay up until Ctrl-C."),
    "down": ("lama.commands.platform:down", "Stop the platform; no process is left."),
    "status": ("lama.commands.platform:status", "Show what is up, where, and since when."),
    "logs": ("lama.commands.platform:logs", "Show the log of a process of the platform."),
    "run": ("lama.commands.flows:run", "Run a flow by its deployment's name and wait for it."),
    "health-check": ("lama.commands.health_check:health_check", "Check this machine, its services and checkouts."),
    "audit": ("lama.commands.audit:audit", "Audit dependencies: what is vulnerable, and what to change."),
    "scan": ("lama.commands.scan:scan", "Scan for secrets, risky code and configuration, open services."),
    "docs": ("lama.commands.docs:docs", "Generate documentation from the source; see whether it is true."),
    "advisories": ("lama.commands.advisories:advisories", "Keep a local copy of known vulnerabilities."),
    "handoffs": ("lama.commands.handoffs:handoffs", "Hand messages on; see how routes do, mend what is stuck."),
    "mail": ("lama.commands.mail:mail", "Fetch mail now, and see how far each mailbox is."),
    "board": ("lama.commands.board:board", "See and change the tasks that came out of messages."),
    "sync": ("lama.commands.sync:sync", "Keep folders the same on several devices, through a shared folder."),
    "qualify": ("lama.commands.qualify:qualify", "Grade leads by fit and engagement, and say why."),
    "market": ("lama.commands.market:market", "Analyse a market: price indices, inventory, season, forecast."),
    "documents": ("lama.commands.documents:documents", "Read property documents into fields, with page and words."),
    "draft": ("lama.commands.draft:draft", "Write to clients from the record; decide what is sent."),
    "models": ("lama.commands.models:models", "See, load and talk to language models; promise them memory."),
    "train": ("lama.commands.train:train", "Train models on tables; promote them, or roll them back."),
    "predict": ("lama.commands.predict:predict", "Ask a trained model about every row of a table."),
    "drift": ("lama.commands.drift:drift", "See whether trained models still fit what they see."),
    "value": ("lama.commands.valuation:value", "Value properties by a market's sales; see how good the values are."),
    "graph": ("lama.commands.graph:graph", "Ask what hangs on what, and what breaks if something changes."),
    "reports": ("lama.commands.reports:reports", "List reports, show one, or compare two."),
    "accept": ("lama.commands.health_check:accept", "Take the architecture as it is now for right."),
    "secret": ("lama.commands.secrets:secret", "Keep a secret in the home, such as that of a webhook."),
    "setup": ("lama.commands.setup:setup", "Prepare the database, or apply the deployments."),
    "serve": ("lama.commands.setup:serve", "Run one process of the platform in the foreground."),
    "env": ("lama.commands.shell:env", "Print the variables that lead Python and prefect to this platform."),
    "completion": ("lama.commands.shell:completion", "Print the completion script of a shell."),
}

OK, FINDINGS, COULD_NOT = 0, 1, 2


class _LazyGroup(click.Group):
    """Knows every command's name and one line about it, and imports the module when one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which a newcomer needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself; imports its module."""
        if cmd_name not in _COMMANDS:
            return None
        from lama.commands.lazy_group import imported

        return imported(_COMMANDS[cmd_name][0])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, from the lines above: nothing is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess at what was meant."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in _COMMANDS:
            import difflib

            close = difflib.get_close_matches(name, _COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"there is no command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lama", message="lama %(version)s")
def cli() -> None:
    """Runs the operations of a team that lives on agents, local models and automations.

    Every capability is a Prefect flow: run it here, from the Prefect UI, on a schedule, from Python or by a webhook.
    """


def main() -> None:
    """Entry point: turns errors into one readable sentence and exit code 2."""
    # As the last thing of all: the search for cycles at the end of a process costs up to 50 ms, and frees nothing that
    # the end does not.
    atexit.register(gc.freeze)
    # Imported late: it is only needed when something went wrong.
    try:
        code = cli.main(prog_name="lama", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(COULD_NOT)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nobody is left to tell
        sys.exit(OK)
    except Exception as error:  # noqa: BLE001 - exit code 1 means findings: whatever else happens must not end with it
        click.echo(f"lama: {_sentence(error)}", err=True)
        sys.exit(COULD_NOT)
    sys.exit(code if isinstance(code, int) else OK)


def _sentence(error: Exception) -> str:
    from pydantic import ValidationError

    from blocks.errors import LamaError

    if isinstance(error, LamaError):
        return str(error)
    if isinstance(error, ValidationError) and error.title == "Settings":
        return "\n".join(f"LAMA_{'.'.join(map(str, p['loc'])).upper()}: {p['msg']}" for p in error.errors())
    import traceback

    from blocks.logs import masked

    return masked("".join(traceback.format_exception(error))) + "\nThis should not have happened."


if __name__ == "__main__":
    main()
