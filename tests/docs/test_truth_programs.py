"""What documents give to the programs of a checkout: only what these certainly do not take is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.docs import DocsSettings
from models.health_check import Checkout
from tasks.code.commands import commands_of
from tasks.code.read import read
from tasks.docs.truth.judge import check

PROJECT = '[project]\nname = "acme"\n[project.scripts]\nacme = "{}"\n'
CLICK = (
    "import click\n\n\n@click.command()\n@click.option('--force')\n@click.argument('place')\ndef main(force, place):\n"
)
GROUP = (
    "import click\n\n\n@click.group()\ndef main():\n    pass\n\n\n@main.command()\n@click.option('--now')\n"
    "def ship(now):\n    pass\n"
)
TYPER = '''
import typer
from typing import Annotated, Optional

from acme import more

app = typer.Typer()
app.add_typer(more.app, name="more")
Place = Annotated[str, typer.Option("--place", "-p", help="Where.")]


@app.callback()
def before(loud: bool = False):
    """All of it."""


@app.command()
def ship_it(
    context: typer.Context,
    parcel: str,
    place: Place,
    how_many: int = 3,
    now: bool = typer.Option(False, "--now/--later", help="At once."),
    quick: Annotated[Optional[bool], typer.Option()] = None,
    tags: Annotated[list[str], typer.Option("--tag")] = [],
):
    """Ship."""


@app.command("list")
def list_all(rest: Annotated[list[str], typer.Argument(help="All.")] = None, *, silent: bool = False):
    """List."""
'''
MORE = "import typer\n\napp = typer.Typer()\n\n\n@app.command()\ndef again(times: int = typer.Option(2)):\n    pass\n"


def keys(root: Path, text: str, files: dict[str, str], entry: str = "acme.main:main") -> list[str]:
    for name, content in {"acme/__init__.py": "", "pyproject.toml": PROJECT.format(entry), **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "README.md").write_text(f"# Guide\n\n{text}\n")
    findings, _, _ = check(Checkout(name="shop", path=root), read(root), DocsSettings())
    return sorted(one.key.replace(":shop/README.md#", ":").removeprefix("docs.") for one in findings)


def test_a_program_that_another_distribution_runs_is_not_judged(tmp_path: Path) -> None:
    text = "Run `acme fly` or `acme ship --gone`."
    files = {"acme/main.py": GROUP}
    assert keys(tmp_path / "ours", text, files) == ["command:acme fly", "option:acme ship --gone"]
    assert keys(tmp_path / "theirs", text, files, "acmecli:main") == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from optparse import OptionParser\n\nOptionParser().add_option('--force')\n\n\ndef main():\n", True),
        ("import fire\n\n\ndef main():\n", False),
        ("import cyclopts\nimport argparse\n\n\ndef main():\n", False),
        ("from somewhere import parse\n\n\ndef main():\n", False),
        ("import argparse\n\n\ndef main():\n    make().parse_known_args()\n", False),
    ],
)
def test_options_that_nobody_spells_are_told_only_of_programs_that_spell_theirs(
    tmp_path: Path, code: str, *, found: bool
) -> None:
    assert keys(tmp_path, "Run `acme x --gone`.", {"acme/main.py": f"{code}    pass\n"}) == (
        ["option:acme --gone"] if found else []
    )


def test_a_command_that_hands_on_what_it_does_not_know_takes_any_option(tmp_path: Path) -> None:
    code = CLICK.replace("command()", "command(context_settings={'ignore_unknown_options': True})") + "    pass\n"
    assert keys(tmp_path / "open", "Run `acme x --gone`.", {"acme/main.py": code}) == []
    code = f"MINE = {{'help_option_names': ['-h']}}\n{CLICK}    pass\n".replace(
        "command()", "command(context_settings=MINE)"
    )
    assert keys(tmp_path / "closed", "Run `acme x --gone`.", {"acme/main.py": code}) == ["option:acme --gone"]


@pytest.mark.parametrize(
    "made",
    [
        "@click.option(*SAID.args, **SAID.options)\n",
        "@click.option(f'--{PART}-all')\n",
        "@click.option('--' + PART)\n",
        "@two\n",
    ],
)
def test_options_that_are_put_together_may_be_any(tmp_path: Path, made: str) -> None:
    own = "def two(f):\n    f = click.option('--x')(f)\n    return click.option(*SAID.args)(f)\n\n\n"
    code = GROUP.replace("import click\n", f"import click\n\nSAID = ('--spelt',)\nPART = 'gone'\n\n\n{own}")
    option = "--spelt" if "SAID" in made or "two" in made else "--gone"
    text = f"Run `acme ship {option}`."
    assert keys(tmp_path / "said", text, {"acme/main.py": code}) == [f"option:acme ship {option}"]
    code = code.replace("@click.option('--now')\n", made)
    assert keys(tmp_path / "made", text, {"acme/main.py": code}) == []


def test_a_word_behind_a_program_that_takes_arguments_is_no_command(tmp_path: Path) -> None:
    assert keys(tmp_path, "Run `acme somewhere`.", {"acme/main.py": f"{CLICK}    pass\n"}) == []


@pytest.mark.parametrize(
    ("block", "found"),
    [
        ("```console\n$ acme ship\nacme flew --gone\n```", []),
        ("```\nacme is great\n```", []),
        ("```sh\n# acme takes --gone as well\nacme ship\n```", []),
        ("```sh\nacme fly\n```", ["command:acme fly"]),
        ("```\n$ acme fly\n```", ["command:acme fly"]),
        ("```sh\nacme ship \\\n  --now x \\\n  --gone\n```", ["option:acme ship --gone"]),
    ],
)
def test_what_is_printed_and_what_is_commented_is_not_typed(tmp_path: Path, block: str, found: list[str]) -> None:
    assert keys(tmp_path, block, {"acme/main.py": GROUP}) == found


def test_a_finding_behind_a_line_that_goes_on_has_the_line_of_its_command(tmp_path: Path) -> None:
    text = "```sh\nacme ship \\\n  --now x\nacme ship --gone\n```"
    assert keys(tmp_path, text, {"acme/main.py": GROUP}) == ["option:acme ship --gone"]
    findings, _, _ = check(Checkout(name="shop", path=tmp_path), read(tmp_path), DocsSettings())
    assert findings[0].title.startswith("README.md:6 ")


@pytest.mark.parametrize(
    "body",
    [
        "parser = argparse.ArgumentParser(prog='acme')\n    add(parser)\n    return parser",
        "parser = argparse.ArgumentParser(prog='acme')\n    return finish(parser)",
        "parser = argparse.ArgumentParser(prog='acme')\n    parser.add_argument_group('x').add_argument('--other')",
        "parser = argparse.ArgumentParser(prog='acme')\n    parser.add_argument('--other').completer = 1",
        "parser = argparse.ArgumentParser(prog='acme', parents=[base()])",
        "parser = argparse.ArgumentParser(prog='acme')\n    parser.add_argument('--x', action=BooleanOptionalAction)",
        "parser = argparse.ArgumentParser(prog='acme')\n    parser.parse_known_args()",
        "parser = argparse.ArgumentParser(prog='acme')\n\n    def parse():\n        return parser.parse_known_args()",
    ],
)
def test_a_parser_that_others_add_to_may_take_what_they_spell(tmp_path: Path, body: str) -> None:
    code = f"import argparse\nfrom argparse import *\n\nOTHER = '--other'\n\n\ndef main():\n    {body}\n"
    option = "--no-x" if "Boolean" in body else "--other"
    assert keys(tmp_path, f"Run `acme {option}`.", {"acme/main.py": code}) == []


def test_the_beginning_of_an_option_is_enough_for_argparse(tmp_path: Path) -> None:
    code = (
        "import argparse\n\n\ndef main():\n    parser = argparse.ArgumentParser(prog='acme')\n"
        "    parser.add_argument('--recursive')\n    parser.parse_args()\n"
    )
    text = "Run `acme --recurs`, not `acme --gone`."
    assert keys(tmp_path, text.replace("not ", ""), {"acme/main.py": code}) == ["option:acme --gone"]


def test_another_name_of_a_subcommand_is_one_too(tmp_path: Path) -> None:
    code = (
        "import argparse\n\n\ndef main():\n    parser = argparse.ArgumentParser(prog='acme')\n"
        "    sub = parser.add_subparsers()\n    ship = sub.add_parser('ship', aliases=['sh'])\n"
        "    ship.add_argument('--now')\n    parser.parse_args()\n"
    )
    text = "Run `acme sh --now`, `acme sh --gone`, `acme fly`."
    assert keys(tmp_path, text, {"acme/main.py": code}) == ["command:acme fly", "option:acme sh --gone"]


def test_options_of_typer_are_parameters(tmp_path: Path) -> None:
    text = (
        "```sh\nacme --loud ship-it --how-many 3 --no-quick --later -p x --tag y a\n"
        "acme --no-loud more again --times 3\n"
        "acme list a b --no-silent\nacme ship-it --parcel x\nacme more again --gone\nacme more never\n"
        "acme list --tags\n"
        "acme more --gone\n```"
    )
    assert keys(tmp_path, text, {"acme/cli.py": TYPER, "acme/more.py": MORE}, "acme.cli:app") == [
        "command:acme more never", "option:acme list --tags", "option:acme more --gone",
        "option:acme more again --gone", "option:acme ship-it --parcel",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        ("app.add_typer(more.app", "register(app)\napp.add_typer(more.app"),
        ("app = typer.Typer()", "app = typer.Typer(cls=Own)"),
        ("@app.callback()", "def later():\n    app.command()(before)\n\n\n@app.callback()"),
    ],
)
def test_an_application_that_others_add_to_may_have_any_command(tmp_path: Path, change: tuple[str, str]) -> None:
    files = {"acme/cli.py": TYPER, "acme/more.py": MORE}
    assert keys(tmp_path / "all", "Run `acme fly`.", files, "acme.cli:app") == ["command:acme fly"]
    assert change[0] in TYPER
    files["acme/cli.py"] = TYPER.replace(*change)
    assert keys(tmp_path / "open", "Run `acme fly`.", files, "acme.cli:app") == []


def test_commands_are_what_typer_makes_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typer = pytest.importorskip("typer")
    for name, content in {
        "made/__init__.py": "",
        "made/cli.py": TYPER.replace("acme", "made"),
        "made/more.py": MORE,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    from made.cli import app  # type: ignore[import-not-found]

    def walk(command: object, words: tuple[str, ...]) -> dict[tuple[str, ...], set[str]]:
        parameters = [one for one in command.params if one.name not in {"install_completion", "show_completion"}]  # type: ignore[attr-defined]
        names = {name for one in parameters for name in ((*one.opts, *one.secondary_opts) if one.opts else (one.name,))}
        found = {words: names}
        for name, inner in getattr(command, "commands", {}).items():
            found |= walk(inner, (*words, name))
        return found

    expected = walk(typer.main.get_command(app), ("app",))
    told = {
        one.words: {name for option in one.options for name in option.names} | {one.name for one in one.arguments}
        for one in commands_of(read(tmp_path))
    }
    assert told == expected


def test_fields_of_settings_may_be_described_in_documents_that_are_not_read(tmp_path: Path) -> None:
    code = (
        'from pydantic_settings import BaseSettings\n\n\nclass Settings(BaseSettings):\n    """Ours.\n\n'
        '    Attributes:\n        told: It is.\n    """\n\n    told: int = 1\n    port: int = 80\n    host: str = ""\n'
        "    place: int = 1\n"
    )
    text = "Set `ACME_HOST`:\n\n```toml\nplace = 2\n```"
    files = {"acme/settings.py": code}
    assert keys(tmp_path / "all", text, files) == ["undocumented:shop/acme.settings.Settings"]
    assert keys(tmp_path / "told", f"{text}\n\n`port` too.", files) == []
    assert keys(tmp_path / "some", text, {**files, "docs/more.mdx": "# More\n"}) == []
