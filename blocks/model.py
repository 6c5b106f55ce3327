"""A language model as a block: any server that speaks OpenAI's API (the model host, vLLM, a vendor's)."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from prefect.blocks.core import Block
from pydantic import BaseModel, Field, SecretStr

from blocks.errors import UnavailableError
from blocks.secure_address import SecureAddress

if TYPE_CHECKING:
    import httpx

T = TypeVar("T", bound=BaseModel)

_MOST_DELAY_S = 8.0
_LARGEST_ANSWER = 2_000_000
_MAY_PASS = frozenset({408, 409, 429, 500, 502, 503, 504})
_REASONS = {
    400: "it refused the request",
    401: "it does not accept the key",
    403: "it does not accept the key",
    404: "it does not know the model",
    429: "it has too much to do",
}


class LanguageModel(Block):
    """A model behind `POST /v1/chat/completions`."""

    _block_type_name: ClassVar[str] = "Lama Model"
    _block_type_slug: ClassVar[str] = "lama-model"
    _documentation_url: ClassVar[Any] = "https://platform.openai.com/docs/api-reference/chat"

    base_url: SecureAddress = Field(description="Address of the API, with `/v1` if it has that.")
    model: str = Field(min_length=1, max_length=200, description="Name of the model there.")
    api_key: SecretStr | None = Field(default=None, description="Key of the API, if it asks for one.")
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(default=30.0, gt=0, description="Seconds for one answer.")
    attempts: int = Field(default=2, ge=1, le=10, description="Tries in all, on failures that may pass.")
    retry_delay_s: float = Field(default=1.0, ge=0, description="Seconds before the second try; then doubling.")
    output_token_budget: int = Field(default=300, ge=1, description="Tokens that are asked for at most.")
    connections: int = Field(default=4, ge=1, le=64, description="Requests at once.")

    def get_client(self) -> httpx.AsyncClient:
        """A client that sends the key; use it as a context manager."""
        import httpx  # noqa: PLC0415

        key = {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key.get_secret_value()}"}
        return httpx.AsyncClient(
            base_url=self.base_url + "/",
            headers=key | {"User-Agent": "lama"},
            timeout=httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            limits=httpx.Limits(max_connections=self.connections),
            trust_env=False,
        )

    async def answer(self, client: httpx.AsyncClient, question: str, schema: type[T], *, instruction: str) -> T:
        """The model's answer to `question` as a `schema`.

        A server that cannot hold a model to a schema is asked without one: the answer is checked either way.

        Raises:
            UnavailableError: no answer, or none that is a `schema`. Neither the key nor the server's words are in it.
        """
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "system", "content": instruction}, {"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": self.output_token_budget,
        }
        strict = {"name": schema.__name__, "schema": schema.model_json_schema(), "strict": True}
        status, text = await self._post(
            client, body | {"response_format": {"type": "json_schema", "json_schema": strict}}
        )
        if status in {400, 422}:
            status, text = await self._post(client, body)
        if status != 200:
            raise self._failed(f"{_REASONS.get(status, 'it failed')} ({status})" if status else text)
        try:
            content = json.loads(text)["choices"][0]["message"]["content"]
            return schema.model_validate_json(_object_in(content))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise self._failed("its answer is not what was asked for") from None

    async def _post(self, client: httpx.AsyncClient, body: dict[str, Any]) -> tuple[int, str]:
        """Status and text of the answer; 0 and a reason when there is none."""
        import httpx  # noqa: PLC0415

        outcome = (0, "it did not answer in time")
        for attempt in range(self.attempts):
            if attempt:
                delay = min(self.retry_delay_s * 2.0 ** (attempt - 1), _MOST_DELAY_S)
                await asyncio.sleep(delay * (0.5 + random.random() / 2))  # noqa: S311 - only spreads the tries
            try:
                async with asyncio.timeout(self.timeout_s), client.stream("POST", "chat/completions", json=body) as got:
                    outcome = (got.status_code, await _bounded(got))
            except TimeoutError:
                outcome = (0, "it did not answer in time")
                continue
            except httpx.HTTPError as error:
                outcome = (0, f"it cannot be reached ({type(error).__name__})")
                continue
            if outcome[0] not in _MAY_PASS:
                break
        return outcome

    def _failed(self, reason: str) -> UnavailableError:
        return UnavailableError(f"{reason}.", component=f"the model {self.model}")


async def _bounded(response: httpx.Response) -> str:
    content = b""
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _LARGEST_ANSWER:
            return ""
    return content.decode("utf-8", "replace")


def _object_in(content: str) -> str:
    """The JSON object in what a model said, which may stand in a fence or among words."""
    start, end = content.find("{"), content.rfind("}")
    return content[start : end + 1] if 0 <= start < end else content
