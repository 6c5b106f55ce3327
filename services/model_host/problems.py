"""Everything that goes wrong, in the shape of OpenAI's API: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from blocks.errors import LamaError
from blocks.logs import logger
from tasks.model_host.errors import (
    AtWorkError,
    EngineError,
    LoadError,
    NobodyAnsweredError,
    NoRoomError,
    RequestError,
    UnknownModelError,
)

_log = logger("model host")

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}
_PHRASES = {
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
    413: "The request is too large.",
}


class RefusedError(Exception):
    """The HTTP request is refused for what it is.

    Args:
        status: of the answer.
        message: a sentence.
        parameter: the one that is wrong.
        code: a word for it.
        retry_after_s: seconds after which to ask again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        parameter: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.status = status
        self.message = message
        self.parameter = parameter
        self.code = code


class Problem(Response):
    """An error as an answer."""

    media_type = "application/json"

    def __init__(
        self,
        status: int,
        message: str,
        *,
        parameter: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        default = "invalid_request_error" if status < 500 else "server_error"
        self.error = {
            "message": message,
            "type": kind or _TYPES.get(status, default),
            "param": parameter or None,
            "code": code or _CODES.get(status),
        }
        super().__init__(orjson.dumps({"error": self.error, **(more or {})}), status, headers)


def guarded(status: int, sentence: str) -> Response:
    """The answer to whoever may not ask."""
    return Problem(status, sentence)


def problem_of(error: BaseException) -> Problem:  # noqa: PLR0911 - a table
    """The answer that `error` is; one that nobody expected is logged."""
    match error:
        case RefusedError():
            headers = None if error.retry_after_s is None else _after(error.retry_after_s)
            return Problem(error.status, error.message, parameter=error.parameter, code=error.code, headers=headers)
        case ValidationError():
            return _of_validation(error)
        case UnknownModelError():
            return Problem(
                404, _told(error), parameter=error.parameter or "model", code=error.code or "model_not_found"
            )
        case RequestError():
            return Problem(400, _told(error), parameter=error.parameter, code=error.code)
        case AtWorkError():
            return Problem(409, _told(error), code="busy", headers=_after(1))
        case NobodyAnsweredError():
            return _of_chain(error)
        case NoRoomError():
            waiting = error.retry_after_s is not None
            headers = _after(error.retry_after_s) if waiting else {"x-should-retry": "false"}
            more = {"lama": {"refusal": error.refusal.model_dump(mode="json")}}
            code = "no_room" if waiting else "never_fits"
            return Problem(503, _told(error), code=code, headers=headers, more=more)
        case LoadError():
            _log.warning("%s", error)
            return Problem(503, _told(error), code="load_failed", headers={"x-should-retry": "false"})
        case EngineError():
            _log.error("%s", error)
            return Problem(500, _told(error), code="engine_failed")
        case HTTPException():
            status = error.status_code
            return Problem(status, _PHRASES.get(status, error.detail), headers=error.headers)
        case LamaError():
            _log.error("%s", error)
            return Problem(500, _told(error))
    _log.error("a request ended by a mistake of ours", exc_info=error)
    return Problem(500, "The model host made a mistake; its log has it.")


async def answer_problem(_: Request, error: Exception) -> Response:
    """The handler of exceptions, for Starlette."""
    return problem_of(error)


def _of_chain(error: NobodyAnsweredError) -> Problem:
    """The answer that the first failure is, with those of the others beside it."""
    first = problem_of(error.failures[0][1])
    more = {"lama": {"failures": [{"model": model, "error": _told(one)} for model, one in error.failures]}}
    wait = error.retry_after_s
    headers = {"x-should-retry": "false"} if wait is None else _after(wait)
    told = first.error
    return Problem(
        first.status_code, error.what, parameter=told["param"], code=told["code"], kind=told["type"], headers=headers,
        more=more,
    )  # fmt: skip


def _told(error: LamaError) -> str:
    return str(error)


def _after(seconds: float | None) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds or 1)))}


def _of_validation(error: ValidationError) -> Problem:
    # What was sent is not repeated: it may hold what does not belong into a log.
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])[:200]
    if first["type"] == "extra_forbidden":
        return Problem(
            400, f"This host does not know the parameter {place!r}.", parameter=place, code="unknown_parameter"
        )
    message = first["msg"].removeprefix("Value error, ")
    return Problem(400, f"{place or 'The request'}: {message}."[:500], parameter=place, code="invalid_value")
