"""transformers' models, batched continuously: the engine for Hugging Face folders, quantised or not."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from models.model_host import EngineKind, Footprint, Measured
from tasks.model_host.attention import Geometry
from tasks.model_host.batch import Batch, Limits
from tasks.model_host.chat import end_of_turn, render
from tasks.model_host.compatible import adopt, largest_context
from tasks.model_host.detokenise import Detokeniser, StopStrings
from tasks.model_host.engine import Ask, Embedded, Piece, Prepared
from tasks.model_host.errors import EngineError, LoadError, RequestError
from tasks.model_host.footprint import footprint_of, footprint_of_cards, give_back, workspace_bytes
from tasks.model_host.measuring import taken_by, taken_of_fullest
from tasks.model_host.sampling import Draws, check_sampling
from tasks.model_host.sequence import Answering
from tasks.model_host.sequence import Sequence as Running

_DEFAULT_CONTEXT = 4096
_MOST_STOPS = 4
_LONGEST_STOP = 1000
_LARGEST_MASK = 256 * 1024**2
_BEFORE = 5
"""Tokens of a raw prompt that an answer's first word is read after, so that its space is kept."""


@dataclass(frozen=True)
class _Prompt:
    tokens: tuple[int, ...]
    before: tuple[int, ...]


class TransformersEngine:
    """A causal language model and the thread that runs it. Made by `start`."""

    kind = EngineKind.transformers

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        batch: Batch,
        *,
        footprint: Footprint,
        measured: Measured | None,
        context_window: int,
        device: torch.device,
        entropy: Callable[[], int],
    ) -> None:
        self._module = module
        self._tokenizer = tokenizer
        self._batch = batch
        self._footprint = footprint
        self._measured = measured
        self._device = device
        self._entropy = entropy
        self._ends = _end_tokens(module, tokenizer)
        self._vocabulary = int(module.config.get_text_config().vocab_size)
        self._longest_token = max(map(len, tokenizer.get_vocab()), default=1)
        self._names: dict[int, str] = {}
        self.context_window = context_window

    @classmethod
    async def start(
        cls,
        module: Any,
        tokenizer: Any,
        *,
        name: str,
        context_window: int | None = None,
        limits: Limits | None = None,
        entropy: Callable[[], int] = lambda: secrets.randbits(64),
    ) -> TransformersEngine:
        """Serve `module`, which lies on its device already.

        Args:
            module: as `AutoModelForCausalLM` loads it.
            tokenizer: its own.
            name: what the model is called; errors say it.
            context_window: most tokens of a prompt and its answer; by default the smaller of the model's and 4,096.
            limits: of a step; by default what suits the device.
            entropy: seeds for those who give none.

        Raises:
            LoadError: this engine cannot serve it truly.
        """
        device = next(module.parameters()).device
        most = largest_context(module)
        if context_window is not None and context_window > most:
            raise LoadError(f"its context window is {most} tokens, not {context_window}.", component=name)
        try:
            geometry = await asyncio.to_thread(adopt, module, device)
        except LoadError as error:
            raise LoadError(error.what, component=name, remedy=error.remedy) from None
        except Exception as error:
            raise LoadError(f"{type(module).__name__} does not run: {error}", component=name) from error
        window = context_window or min(most, _DEFAULT_CONTEXT)
        limits = limits or _limits(module, geometry, window)
        workspace = workspace_bytes(module, geometry, limits, window)
        if geometry.cards:
            footprint = footprint_of_cards(module, geometry, workspace=workspace)
            taken: int | None = await asyncio.to_thread(taken_of_fullest, module)
        else:
            footprint = footprint_of(module, device, kv_per_token=geometry.bytes_per_token, workspace=workspace)
            taken = await asyncio.to_thread(taken_by, module)
        batch = Batch(module, geometry, limits, name=f"model {name}")
        return cls(
            module,
            tokenizer,
            batch,
            footprint=footprint,
            measured=None if taken is None else Measured(weights=taken),
            context_window=window,
            device=device,
            entropy=entropy,
        )

    @property
    def footprint(self) -> Footprint:
        """What it takes, as counted after the load (bytes)."""
        return self._footprint

    @property
    def measured(self) -> Measured | None:
        """The memory behind its weights, after their first use."""
        return self._measured

    def prepare(self, ask: Ask) -> Prepared:
        """Tokenise `ask`; takes no memory of the device.

        Raises:
            RequestError: it can never be answered: it is longer than the context window, or malformed.
        """
        check_sampling(ask.sampling)
        _check_stops(ask.stop)
        if (ask.prompt is None) == (ask.messages is None):
            raise RequestError("exactly one of prompt and messages is needed.", parameter="prompt")
        prompt = self._from_messages(ask.messages) if ask.messages is not None else self._from_prompt(ask.prompt)
        count = len(prompt.tokens)
        parameter = "prompt" if ask.messages is None else "messages"
        if count == 0:
            raise RequestError("the prompt is empty.", parameter=parameter)
        if ask.max_tokens is not None and ask.max_tokens < 1:
            raise RequestError(f"max_tokens is {ask.max_tokens}; it is at least 1.", parameter="max_tokens")
        wanted = 1 if ask.max_tokens is None else ask.max_tokens
        if count + wanted > self.context_window:
            raise self._too_long(f"{count} tokens and {wanted} of an answer", parameter)
        return Prepared(ask, count, ask.max_tokens or self.context_window - count, prompt)

    def _from_messages(self, messages: tuple[dict[str, Any], ...]) -> _Prompt:
        text = render(self._tokenizer, messages)
        self._check_length(text, "messages")
        tokens = self._tokenizer(text, add_special_tokens=False)["input_ids"]  # the template writes them
        return _Prompt(tuple(tokens), ())

    def _from_prompt(self, prompt: str | tuple[int, ...] | None) -> _Prompt:
        if isinstance(prompt, str):
            self._check_length(prompt, "prompt")
            tokens = tuple(self._tokenizer(prompt)["input_ids"])
        else:
            tokens = tuple(prompt or ())
            if not all(type(token) is int and 0 <= token < self._vocabulary for token in tokens):
                what = f"prompt has tokens that are not from 0 to {self._vocabulary - 1}."
                raise RequestError(what, parameter="prompt")
        return _Prompt(tokens, tokens[-_BEFORE:])

    def _check_length(self, text: str, parameter: str) -> None:
        """Refuse what is far too long before it is tokenised, which would take its time.

        A token is never longer than the longest; four times that leaves room for normalisers that shorten.
        """
        if len(text) > 4 * self._longest_token * self.context_window:
            raise self._too_long(f"{len(text):,} characters", parameter)

    def _too_long(self, what: str, parameter: str) -> RequestError:
        return RequestError(
            f"this model's context window is {self.context_window} tokens; the request has {what}.",
            parameter=parameter,
            code="context_length_exceeded",
            remedy="Shorten it, or ask for fewer tokens.",
        )

    async def generate(self, prepared: Prepared) -> AsyncGenerator[Piece, None]:
        """Generate. Memory for `prepared.most_tokens` must have been leased.

        Closing it stops at the next step; it is closed once the memory of its keys and values is free.

        Raises:
            EngineError: the engine failed; other requests may go on.
        """
        prompt: _Prompt = prepared.payload
        sampling = prepared.ask.sampling
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Piece | EngineError | None] = asyncio.Queue()

        def deliver(item: Piece | EngineError | None) -> None:
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, item)
            except RuntimeError:  # the loop is closed: nobody waits
                running.cancelled = True

        running = Running(
            prompt=prompt.tokens,
            most_new=prepared.max_tokens,
            sampling=sampling,
            draws=Draws(self._entropy() if sampling.seed is None else sampling.seed),
            answering=Answering(
                Detokeniser(self._decode, prompt.before), StopStrings(prepared.ask.stop), self._name, self._ends
            ),
            deliver=deliver,
        )
        self._batch.submit(running)
        over = False
        try:
            while not over:
                item = await arrived.get()
                over = not isinstance(item, Piece) or item.finish is not None
                if isinstance(item, EngineError):
                    raise item
                if item is not None:
                    yield item
        finally:
            if not over:
                self._batch.cancel(running)
            while not over:
                item = await arrived.get()
                over = not isinstance(item, Piece) or item.finish is not None

    async def embed(self, texts: Sequence[str | tuple[int, ...]]) -> Embedded:
        """Refused: it generates.

        Raises:
            RequestError: always.
        """
        raise RequestError(f"this model generates text; it does not embed {len(texts)} texts.", parameter="model")

    async def park(self) -> None:
        """Move the weights to host memory. Nobody is being served. Does nothing on a CPU."""
        if self._device.type != "cpu":
            await asyncio.wrap_future(self._batch.call(lambda: self._move(torch.device("cpu"))))

    async def wake(self) -> None:
        """Bring parked weights back."""
        if self._device.type != "cpu":
            await asyncio.wrap_future(self._batch.call(lambda: self._move(self._device)))

    async def close(self) -> None:
        """Stop, and give all memory back. May be called more than once."""
        await asyncio.to_thread(self._batch.close)
        self._module = None
        await asyncio.to_thread(give_back, self._device)

    def _move(self, device: torch.device) -> None:
        self._module.to(device)
        give_back(self._device)

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _name(self, token: int) -> str:
        """A token's own text; a part of a character is U+FFFD."""
        name = self._names.get(token)
        if name is None:
            name = str(self._tokenizer.decode([token], clean_up_tokenization_spaces=False))
            raw = self._tokenizer.convert_ids_to_tokens(token)
            if isinstance(raw, str) and raw.startswith("\u2581") and not name.startswith(" "):
                name = f" {name}"  # SentencePiece drops the space of a first word
            self._names[token] = name
        return name


def _limits(module: Any, geometry: Geometry, window: int) -> Limits:
    """Chunks whose mask stays below `_LARGEST_MASK`, and on a CPU a chunk beside answers that takes about 0.2 s."""
    heads = int(getattr(module.config.get_text_config(), "num_attention_heads", geometry.heads))
    row = heads // geometry.heads * window * geometry.dtype.itemsize
    most = max(32, min(512, _LARGEST_MASK // row))
    return Limits(reads_alone=most, reads_beside=most if geometry.device.type == "cuda" else min(most, 64))


def _end_tokens(module: Any, tokenizer: Any) -> frozenset[int]:
    """Ends by the generation's configuration, the model's, the tokenizer's and the chat template's."""
    configured = [
        getattr(module.generation_config, "eos_token_id", None),
        getattr(module.config, "eos_token_id", None),
        tokenizer.eos_token_id,
        end_of_turn(tokenizer),
    ]
    ends: set[int] = set()
    for given in configured:
        ends.update(given if isinstance(given, list | tuple) else [] if given is None else [given])
    return frozenset(ends)


def _check_stops(stops: Sequence[str]) -> None:
    if len(stops) > _MOST_STOPS:
        raise RequestError(f"stop has {len(stops)} strings; at most {_MOST_STOPS} are allowed.", parameter="stop")
    if not all(0 < len(stop) <= _LONGEST_STOP for stop in stops):
        raise RequestError(f"a stop string has 1 to {_LONGEST_STOP} characters.", parameter="stop")
