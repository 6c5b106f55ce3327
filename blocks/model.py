"""A language model as a block: any server that speaks OpenAI's chat completions, such as vLLM or our own model host.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from prefect.blocks.core import Block
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from blocks.errors import ConfigurationError, UnavailableError
from blocks.secure_address import guarded

if TYPE_CHECKING:
    import httpx

T = TypeVar("T", bound=BaseModel)

_LONGEST_WAIT_S = 8.0
_LARGEST_ANSWER = 2_000_000
"""Bytes of an answer that are read."""
_REASONS = {
    401: "it does not accept the key",
    403: "it does not accept the key",
    404: "it does not know the model, or the address lacks its /v1",
    429: "it is asked too often, or the quota is used up",
}
_REFUSALS = frozenset({400, 413, 422})
"""What a server answers to a question that it does not take; it is there, and takes others."""
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_ONLY_JSON = "Answer with one JSON object and nothing else. It must satisfy this JSON Schema:\n"


class NoAnswerError(UnavailableError):
    """The model is there, but what it gave for this one question is no answer to it. It may answer the next."""


class _Passing(Exception):  # noqa: N818 - never leaves this file
    """A failure that may pass."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


class _Refused(Exception):  # noqa: N818 - never leaves this file
    """The server does not take a request as it was made."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    content: str | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(extra="ignore")
    message: _Message


class _Completion(BaseModel):
    model_config = ConfigDict(extra="ignore")
    choices: list[_Choice] = Field(min_length=1)


class LanguageModel(Block):
    """A model behind an OpenAI-compatible API."""

    _block_type_name: ClassVar[str] = "Lama Model"
    _block_type_slug: ClassVar[str] = "lama-model"
    _documentation_url: ClassVar[Any] = "https://docs.vllm.ai/en/stable/serving/openai_compatible_server.html"

    # The key comes first: the address is held to it, and what is said of an address does not repeat the key.
    api_key: SecretStr | None = Field(default=None, description="Key of the API, where it asks for one.")
    base_url: str = Field(
        pattern=r"^https?://[^@]+$",
        description="Address of the API with its `/v1`, such as `http://127.0.0.1:8000/v1`; https, if there is a key.",
    )
    model: str = Field(min_length=1, description="Name of the model, as the server calls it.")
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(default=20.0, gt=0, description="Seconds for one answer.")
    attempts: int = Field(default=2, ge=1, le=10, description="Tries in all, on failures that may pass.")
    retry_delay_s: float = Field(default=0.5, ge=0, description="Seconds before the second try; then doubling.")
    output_token_budget: int = Field(default=300, ge=1, description="Tokens that are asked for at most.")
    at_once: int = Field(default=4, ge=1, le=64, description="Questions at once.")

    _without_format: bool = PrivateAttr(default=False)
    """Whether the server was seen to refuse `response_format`, and to answer without."""

    @field_validator("base_url", mode="after")
    @classmethod
    def _key_stays_secret(cls, url: str, known: ValidationInfo) -> str:
        return url.rstrip("/") if known.data.get("api_key") is None else guarded(url)

    def get_client(self) -> httpx.AsyncClient:
        """A client whose base is the API, and which follows no redirects; use it as a context manager.

        Raises:
            ConfigurationError: the key holds characters that no header can have.
        """
        import httpx  # noqa: PLC0415

        key = self.api_key.get_secret_value().strip() if self.api_key is not None else ""
        if not (key.isascii() and (key.isprintable() or not key)):
            raise ConfigurationError("its key holds characters that no header can have.", component=self._called)
        return httpx.AsyncClient(
            base_url=f"{self.base_url}/",
            headers={"User-Agent": "lama"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            limits=httpx.Limits(max_connections=self.at_once),
            trust_env=False,
        )

    async def answer(
        self, question: str, schema: type[T], *, instruction: str, client: httpx.AsyncClient | None = None
    ) -> T:
        """The model's answer to `question` as a `schema`.

        Args:
            question: what the model is asked.
            schema: what its answer has to be.
            instruction: what the model is told beforehand.
            client: one of `get_client`, for many questions; otherwise one is opened for this.

        Raises:
            ConfigurationError: the block cannot be used as it is.
            NoAnswerError: the model is there, and does not answer this question with a `schema`.
            UnavailableError: no answer. Neither the key nor what the server said is in any message.
        """
        if client is None:
            async with self.get_client() as own:
                return await self.answer(question, schema, instruction=instruction, client=own)
        attempt = 1
        while True:
            try:
                return await self._try(client, question, schema, instruction)
            except _Passing as failure:
                if attempt == self.attempts:
                    raise UnavailableError(f"{failure.reason}.", component=self._called) from None
                doubled = min(_LONGEST_WAIT_S, self.retry_delay_s * 2.0 ** (attempt - 1))
                wait = doubled * random.uniform(0.5, 1.0) if failure.after_s is None else failure.after_s  # noqa: S311
            await asyncio.sleep(wait)
            attempt += 1

    @property
    def _called(self) -> str:
        return f"Model ({self.model})"

    async def _try(self, client: httpx.AsyncClient, question: str, schema: type[T], instruction: str) -> T:
        shape = schema.model_json_schema()
        try:
            if not self._without_format:
                try:
                    return self._read(await self._complete(client, question, instruction, shape), schema)
                except _Refused:
                    pass  # it may be the format that it does not know: older servers, and small ones
            told = f"{instruction}\n\n{_ONLY_JSON}{json.dumps(shape, ensure_ascii=False)}"
            content = await self._complete(client, question, told, None)
        except _Refused as refusal:
            raise NoAnswerError(f"it refused the question ({refusal.status}).", component=self._called) from None
        self._without_format = True
        return self._read(content, schema)

    async def _complete(
        self, client: httpx.AsyncClient, question: str, instruction: str, shape: dict[str, Any] | None
    ) -> str:
        """What the model writes; with a `shape`, the server is asked to hold it to that."""
        import httpx  # noqa: PLC0415

        asked: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "system", "content": instruction}, {"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": self.output_token_budget,
        }
        if shape is not None:
            asked["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": shape}}
        try:
            async with asyncio.timeout(self.timeout_s):
                async with client.stream("POST", "chat/completions", json=asked) as response:
                    self._refuse(response)
                    content = await _body(response)
        except TimeoutError:
            raise _Passing("it did not answer in time") from None
        except httpx.TimeoutException:
            raise _Passing("it did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _Passing(f"it cannot be reached ({type(error).__name__})") from None
        try:
            completion = _Completion.model_validate_json(content or b"")
        except ValidationError:
            raise UnavailableError("it does not speak OpenAI's chat completions.", component=self._called) from None
        return completion.choices[0].message.content or ""

    def _refuse(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        if status in _REFUSALS:
            raise _Refused(status)
        reason = f"{_REASONS.get(status, 'it failed')} ({status})"  # what the server says may repeat the key
        if status in _PASSING:
            raise _Passing(reason, _after_s(response.headers.get("retry-after", "")))
        raise UnavailableError(f"{reason}.", component=self._called)

    def _read(self, content: str, schema: type[T]) -> T:
        """The JSON object in `content`, around which models like to talk."""
        start, end = content.find("{"), content.rfind("}")
        try:
            return schema.model_validate_json(content[start : end + 1] if start >= 0 else "")
        except ValidationError:
            raise NoAnswerError("its answer is not what was asked for.", component=self._called) from None


def _after_s(told: str) -> float | None:
    return min(_LONGEST_WAIT_S, float(told)) if told.isascii() and told.isdigit() else None


async def _body(response: httpx.Response) -> bytes:
    """The body; empty, if it is larger than any answer."""
    pieces, size = [], 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > _LARGEST_ANSWER:
            return b""
        pieces.append(piece)
    return b"".join(pieces)
