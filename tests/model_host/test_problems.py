"""Each thing that can go wrong has its status, and says when to come again."""

from __future__ import annotations

import json

import pytest

from blocks.errors import LamaError
from models.model_host import Refusal
from services.model_host.generation import Turnstile
from services.model_host.problems import RefusedError, problem_of
from tasks.model_host.errors import (
    AtWorkError,
    EngineError,
    LoadError,
    NobodyAnsweredError,
    NoRoomError,
    RequestError,
    UnknownModelError,
)

REFUSAL = Refusal(reason="full", needed_bytes=5, free_bytes=3, arithmetic=(("weights", 5),))
SOON = NoRoomError("There is no room.", REFUSAL, retry_after_s=2.4)
NEVER = NoRoomError("It never fits.", REFUSAL, retry_after_s=None)


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (RequestError("No.", parameter="prompt", code="context_length_exceeded"), 400, "context_length_exceeded", None),
        (UnknownModelError("No."), 404, "model_not_found", None),
        (SOON, 503, "no_room", "3"),
        (NEVER, 503, "never_fits", None),
        (AtWorkError("It serves."), 409, "busy", "1"),
        (LoadError("It is torn."), 503, "load_failed", None),
        (EngineError("It broke."), 500, "engine_failed", None),
        (NobodyAnsweredError((("a", LoadError("It is torn.")), ("b", SOON))), 503, "load_failed", "3"),
        (LamaError("Something."), 500, None, None),
        (ZeroDivisionError("with a secret"), 500, None, None),
    ],
)
def test_an_error_becomes_its_answer(error: Exception, status: int, code: str | None, retry_after: str | None) -> None:
    problem = problem_of(error)
    told = json.loads(bytes(problem.body))
    assert problem.status_code == status
    assert told["error"]["code"] == code
    assert problem.headers.get("retry-after") == retry_after
    assert "secret" not in told["error"]["message"]
    if status == 503 and retry_after is None:
        assert problem.headers["x-should-retry"] == "false", "or OpenAI's client asks twice more"


def test_no_room_shows_the_sum() -> None:
    assert json.loads(bytes(problem_of(SOON).body))["lama"]["refusal"]["arithmetic"] == [["weights", 5]]


def test_who_finds_no_place_is_told_to_come_again() -> None:
    turnstile = Turnstile(1)
    with turnstile.inside():
        with pytest.raises(RefusedError) as caught, turnstile.inside():
            pass
        assert problem_of(caught.value).status_code == 429
        assert problem_of(caught.value).headers["retry-after"] == "1"
    with turnstile.inside(), turnstile.inside(0):
        pass
