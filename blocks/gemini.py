"""Gemini as a block: Google's language models through `google-genai`, with a time limit, retries and budgets."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from pydantic import BaseModel, Field, SecretStr, ValidationError

from blocks.errors import ConfigurationError, UnavailableError
from blocks.settings import LOOPBACK

if TYPE_CHECKING:
    from google.genai import Client

T = TypeVar("T", bound=BaseModel)

_MOST_DELAY_S = 8.0
_BYTES_PER_TOKEN = 3
_REASONS = {
    400: "it refused the request",
    401: "it does not accept the key",
    403: "it does not accept the key",
    404: "it does not know the model",
    429: "the quota is used up",
}


class Gemini(Block):
    """A Gemini model."""

    _block_type_name: ClassVar[str] = "Lama Gemini"
    _block_type_slug: ClassVar[str] = "lama-gemini"
    _documentation_url: ClassVar[Any] = "https://ai.google.dev/gemini-api/docs"

    api_key: SecretStr = Field(description="Key of the Gemini API.")
    model: str = Field(default="gemini-2.5-flash", description="Name of the model.")
    base_url: str | None = Field(default=None, description="Another address for the API.")
    timeout_s: float = Field(default=30.0, gt=0, description="Seconds for one answer.")
    attempts: int = Field(default=3, ge=1, le=10, description="Tries in all, on failures that may pass.")
    retry_delay_s: float = Field(default=1.0, ge=0, description="Seconds before the second try; then doubling.")
    output_token_budget: int = Field(default=2_000, ge=1, description="Tokens that are asked for at most.")

    def get_client(self) -> Client:
        """A new client; close it.

        Raises:
            ConfigurationError: the address would carry the key over a network in the clear.
        """
        from google import genai  # noqa: PLC0415 - takes a second
        from google.genai import types  # noqa: PLC0415

        if self.base_url is not None:
            parts = urlsplit(self.base_url)
            if parts.scheme != "https" and parts.hostname not in LOOPBACK:
                raise ConfigurationError(
                    "the address would carry the key in the clear.",
                    component="Gemini",
                    remedy="Use https in LAMA_GEMINI_BASE_URL.",
                )
        return genai.Client(
            api_key=self.api_key.get_secret_value(),
            vertexai=False,  # whatever the environment says: the key is one of the Gemini API
            http_options=types.HttpOptions(
                base_url=self.base_url,
                timeout=max(1, int(self.timeout_s * 1000)),
                # Without these the client does not try again at all.
                retry_options=types.HttpRetryOptions(
                    attempts=self.attempts,
                    initial_delay=self.retry_delay_s,
                    max_delay=_MOST_DELAY_S,
                    jitter=self.retry_delay_s,
                ),
            ),
        )

    async def answer(self, question: str, schema: type[T], *, instruction: str) -> T:
        """The model's answer to `question` as a `schema`.

        Raises:
            ConfigurationError: the block cannot be used as it is.
            UnavailableError: no answer, or none that is a `schema`. The key is in no message.
        """
        from google.genai import errors  # noqa: PLC0415

        client = self.get_client()
        whole = self.attempts * self.timeout_s + (self.attempts - 1) * _MOST_DELAY_S
        try:
            async with asyncio.timeout(whole):
                response = await client.aio.models.generate_content(
                    model=self.model, contents=question, config=self._config(schema, instruction)
                )
            return schema.model_validate_json(response.text or "")
        except TimeoutError as error:
            raise self._failed("it did not answer in time") from error
        except errors.APIError as error:
            reason = _REASONS.get(error.code, "it failed")
            raise self._failed(f"{reason} ({error.code})") from None  # its text is the server's: it may repeat the key
        except ValidationError as error:
            raise self._failed("its answer is not what was asked for") from error
        except Exception as error:  # noqa: BLE001 - the client passes on whatever its HTTP libraries raise
            raise self._failed(f"it cannot be reached ({type(error).__name__})") from None
        finally:
            # A client that cannot be closed is no reason to lose an answer.
            with contextlib.suppress(Exception):
                await client.aio.aclose()
            client.close()

    def _config(self, schema: type[BaseModel], instruction: str) -> Any:
        from google.genai import types  # noqa: PLC0415

        # These models count what they think as output: the budget would be gone before the first word.
        thinks_at_will = self.model.startswith("gemini-2.5-flash")
        return types.GenerateContentConfig(
            system_instruction=instruction,
            response_mime_type="application/json",
            response_schema=schema,
            max_output_tokens=self.output_token_budget,
            temperature=0.2,
            thinking_config=types.ThinkingConfig(thinking_budget=0) if thinks_at_will else None,
        )

    def _failed(self, reason: str) -> UnavailableError:
        return UnavailableError(f"{reason}.", component=f"Gemini ({self.model})")


def tokens(text: str) -> int:
    """About how many tokens `text` is, rather too many than too few: one for every three bytes."""
    return -(-len(text.encode("utf-8", errors="replace")) // _BYTES_PER_TOKEN)
