"""Settings reach the processes of the platform unchanged, and every one of them is documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.settings import CHECKOUT, Settings
from deployments.programs import programs
from lama.reference import reference


def test_a_child_sees_the_settings_that_its_parent_sees(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parent = Settings(
        home=tmp_path, prefect_port=1, gateway_outside="http://g:1", node_name="n",
        database_url="postgresql://u:p%40@h/lama", worker_poll_s=1,
        gemini_api_key="k", prefect_auth="a:b", log_level="DEBUG", letta_token="t", config=tmp_path / "x.toml",
    )  # fmt: skip
    for name, value in programs(parent)["worker"].environment.items():
        monkeypatch.setenv(name, value)
    assert Settings() == parent


def test_settings_never_show_their_secrets(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url="postgresql://u:s3cret@h/lama", gemini_api_key="s3cret")
    assert "s3cret" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_the_page_about_configuration_is_written_from_the_settings() -> None:
    page = (CHECKOUT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == reference(), "write it anew: python -m lama.reference > docs/configuration.md"


def test_variables_of_other_programs_are_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    monkeypatch.setenv("LETTA_TOKEN", "t")
    settings = Settings(home=tmp_path)
    assert settings.embeds_prefect
    assert settings.letta_token is None
