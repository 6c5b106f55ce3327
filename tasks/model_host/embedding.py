"""Vectors of texts by a transformers encoder, pooled as sentence-transformers defines it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

from models.model_host import EngineKind, Footprint, Measured
from tasks.model_host.engine import Ask, Embedded, Piece, Prepared
from tasks.model_host.errors import EngineError, LoadError, RequestError
from tasks.model_host.footprint import footprint_of, give_back
from tasks.model_host.measuring import taken_by

_MOST_PADDED = 4096
"""Tokens of a batch with its padding."""
_DEFAULT_CONTEXT = 4096
_FLAG = "pooling_mode_"


class Pooling(StrEnum):
    """What becomes of the vectors of a text's tokens."""

    mean = "mean"
    """Their mean, padding left out."""
    cls = "cls"
    """The first one's."""


def read_pooling(folder: Path) -> tuple[Pooling, int | None]:
    """Pooling and longest text by the files of sentence-transformers; without these, the mean.

    Raises:
        LoadError: it needs a step that this engine does not do.
    """
    listed = _read(folder / "modules.json")
    pooling = Pooling.mean
    for module in listed if isinstance(listed, list) else ():
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            pooling = _pooling(_read(folder / str(module.get("path", "")) / "config.json"))
        elif kind not in {"Transformer", "Normalize"}:
            raise LoadError(f"its step {kind!r} is none of Transformer, Pooling and Normalize.", component=folder.name)
    longest = (_read(folder / "sentence_bert_config.json") or {}).get("max_seq_length")
    return pooling, int(longest) if longest else None


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LoadError(f"{file.name} is no JSON: {error}", component=file.parent.name) from None


def _pooling(config: Any) -> Pooling:
    given = config if isinstance(config, dict) else {}
    modes = [key.removeprefix(_FLAG) for key, value in given.items() if key.startswith(_FLAG) and value is True]
    modes += [given["pooling_mode"]] if isinstance(given.get("pooling_mode"), str) else []
    names = {"mean_tokens": "mean", "cls_token": "cls"}
    known = [names.get(mode, mode) for mode in modes]
    if len(known) != 1 or known[0] not in Pooling.__members__:
        raise LoadError(
            f"it pools by {', '.join(modes) or 'nothing'}; this engine pools by the mean or the first token.",
            component="1_Pooling",
        )
    return Pooling(known[0])


class EmbeddingEngine:
    """An encoder and the thread that runs it.

    Args:
        module: as `AutoModel` loads it, on its device.
        tokenizer: its own.
        name: what the model is called; errors say it.
        folder: where its files lie.
        context_window: most tokens of a text; by default what its files say.

    Raises:
        LoadError: it needs a step that this engine does not do.
    """

    kind = EngineKind.transformers

    def __init__(
        self, module: Any, tokenizer: Any, *, name: str, folder: Path, context_window: int | None = None
    ) -> None:
        self._pooling, longest = read_pooling(folder)
        config = module.config.get_text_config()
        most = int(getattr(config, "max_position_embeddings", None) or _DEFAULT_CONTEXT)
        if context_window is not None and context_window > most:
            raise LoadError(f"its context window is {most} tokens, not {context_window}.", component=name)
        self.context_window = context_window or min(most, longest or _DEFAULT_CONTEXT)
        self._module = module.eval()
        self._tokenizer = tokenizer
        self._padding = int(tokenizer.pad_token_id or 0)
        self._device = next(module.parameters()).device
        self._vocabulary = int(config.vocab_size)
        self._longest_token = max(map(len, tokenizer.get_vocab()), default=1)
        inner = int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
        row = (6 * int(config.hidden_size) + 2 * inner) * next(module.parameters()).itemsize
        self._footprint = footprint_of(
            module, self._device, kv_per_token=0, workspace=row * max(_MOST_PADDED, self.context_window)
        )
        taken = taken_by(module)
        self._measured = None if taken is None else Measured(weights=taken)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"model {name}")
        self._closed = False

    @property
    def footprint(self) -> Footprint:
        """What it takes, as counted after the load (bytes)."""
        return self._footprint

    @property
    def measured(self) -> Measured | None:
        """The memory behind its weights."""
        return self._measured

    def prepare(self, ask: Ask) -> Prepared:
        """Refused: it embeds.

        Raises:
            RequestError: always.
        """
        raise RequestError("this model embeds text; it does not generate.", parameter="model")

    async def generate(self, prepared: Prepared) -> AsyncGenerator[Piece, None]:
        """Refused: it embeds.

        Raises:
            RequestError: always.
        """
        raise RequestError("this model embeds text; it does not generate.", parameter="model")
        yield Piece("", 0)

    async def embed(self, texts: Sequence[str | tuple[int, ...]]) -> Embedded:
        """Vectors of `texts`, of length 1. Texts of like length go through the model together.

        Raises:
            RequestError: there is no text, one is empty or longer than the context window, or has no such tokens.
            EngineError: the engine failed.
        """
        if not texts or not all(texts):
            raise RequestError("input has no text, or an empty one.", parameter="input")
        for text in texts:  # before it is tokenised, which takes its time; as in generating
            if isinstance(text, str) and len(text) > 4 * self._longest_token * self.context_window:
                raise self._too_long(f"{len(text):,} characters")
            if not isinstance(text, str) and not all(0 <= token < self._vocabulary for token in text):
                raise RequestError(f"tokens are numbers from 0 to {self._vocabulary - 1}.", parameter="input")
        tokens = await self._run(self._tokenise, list(texts))
        longest = max(map(len, tokens))
        if longest > self.context_window:
            raise self._too_long(f"{longest} tokens")
        vectors: list[list[float]] = [[] for _ in texts]
        for which in _batches([len(row) for row in tokens]):
            made = await self._run(self._vectors, [tokens[at] for at in which])
            for at, vector in zip(which, made, strict=True):
                vectors[at] = vector
        return Embedded(vectors, sum(map(len, tokens)))

    async def park(self) -> None:
        """Move the weights to host memory. Nobody is being served. Does nothing on a CPU."""
        if self._device.type != "cpu":
            await self._run(self._move, torch.device("cpu"))

    async def wake(self) -> None:
        """Bring parked weights back."""
        if self._device.type != "cpu":
            await self._run(self._move, self._device)

    async def close(self) -> None:
        """Stop, and give all memory back. May be called more than once."""
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._module = None
        await asyncio.to_thread(give_back, self._device)

    def _too_long(self, what: str) -> RequestError:
        return RequestError(
            f"this model's context window is {self.context_window} tokens; a text has {what}.",
            parameter="input",
            code="context_length_exceeded",
            remedy="Divide it.",
        )

    async def _run(self, work: Any, given: Any) -> Any:
        if self._closed:
            raise EngineError("the model was unloaded.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, given)
        except RuntimeError as error:  # all that torch raises
            raise EngineError(f"the model failed: {str(error).strip()[:300]}") from None
        except asyncio.CancelledError:
            if self._closed:
                raise EngineError("the model was unloaded while it answered.") from None
            raise

    def _tokenise(self, texts: list[str | tuple[int, ...]]) -> list[list[int]]:
        words = [text for text in texts if isinstance(text, str)]
        read = self._tokenizer(words, truncation=False, padding=False, verbose=False)["input_ids"] if words else []
        rows = iter(read)
        return [next(rows) if isinstance(text, str) else list(text) for text in texts]

    def _vectors(self, rows: list[list[int]]) -> list[list[float]]:
        width = max(map(len, rows))
        padded = [row + [self._padding] * (width - len(row)) for row in rows]
        lengths = torch.tensor([len(row) for row in rows], device=self._device)
        mask = (torch.arange(width, device=self._device)[None, :] < lengths[:, None]).long()
        with torch.inference_mode():
            asked = torch.tensor(padded, device=self._device)
            hidden = self._module(input_ids=asked, attention_mask=mask).last_hidden_state.float()
            if self._pooling is Pooling.cls:
                pooled = hidden[:, 0]
            else:
                pooled = (hidden * mask[:, :, None]).sum(dim=1) / lengths[:, None]
            if not bool(pooled.isfinite().all()):
                raise EngineError("the model's output is not a number (NaN).")
            vectors: list[list[float]] = normalize(pooled, dim=1).tolist()
        return vectors

    def _move(self, device: torch.device) -> None:
        self._module.to(device)
        give_back(self._device)


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Which texts go together: the long ones first; no batch has more than `_MOST_PADDED` tokens with its padding."""
    batches: list[list[int]] = []
    for at in sorted(range(len(lengths)), key=lambda text: -lengths[text]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= _MOST_PADDED:
            batches[-1].append(at)
        else:
            batches.append([at])
    return batches
