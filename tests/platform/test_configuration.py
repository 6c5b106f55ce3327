"""lama.toml is validated at load, with messages that name file, line and key."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.schedules import CronSchedule

from blocks.configuration import load_configuration, parse_configuration
from blocks.errors import ConfigurationError
from blocks.settings import CHECKOUT, Settings
from models.cron import cron_problem


def _problem(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text, "lama.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[health_check]\n\nreport_level = 'loud'\n", "lama.toml:3: health_check.report_level: "),
        ("[performance]\ndisk_ratio = 0.5\nmemry = 1\n", "lama.toml:3: performance.memry: "),
        ("[[checkouts]]\nname = 'a'\npath = '/a'\n\n[[checkouts]]\nname = 'b'\n", "lama.toml:5: checkouts[1].path: "),
        ("[health_check]\nmodules = [\n  'security',\n  'luck',\n]\n", "lama.toml:2: health_check.modules[1]: "),
        ("performance.disk_ratio = 7\n", "lama.toml:1: performance.disk_ratio: "),
        ("[health_check\n", "lama.toml: not valid TOML: "),
        (
            "[[checkouts]]\nname='a'\npath='/a'\n[[checkouts]]\nname='a'\npath='/b'\n",
            "lama.toml:5: checkouts[1].name: Value error, two checkouts are called 'a'",
        ),
        (
            "[[checkouts]]\nname='a'\npath='src/a'\n",
            "lama.toml:3: checkouts[0].path: Value error, it is not an absolute",
        ),
        ("[[services]]\nname='a'\nkind='http'\nurl='ftp://me:hunter2@a'\n", "lama.toml:4: services[0].url: "),
        (
            "[schedules]\naudit = ''\nscan = 'every day'\n",
            "lama.toml:3: schedules.scan: Value error, 'every day' is no",
        ),
        ("[[webhooks.routes]]\nsource='x'\ndeployment='a/b'", "lama.toml:2: webhooks.routes[0].source: "),
        (
            "[[webhooks.sources]]\nname='x'\nkind='github'\n[[webhooks.sources]]\nname='x'\nkind='github'",
            "lama.toml:5: webhooks.sources[1].name: ",
        ),
    ],
)
def test_a_mistake_is_reported_with_file_line_and_key(text: str, expected: str) -> None:
    told = _problem(text)
    assert expected in told
    assert "hunter2" not in told


_FIELD = st.one_of(
    st.sampled_from(["*", "?", "*/5", "1-5", "1,15", "mon-fri", "SUN", "jan", "l", "l5", "5#3", "7", "0", "99"]),
    st.integers(0, 60).map(str), st.text("0123456789*/-,#?lLwWhR", min_size=1, max_size=4),
)  # fmt: skip


@given(st.one_of(
    st.lists(_FIELD, min_size=4, max_size=7).map(" ".join),
    st.sampled_from(["@daily", "@HOURLY", "@reboot", "", "every day", "0 0 31 2 *"]),
))  # fmt: skip
def test_what_prefect_takes_for_a_cron_expression_is_not_refused(expression: str) -> None:
    try:
        CronSchedule(cron=expression)
    except ValueError:
        return
    assert cron_problem(expression) is None


@pytest.mark.parametrize(
    "text", ["every day", "61 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "* *", "*/0 * * * *"]
)
def test_what_is_no_cron_expression_is_told_with_the_field_that_is_wrong(text: str) -> None:
    assert cron_problem(text)
    with pytest.raises(ValueError, match="cron"):
        CronSchedule(cron=text)


def test_every_mistake_is_reported_at_once() -> None:
    assert len(_problem("[performance]\ndisk_ratio = 7\nmemory_ratio = 'x'\n").splitlines()) == 2


@given(st.text())
def test_garbage_is_a_clear_error_or_a_configuration_never_a_crash(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        parse_configuration(text, "lama.toml")


def test_without_a_file_our_own_checkout_is_watched(tmp_path: Path) -> None:
    configuration = load_configuration(Settings(home=tmp_path))
    assert [checkout.path for checkout in configuration.checkouts] == [CHECKOUT]


def test_our_own_packages_are_those_that_run_where_there_is_no_virtual_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In CI and in the container; otherwise every report would be incomplete about them."""
    monkeypatch.setattr("blocks.configuration.CHECKOUT", tmp_path)
    (checkout,) = load_configuration(Settings(home=tmp_path)).checkouts
    assert checkout.environment == Path(sys.prefix)
    (tmp_path / ".venv").mkdir()
    (checkout,) = load_configuration(Settings(home=tmp_path)).checkouts
    assert checkout.environment is None, "it is found by itself"


def test_a_file_that_was_named_but_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        load_configuration(Settings(home=tmp_path, config=tmp_path / "other.toml"))


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "lama.toml").write_bytes(b"[health_check]\n# caf\xe9\n")
    with pytest.raises(ConfigurationError, match=r"lama\.toml:2: not UTF-8"):
        load_configuration(Settings(home=tmp_path))
