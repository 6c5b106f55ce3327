"""Requests of OpenAI's API as this host takes them, and what they mean.

What cannot be done and would change an answer is refused; what only describes the caller is ignored.
https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from models.model_host import MODEL_NAME, ModelKind, Priority, Requirements
from services.model_host.problems import RefusedError
from tasks.model_host.engine import Ask, Sampling
from tasks.model_host.preparing import estimate

AUTO = "auto"
"""The name that lets the host choose."""
_MOST_INPUTS = 2_048
_MOST_PROMPTS = 64
_MOST_TOKENS = 2**31 - 1
_IGNORED = frozenset(
    {"user", "metadata", "store", "safety_identifier", "service_tier", "prompt_cache_key", "prompt_cache_retention"}
)
"""They change nothing about an answer."""
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "echo": (False,),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none",),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none",),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "web_search_options": (),
    "dimensions": (),
}
"""What this host cannot do, and the values that ask for nothing; so does null."""
_NO_TOOLS = "no engine of this host calls tools. Ask for a JSON object by `response_format` and call them yourself"
_INSTEAD: Mapping[str, str] = dict.fromkeys(("tools", "tool_choice", "functions", "function_call"), _NO_TOOLS)

Stop = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
Token = Annotated[int, Field(ge=0, lt=2**31)]
Tokens = Annotated[list[Token], Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(strict=True, extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[_Part], Field(min_length=1)]
    name: str | None = None
    refusal: str | None = None

    def plain(self) -> dict[str, Any]:
        """As templates take it."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": content}


class StreamOptions(BaseModel):
    """`stream_options`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool = False


class JsonSchema(BaseModel):
    """`response_format.json_schema`."""

    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    description: str | None = None
    json_schema: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """`response_format`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _whole(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("`json_schema` goes with the type json_schema")
        return self

    @property
    def schema_of_answer(self) -> Mapping[str, Any] | None:
        """The schema that the answer has to follow."""
        if self.json_schema is not None:
            return self.json_schema.json_schema
        return {"type": "object"} if self.type == "json_object" else None


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    model: Annotated[str, StringConstraints(pattern=MODEL_NAME)]

    @model_validator(mode="before")
    @classmethod
    def _understood(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        kept = {}
        for name, value in given.items():
            if name in _IGNORED or (value is None and name not in cls.model_fields and name in _NEUTRAL):
                continue
            if name in _NEUTRAL and name not in cls.model_fields:
                if not any(type(value) in _alike(one) and value == one for one in _NEUTRAL[name]):
                    raise RefusedError(
                        400,
                        f"This host cannot do {name!r}: {_INSTEAD.get(name, 'leave it out')}.",
                        parameter=name,
                        code="unsupported_parameter",
                    )
                continue
            kept[name] = value
        return kept


class _Generation(_Request):
    max_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> _Generation:
        if self.stream_options is not None and not self.stream:
            raise ValueError("`stream_options` goes with `stream`")
        return self

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends in the number of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def _sampling(self, logprobs: int | None) -> Sampling:
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            logprobs=logprobs,
        )

    def _stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChatRequest(_Generation):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=2_000)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None

    @model_validator(mode="after")
    def _alternatives(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("`top_logprobs` goes with `logprobs`")
        return self

    def asks(self) -> tuple[Ask, ...]:
        """What the engine is asked."""
        ask = Ask(
            max_tokens=self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens,
            messages=tuple(message.plain() for message in self.messages),
            sampling=self._sampling((self.top_logprobs or 0) if self.logprobs else None),
            stop=self._stops(),
            schema=None if self.response_format is None else self.response_format.schema_of_answer,
        )
        return (ask,)


class CompletionRequest(_Generation):
    """`POST /v1/completions`."""

    prompt: str | list[str] | list[Token] | list[Tokens]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @field_validator("prompt", mode="after")
    @classmethod
    def _some(cls, prompt: Any) -> Any:
        if not prompt:
            raise ValueError("there is no prompt")
        if isinstance(prompt, list) and not isinstance(prompt[0], int) and len(prompt) > _MOST_PROMPTS:
            raise ValueError(f"these are more than {_MOST_PROMPTS} prompts")
        return prompt

    def asks(self) -> tuple[Ask, ...]:
        """What the engine is asked, prompt by prompt. OpenAI's default of `max_tokens` is 16 here."""
        return tuple(
            Ask(
                max_tokens=16 if self.max_tokens is None else self.max_tokens,
                prompt=prompt,
                sampling=self._sampling(self.logprobs),
                stop=self._stops(),
            )
            for prompt in _each(self.prompt)
        )


class EmbeddingRequest(_Request):
    """`POST /v1/embeddings`."""

    input: str | list[str] | list[Token] | list[Tokens]
    encoding_format: Literal["float", "base64"] | None = None

    @field_validator("input", mode="after")
    @classmethod
    def _some(cls, given: Any) -> Any:
        if not given or (isinstance(given, list) and any(one == "" for one in given)):
            raise ValueError("a text is empty")
        if isinstance(given, list) and not isinstance(given[0], int) and len(given) > _MOST_INPUTS:
            raise ValueError(f"these are more than {_MOST_INPUTS:,} texts")
        return given

    def texts(self) -> tuple[str | tuple[int, ...], ...]:
        """What is embedded: texts, or ids of tokens."""
        return _each(self.input)


def _each(given: Any) -> tuple[str | tuple[int, ...], ...]:
    """Texts, or ids of tokens, of one or of several."""
    if isinstance(given, str):
        return (given,)
    if isinstance(given[0], int):
        return (tuple(given),)
    return tuple(one if isinstance(one, str) else tuple(one) for one in given)


def needs_of(asks: Sequence[Ask], use_case: str, priority: Priority | None) -> Requirements:
    """What a model has to be able to that is to answer `asks`; the number of tokens is an estimate."""
    return Requirements(
        kind=ModelKind.generate,
        use_case=use_case,
        priority=priority or Priority.normal,
        context_tokens=max(map(estimate, asks)),
        structured=any(ask.schema is not None for ask in asks),
    )


def needs_of_texts(texts: Sequence[str | tuple[int, ...]], use_case: str, priority: Priority | None) -> Requirements:
    """What a model has to be able to that is to embed `texts`; the number of tokens is an estimate."""
    return Requirements(
        kind=ModelKind.embed,
        use_case=use_case,
        priority=priority or Priority.normal,
        context_tokens=max(len(text) // 4 if isinstance(text, str) else len(text) for text in texts),
    )


def use_case_of(header: str | None) -> str:
    """What `X-Lama-Use-Case` says."""
    return (header or "")[:100]


def priority_of(header: str | None) -> Priority | None:
    """What `X-Lama-Priority` says; None: nothing.

    Raises:
        RefusedError: it is none.
    """
    if header is None:
        return None
    if header.strip().lower() not in Priority.__members__:
        raise RefusedError(400, "X-Lama-Priority is high, normal or low.", parameter="X-Lama-Priority")
    return Priority[header.strip().lower()]


def claimed(headers: Sequence[str], most: Priority, *, lesser: bool) -> Priority | None:
    """What `X-Lama-Priority` says, which whoever has only the clients' key may claim up to `most`.

    Args:
        headers: its values, of which there may be one.
        most: the highest that this key may claim.
        lesser: whether it is the clients' key.

    Raises:
        RefusedError: it is none, or more than that, or said more than once.
    """
    if len(headers) > 1:  # who judges and who obeys might read different ones
        raise RefusedError(400, "X-Lama-Priority is said more than once.", parameter="X-Lama-Priority")
    priority = priority_of(headers[0] if headers else None)
    if lesser and priority is not None and priority < most:
        raise RefusedError(
            403, f"With this key, X-Lama-Priority is {most.name} at most.", parameter="X-Lama-Priority",
            code="priority_not_allowed",
        )  # fmt: skip
    return priority


def _alike(value: Any) -> tuple[type, ...]:
    return (int, float) if type(value) in {int, float} else (type(value),)
