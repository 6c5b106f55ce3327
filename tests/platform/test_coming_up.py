"""Who comes while another process brings the platform up waits for it, and is told so."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from blocks.settings import Settings
from deployments.platform import WAITS, Platform
from lama.commands.session import wait_while_starting

_LIMIT_S = 20.0


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(Settings(home=tmp_path / "home"), only=[])


def test_a_second_one_waits_for_the_first_and_is_told(platform: Platform) -> None:
    told: list[tuple[str, str]] = []
    heard, through = threading.Event(), threading.Event()

    def observe(name: str, event: str) -> None:
        told.append((name, event))
        heard.set()

    def second() -> None:
        wait_while_starting(platform.settings, observe)
        through.set()

    with platform.coming_up():
        waiter = threading.Thread(target=second)
        waiter.start()
        assert heard.wait(_LIMIT_S)
        assert not through.wait(0.2)
    assert through.wait(_LIMIT_S)
    waiter.join()
    assert told == [("platform", WAITS)]


def test_whoever_is_alone_is_told_nothing(platform: Platform) -> None:
    told: list[str] = []
    with platform.coming_up(lambda _name, event: told.append(event)):
        pass
    wait_while_starting(platform.settings, lambda _name, event: told.append(event))
    assert told == []


def test_a_node_that_never_started_gets_no_folders_from_a_question(platform: Platform) -> None:
    wait_while_starting(platform.settings, lambda _name, _event: None)
    assert not platform.home.path.exists()
