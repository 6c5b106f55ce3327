"""`POST /predict/{model}`: what a trained model says of a row, or of a few; and which version says it."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request
from pydantic import Field, JsonValue, ValidationError, model_validator
from starlette.responses import Response

from blocks.errors import ConfigurationError, LamaError, UnavailableError
from blocks.logs import logger
from blocks.model_registry import ModelRegistry
from blocks.postgres import Postgres
from blocks.settings import Settings
from models.report import Value
from models.training import Prediction
from services.gateway.payload import GarbageError, parse
from tasks.predict.recorder import Recorder
from tasks.predict.serving import Served

_log = logger("gateway")

router = APIRouter(tags=["predictions"])

MOST_ROWS = 1000
"""Rows of one question; whole tables are for the flow `predict`."""

_LARGEST_BODY = 4_000_000
_BODY_S = 10.0
_ANSWER_S = 30.0
_THREADS = 4
_FLUSH_S = 2.0
_MODEL = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(@[A-Za-z0-9][A-Za-z0-9._-]{0,127})?$")

_Key = Annotated[str, Field(min_length=1, max_length=500)]


class Question(Value):
    """What is asked."""

    row: dict[str, JsonValue] | None = Field(default=None, description="One row: a value for each feature by its name.")
    rows: list[dict[str, JsonValue]] | None = Field(
        default=None, min_length=1, max_length=MOST_ROWS, description="Or several."
    )
    keys: list[_Key | None] | None = Field(
        default=None, description="What each row is called, so that its prediction can be compared with the truth."
    )
    coverage: float | None = Field(
        default=None, gt=0, lt=1, description="Share of truths that intervals should hold; otherwise as trained."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Question:
        if (self.row is None) == (self.rows is None):
            raise ValueError("give either `row` or `rows`")
        if self.keys is not None and len(self.keys) != len(self.asked):
            raise ValueError(f"there are {len(self.keys)} keys for {len(self.asked)} rows")
        return self

    @property
    def asked(self) -> list[dict[str, JsonValue]]:
        """The rows, however they came."""
        return [self.row] if self.row is not None else self.rows or []


class Answer(Value):
    """What is answered."""

    model: str = Field(description="`name@version` of the version that answered.")
    predictions: list[Prediction] = Field(description="One a row, in their order.")


class Predictions:
    """Models that answer, and the record of what they said. Whatever may wait, waits in threads of its own.

    Args:
        settings: of the node.
    """

    def __init__(self, settings: Settings) -> None:
        self._served = Served(ModelRegistry.of(settings))
        self._recorder = Recorder(Postgres.of(settings))
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="predictions")

    async def answer(self, model: str, body: bytes) -> bytes:
        """Ask the model what `body` asks, and take down what it says; the answer as JSON.

        Raises:
            HTTPException: the body is no question.
            LamaError: there is no such model, it cannot be loaded, or a row cannot be used.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._answered, model, body)

    def _answered(self, model: str, body: bytes) -> bytes:
        question = _question(body)
        predictor = self._served.predictor(model)
        rows = question.asked
        said = predictor.predict_rows(rows, coverage=question.coverage)
        self._recorder.add(predictor, rows, said, question.keys or [None] * len(rows))
        return Answer(model=predictor.version.address, predictions=said).model_dump_json().encode()

    async def record(self) -> None:
        """Keep what was said, every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(_FLUSH_S)
            await self._recorder.flush()

    async def close(self) -> None:
        """Keep what is still to be kept, and let go of everything."""
        try:
            await asyncio.wait_for(self._recorder.flush(), _BODY_S)
        except (LamaError, TimeoutError):
            _log.warning("the last %d predictions were not kept", self._recorder.waiting)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._served.close()


_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "Not JSON."},
    404: {"description": "There is no such model."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": "Too large."},
    422: {"description": "A row cannot be used; nothing was predicted."},
    503: {"description": "The registry, or the model's file, cannot be used."},
}


@router.post(
    "/predict/{model}",
    response_model=Answer,
    responses=_REFUSALS,
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": Question.model_json_schema()}}}},
)
async def predict(
    model: Annotated[str, Path(description="`NAME` for its champion, `NAME@ALIAS` or `NAME@NUMBER`.")],
    request: Request,
) -> Response:
    """What the model says of a row or of several: values with their intervals, or classes with probabilities.

    Features that are not known are given as null. Categories that the model does not know, missing values and values
    out of its range are in `warnings`.
    """
    if not _MODEL.fullmatch(model):
        raise HTTPException(404, "There is no such model: write NAME, NAME@ALIAS or NAME@NUMBER.")
    body = await _body(request)
    predictions: Predictions = request.app.state.gateway.predictions
    try:
        answer = await asyncio.wait_for(predictions.answer(model, body), _ANSWER_S)
    except TimeoutError as error:
        raise HTTPException(503, "The model did not answer in time.") from error
    except LamaError as error:
        raise _refusal(error) from error
    return Response(answer, media_type="application/json")


def _question(body: bytes) -> Question:
    try:
        return Question.model_validate(parse(body))
    except GarbageError as error:
        raise HTTPException(400, f"{error}.") from error
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".lstrip(": ") for problem in error.errors()
        ]
        raise HTTPException(422, "; ".join(problems[:10])) from error


def _refusal(error: LamaError) -> HTTPException:
    if isinstance(error, UnavailableError):
        return HTTPException(503, f"{error.what[:1].upper()}{error.what[1:]}", headers={"Retry-After": "5"})
    if isinstance(error, ConfigurationError):
        return HTTPException(404, error.what)
    from tasks.train.artifact import ArtifactError  # noqa: PLC0415 - whoever raised them has imported these
    from tasks.train.predict import RowError  # noqa: PLC0415

    if isinstance(error, RowError):
        return HTTPException(422, error.what)
    if isinstance(error, ArtifactError):
        _log.error("a model cannot be served: %s", error)
        return HTTPException(503, "The model's file cannot be used; the gateway's log says why.")
    raise error


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    try:
        async with asyncio.timeout(_BODY_S):
            async for part in request.stream():
                size += len(part)
                if size > _LARGEST_BODY:
                    raise HTTPException(413, f"The body is larger than {_LARGEST_BODY} bytes.")
                parts.append(part)
    except TimeoutError as error:
        raise HTTPException(408, "The body did not arrive in time.") from error
    return b"".join(parts)
