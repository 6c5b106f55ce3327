"""What `lama audit` and `lama scan` refuse, they refuse before anything starts."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from blocks.errors import ConfigurationError
from lama.cli import cli


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit", "/nowhere/at/all"], "does not exist"),
        (["audit", "nobody"], "no checkout is called 'nobody'"),
        (["audit", ""], "a PATH is empty"),
        (["audit", "--standalone", "--only-new"], "no earlier run"),
        (["audit", "--output", "/nowhere/at/all.json"], "no folder that can be written"),
        (["audit", "--json", "--format", "sarif"], "different things"),
        (["audit", "--dry-run"], "give --fix as well"),
        (["audit", "--fix", "--propose"], "choose one"),
        (["scan", "/nowhere/at/all"], "does not exist"),
        (["scan", "--standalone", "--only-new"], "no earlier run"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_effect(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises((click.UsageError, ConfigurationError), match=said):
        cli.main(words, standalone_mode=False)
