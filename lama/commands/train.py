"""`lama train`: a table becomes a model; and what is registered, who answers, and who is to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from blocks.errors import LamaError
from blocks.settings import settings
from lama.cli import FINDINGS, OK
from lama.commands.terminal import console, echo_json, printable

if TYPE_CHECKING:
    from blocks.model_registry import ModelRegistry
    from models.training import Comparison, ModelVersion


class _Group(click.Group):
    """`lama train TABLE ...` is `lama train run TABLE ...`: what is no subcommand is a table."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with `run` put in where a table is named."""
        if args and args[0] not in self.commands and args[0] not in {"-h", "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


class _ModelName(click.ParamType[str]):
    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names in the registry that begin like this; asks PostgreSQL, and imports nothing heavy."""
        try:
            names = _registry().names()
        except LamaError:
            return []  # a shell that is completing has no place for words
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


_name = click.argument("name", type=_ModelName(), metavar="NAME")
_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


def _registry() -> ModelRegistry:
    from blocks.model_registry import ModelRegistry

    return ModelRegistry.of(settings())


@click.group(cls=_Group)
def train() -> None:
    """Train models on tables, and say which of them answers.

    `lama train TABLE --target COLUMN` trains: TABLE is a CSV or Parquet file, or `sql:SELECT ...`.
    """


@train.command("run")
@click.argument("table")
@click.option("--target", help="The column to predict.")
@click.option(
    "--task",
    type=click.Choice(["regression", "classification", "clustering"]),
    default="regression",
    show_default=True,
    help="What is learned.",
)
@click.option("--name", type=_ModelName(), help="What the model is called; otherwise after the table and the target.")
@click.option("--time", help="A column with dates: the past predicts the future.")
@click.option("--group", help="A column whose rows of one value belong together.")
@click.option("--latitude", help="A column with degrees north.")
@click.option("--longitude", help="A column with degrees east.")
@click.option("--weight", help="A column that says how much a row counts.")
@click.option("--ignore", multiple=True, help="A column that is no feature; may be repeated.")
@click.option("--family", "families", multiple=True, help="What is tried; may be repeated. Otherwise all.")
@click.option("--folds", type=click.IntRange(2, 50), default=5, show_default=True, help="Folds of cross-validation.")
@click.option(
    "--trials",
    type=click.IntRange(1, 500),
    default=6,
    show_default=True,
    help="Settings of each family that are tried.",
)
@click.option(
    "--holdout",
    type=click.FloatRange(0.05, 0.5),
    default=0.15,
    show_default=True,
    help="Share of the rows that only judge.",
)
@click.option(
    "--coverage",
    type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="Share of truths that intervals should hold.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of all that is drawn.")
@click.option(
    "--budget",
    "budget_s",
    type=click.FloatRange(0, 86_400, min_open=True),
    default=1800.0,
    show_default=True,
    help="Seconds after which no further settings are tried.",
)
@click.option(
    "--most-rows",
    type=click.IntRange(1_000, 5_000_000),
    default=200_000,
    show_default=True,
    help="Rows that are learned from; of more, a sample is.",
)
@click.option("--workers", type=click.IntRange(0, 256), default=0, help="Folds at a time; otherwise as many as cores.")
@click.option("--keep-suspects", is_flag=True, help="Learn from columns, too, that may know the target.")
@click.option("--no-promote", is_flag=True, help="Register it, and leave the champion as it is.")
@click.option("--no-refit", is_flag=True, help="What answers learns nothing from the rows that judged it.")
@click.option("--database", help="A Prefect block of type Lama PostgreSQL that `sql:` is asked of.")
@click.option("--dry-run", is_flag=True, help="Only look at the table and say what would be done.")
@click.option("--timeout", "timeout_s", default=86_400.0, show_default=True, help="Seconds to wait for its end.")
@_json
def run_training(
    *, table: str, timeout_s: float, no_promote: bool, no_refit: bool, as_json: bool, **parameters: Any
) -> int:  # fmt: skip
    """Train on TABLE: a CSV or Parquet file, or `sql:SELECT ...`.

    Exit code 1: a finding of high severity, such as a model that is no better than a constant.
    """
    from lama.commands.reporting import exit_code, run_for_report, show
    from lama.commands.session import platform_for_a_run
    from lama.commands.terminal import starting
    from models.health_check import ReportLevel
    from models.report import Severity
    from models.training import TrainReport

    if (parameters["target"] is None) != (parameters["task"] == "clustering"):
        raise click.UsageError("--target names the column to predict; only clustering has none.")
    if not table.startswith("sql:"):
        path = Path(table).expanduser().absolute()
        if settings().embeds_prefect and not path.is_file():
            raise click.UsageError(f"{path} does not exist.")
        table = str(path)
    given = {
        **{key: list(value) if isinstance(value, tuple) else value for key, value in parameters.items()},
        "table": table,
        "promote": not no_promote,
        "refit": not no_refit,
    }
    with starting(quiet=as_json) as observe, platform_for_a_run(settings(), observe, "train"):
        report = run_for_report("train", given, TrainReport, timeout_s=timeout_s, quiet=as_json)
    show(report, "json" if as_json else None, level=ReportLevel.standard)
    return exit_code(report, Severity.high)


@train.command("list")
@_json
def list_models(*, as_json: bool) -> int:
    """List the registered models: how many versions each has, and which one answers."""
    from tasks.train import registry as models

    with models_database():
        registry = _registry()
        found = {name: models.versions(registry, name) for name in registry.names()}
    if as_json:
        echo_json({name: [one.model_dump(mode="json") for one in own] for name, own in found.items()})
        return OK
    from rich.table import Table

    table = Table("model", "task", "versions", "champion", "challenger", "trained")
    for name, own in found.items():
        if own:
            by = {alias: one for one in own for alias in one.aliases}
            table.add_row(
                printable(name), own[0].task, str(len(own)), *(
                    str(by[alias].version) if alias in by else "" for alias in ("champion", "challenger")
                ), f"{own[0].created_at:%Y-%m-%d %H:%M}",
            )  # fmt: skip
    console().print(table)
    return OK


@train.command("show")
@_name
@click.argument("version", default="champion")
@click.option("--card", is_flag=True, help="Print the model card.")
@_json
def show_version(*, name: str, version: str, card: bool, as_json: bool) -> int:
    """Show VERSION of NAME: a number, `champion` or `challenger`."""
    from tasks.train import registry as models
    from tasks.train.card import without_plots

    with models_database():
        registry = _registry()
        found = models.find(registry, name, version)
        text = without_plots(models.card_of(registry, found)) if card else ""
    if as_json:
        echo_json(found.model_dump(mode="json"))
    elif card:
        click.echo(text)
    else:
        _print(found)
    return OK


@train.command("promote")
@_name
@click.argument("version", type=click.IntRange(1))
@click.option("--force", is_flag=True, help="Also without, or against, a comparison with the champion.")
@click.option("--reason", default="", help="Why; needed with --force.")
@_json
def promote_version(*, name: str, version: int, force: bool, reason: str, as_json: bool) -> int:
    """Make VERSION of NAME the champion, if its comparison with the one there is has shown it to be better."""
    from tasks.train import registry as models

    if force and not reason:
        raise click.UsageError("--force overrules a comparison; say why with --reason.")
    with models_database():
        registry = _registry()
        comparison = models.kept_comparison(registry, name, version)
        promoted = models.promote(registry, name, version, comparison=comparison, force=force, reason=reason)
    if as_json:
        echo_json(promoted.model_dump(mode="json"))
    else:
        click.echo(f"{promoted.address} is the champion.")
    return OK


@train.command("rollback")
@_name
@click.option("--reason", default="", help="Why; it is kept.")
@_json
def roll_back(*, name: str, reason: str, as_json: bool) -> int:
    """Make the champion before this one the champion of NAME again."""
    from tasks.train import registry as models

    with models_database():
        gone, back = models.rollback(_registry(), name, reason=reason)
    if as_json:
        echo_json({"gone": gone.model_dump(mode="json"), "champion": back.model_dump(mode="json")})
    else:
        click.echo(f"{back.address} is the champion again; {gone.address} was rolled back.")
    return OK


@train.command("compare")
@_name
@click.argument("champion", default="champion")
@click.argument("challenger", default="challenger")
@click.option(
    "--table",
    help="A CSV or Parquet file, or `sql:SELECT ...`, with rows that both have held out; otherwise "
    "the comparison that was made when the challenger was trained.",
)
@_json
def compare_versions(*, name: str, champion: str, challenger: str, table: str | None, as_json: bool) -> int:
    """Compare two versions of NAME on rows that neither has learned from. Exit code 1: CHALLENGER is not better."""
    from blocks.postgres import Postgres
    from tasks.train import registry as models

    with models_database():
        registry = _registry()
        first, second = models.find(registry, name, champion), models.find(registry, name, challenger)
        if table is None:
            found = models.kept_comparison(registry, name, second.version)
        else:
            from models.training import TrainingTable
            from tasks.train.contest import IncomparableError, contest
            from tasks.train.tables import read_table

            source = table if table.startswith("sql:") else str(Path(table).expanduser().absolute())
            wanted = TrainingTable(source=source, columns=second.columns, task=second.task)
            frame = read_table(wanted, database=Postgres.of(settings()))
            old, new = (models.load(registry, name, one.version) for one in (first, second))
            try:
                found = contest(name, old, new, frame)
            except IncomparableError as error:
                raise LamaError(f"{first.address} and {second.address} cannot be compared: {error}.") from error
            models.keep_comparison(registry, found)
    if found is None or (table is None and found.champion != first.version):
        raise LamaError(
            f"{second.address} has not been compared with {first.address}.", remedy="Give --table, with held-out rows."
        )
    return _tell(found, as_json=as_json)


def _tell(found: Comparison, *, as_json: bool) -> int:
    if as_json:
        echo_json(found.model_dump(mode="json"))
    else:
        click.echo(found.verdict)
    return OK if found.better else FINDINGS


def models_database() -> Any:
    """Within it, the registry of models answers.

    Raises:
        LamaError: what models need is not installed, or the database does not start.
    """
    from tasks.train.extra import check_installed

    check_installed()
    from lama.commands.session import database_for
    from lama.commands.terminal import starting

    with starting(quiet=True) as observe:
        return database_for(settings(), observe)


def _print(found: ModelVersion) -> None:
    from rich.table import Table

    from models.training import shown_figure, shown_parameters

    table = Table(show_header=False, box=None)
    lineage = found.lineage
    rows = [
        ("model", f"{found.address}{' (' + ', '.join(found.aliases) + ')' if found.aliases else ''}"),
        ("task", found.task), ("target", found.columns.target or ""), ("trained", f"{found.created_at:%Y-%m-%d %H:%M}"),
        ("stage", found.stage), ("parameters", shown_parameters(found.parameters)),
        ("figures", ", ".join(f"{name} {shown_figure(value)}" for name, value in found.metrics.items())),
        ("data", found.data_hash[:16] + (f" {lineage.rows:,} rows of {lineage.source}" if lineage else "")),
        ("code", found.code_version), ("artifact", found.artifact_hash),
        ("environment", ", ".join(f"{name} {version}" for name, version in found.environment.items())),
    ]  # fmt: skip
    for label, value in rows:
        if value:
            table.add_row(label, printable(str(value)))
    console().print(table)
