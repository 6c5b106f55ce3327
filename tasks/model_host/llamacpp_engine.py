"""The engine of GGUF files: llama.cpp, with a context window kept for each of its slots."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from models.model_host import EngineKind, Footprint, Measured
from tasks.model_host.answer_schema import check_answer, check_schema
from tasks.model_host.engine import Ask, Embedded, Piece, Prepared, TokenLogprob
from tasks.model_host.errors import EngineError, RequestError
from tasks.model_host.headers import gguf_files
from tasks.model_host.llamacpp_server import LlamaServer, decoded, failure
from tasks.model_host.llamacpp_trial import try_file
from tasks.model_host.measuring import mapped

_LARGEST_SEED = 2**32 - 2
"""llama.cpp's seeds have 32 bits, and the last one means any."""


async def open_llamacpp(
    file: Path,
    *,
    context_window: int,
    concurrency: int,
    threads: int,
    kv_per_token: int,
    workspace: int = 0,
    embeds: bool = False,
    gpu_layers: int = 0,
) -> LlamaCppEngine:
    """Load `file`, whose header has been looked at, here once another process has survived it (`llamacpp_trial`).

    Args:
        file: the GGUF file.
        context_window: most tokens of a prompt and its answer.
        concurrency: how many are answered at a time.
        threads: computing threads.
        kv_per_token: bytes of keys and values (16 bit) of one token over all layers.
        workspace: bytes that were predicted beside weights, keys and values: more than a first step touches.
        embeds: whether it makes vectors instead of text.
        gpu_layers: layers that are computed on a GPU.

    Raises:
        LoadError: it cannot be loaded; no memory is held.
    """

    def load() -> tuple[LlamaServer, Measured | None]:
        beside = try_file(file, context_window=context_window, slots=concurrency, embeds=embeds)
        server = LlamaServer(
            file, context_window=context_window, slots=concurrency, threads=threads, embeds=embeds,
            gpu_layers=gpu_layers,
        )  # fmt: skip
        pages = mapped(gguf_files(file))
        # A file that was not mapped is in the memory that the trial has measured.
        return server, None if beside is None or pages is None else Measured(weights=pages, beside=beside)

    task = asyncio.ensure_future(asyncio.to_thread(load))
    try:
        server, measured = await asyncio.shield(task)
    except asyncio.CancelledError:
        # The thread goes on; what it has loaded by then is nobody's.
        task.add_done_callback(_discard)
        raise
    return LlamaCppEngine(
        server, min(context_window, server.trained_window), concurrency, kv_per_token,
        workspace=workspace, measured=measured, embeds=embeds,
    )  # fmt: skip


class LlamaCppEngine:
    """See `Engine`. Keys and values have their memory from the load on, whether anybody asks or not."""

    kind = EngineKind.llamacpp

    def __init__(
        self,
        server: LlamaServer,
        context_window: int,
        concurrency: int,
        kv_per_token: int,
        *,
        workspace: int,
        measured: Measured | None,
        embeds: bool,
    ) -> None:
        self.context_window = context_window
        self._server = server
        self._embeds = embeds
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="llamacpp")
        self._runs: set[_Run] = set()
        self._closing: asyncio.Task[None] | None = None
        fixed = kv_per_token * server.slot_tokens * concurrency
        self._footprint = Footprint(
            weights=server.tensor_bytes,
            kv_per_token=kv_per_token,
            kv_fixed=fixed,
            workspace=workspace,
        )
        self._measured = measured

    @property
    def footprint(self) -> Footprint:
        """What it takes; the workspace is what was predicted."""
        return self._footprint

    @property
    def measured(self) -> Measured | None:
        """Pages of its file here, and what else its load took in a process that had nothing else to do."""
        return self._measured

    def prepare(self, ask: Ask) -> Prepared:
        """Tokenise `ask`, exactly as it will be read. Blocks for about a millisecond, or 2.5 a thousand tokens.

        Raises:
            RequestError: it is longer than the context window, or malformed.
            EngineError: it is closed.
        """
        if self._embeds:
            raise RequestError("This model embeds; it does not generate.", parameter="model")
        if self._closing is not None:
            raise EngineError("The model is being unloaded.", component="model host")
        if ask.schema is not None:
            check_schema(ask.schema)
        tokens = self._tokens(ask)
        left = self.context_window - len(tokens)
        if not tokens:
            raise RequestError("The prompt is empty.", parameter="prompt")
        wanted = 1 if ask.max_tokens is None else ask.max_tokens
        if left < wanted:
            raise RequestError(
                f"The prompt has {len(tokens)} tokens and its answer {wanted} or more; the context window of this "
                f"model is {self.context_window} for both.",
                parameter="prompt" if ask.messages is None else "messages",
                code="context_length_exceeded",
            )
        most = ask.max_tokens or left
        return Prepared(ask, len(tokens), most, _body(ask, tokens, most))

    async def generate(self, prepared: Prepared) -> AsyncGenerator[Piece, None]:
        """Generate. Pieces that come faster than they are taken are given as one.

        Raises:
            RequestError: llama.cpp refuses it.
            EngineError: llama.cpp failed, or the engine is closed meanwhile, or the answer does not follow its schema.
        """
        if self._closing is not None:
            raise EngineError("The model is being unloaded.", component="model host")
        run = _Run(self._server, prepared.payload)
        self._runs.add(run)
        ended = asyncio.get_running_loop().run_in_executor(self._threads, run)
        told, wanted = 0, prepared.ask.sampling.logprobs
        schema, text = prepared.ask.schema, ""
        try:
            while True:
                piece = _piece(await run.messages(), told, wanted)
                told += piece.tokens
                if schema is not None:
                    text += piece.text
                    if piece.finish == "stop":
                        check_answer(schema, text)
                if piece.tokens or piece.text or piece.finish:
                    yield piece
                if piece.finish:
                    return
        finally:
            run.stop()
            ended.cancel()  # it may not have begun
            self._runs.discard(run)

    async def embed(self, texts: Sequence[str | tuple[int, ...]]) -> Embedded:
        """Vectors of `texts`.

        Raises:
            RequestError: a text is empty or longer than the context window, or the model does not embed.
            EngineError: llama.cpp failed.
        """
        if not self._embeds:
            raise RequestError("This model generates; it does not embed.", parameter="model")
        if self._closing is not None:
            raise EngineError("The model is being unloaded.", component="model host")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._embed, tuple(texts))

    async def park(self) -> None:
        """Does nothing: the weights are pages of the file."""

    async def wake(self) -> None:
        """Does nothing."""

    async def close(self) -> None:
        """End whatever runs, and give all memory back."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for run in tuple(self._runs):
            run.stop(EngineError("The model was unloaded meanwhile.", component="model host"))

        def end() -> None:
            self._threads.shutdown(wait=True)
            self._server.close()

        await asyncio.to_thread(end)

    def _tokens(self, ask: Ask) -> tuple[int, ...]:
        prompt = ask.prompt
        if isinstance(prompt, tuple):
            self._known(prompt, "prompt")
            return prompt
        if ask.messages is not None:
            prompt = self._server.ask("POST", "/apply-template", {"messages": ask.messages})["prompt"]
        asked = {"content": prompt, "add_special": True, "parse_special": True}
        return tuple(self._server.ask("POST", "/tokenize", asked)["tokens"])

    def _known(self, tokens: Sequence[int], parameter: str) -> None:
        if any(not 0 <= token < self._server.vocabulary for token in tokens):
            raise RequestError(
                f"A token is not in the vocabulary of this model, which has {self._server.vocabulary}.",
                parameter=parameter,
            )

    def _embed(self, texts: tuple[str | tuple[int, ...], ...]) -> Embedded:
        inputs = []
        for text in texts:
            if isinstance(text, tuple):
                self._known(text, "input")
                tokens: Sequence[int] = text
            else:
                tokens = self._server.ask("POST", "/tokenize", {"content": text, "add_special": True})["tokens"]
            if not tokens:
                raise RequestError("A text is empty.", parameter="input")
            if len(tokens) > self.context_window:
                raise RequestError(
                    f"A text has {len(tokens)} tokens; the context window of this model is {self.context_window}.",
                    parameter="input",
                    code="context_length_exceeded",
                )
            inputs.append(tokens)
        answer = self._server.embed(orjson.dumps({"input": inputs}))
        rows = sorted(answer["data"], key=lambda row: row["index"])
        return Embedded([row["embedding"] for row in rows], sum(map(len, inputs)))


class _Run:
    """One request in its thread, and its messages on their way to the event loop."""

    def __init__(self, server: LlamaServer, body: bytes) -> None:
        self._server = server
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._waiting: deque[bytes] = deque()
        self._woken = threading.Event()
        self._error: Exception | None = None
        self._stopped = False
        self._ended = False

    def __call__(self) -> None:
        """Run to the end; called in a thread."""
        try:
            if not self._stopped:
                self._server.complete(self._body, self._heard)
        except Exception as error:  # noqa: BLE001 - it is raised where the messages are taken
            self._error = self._error or error
        finally:
            self._ended = True
            self._wake()

    def stop(self, error: Exception | None = None) -> None:
        """End it at the next step; whoever waits for messages is told `error`."""
        self._stopped = True
        self._error = self._error or error
        self._arrived.set()

    async def messages(self) -> list[bytes]:
        """What has come, at least one.

        Raises:
            EngineError: it ended without a last word.
        """
        while True:
            if not self._waiting and not self._ended:
                await self._arrived.wait()
            self._arrived.clear()
            self._woken.clear()
            if self._stopped and self._error is not None:
                raise self._error
            found = []
            while self._waiting:
                found.append(self._waiting.popleft())
            if found:
                return found
            if self._ended:
                raise EngineError("llama.cpp ended without an answer.", component="model host") from self._error

    def _heard(self, message: bytes) -> bool:
        self._waiting.append(message)
        self._wake()
        return self._stopped

    def _wake(self) -> None:
        if not self._woken.is_set():
            self._woken.set()
            try:
                self._loop.call_soon_threadsafe(self._arrived.set)
            except RuntimeError:  # the loop has ended, and with it whoever would take them
                self._stopped = True


def _body(ask: Ask, tokens: tuple[int, ...], most: int) -> bytes:
    """The request as llama.cpp takes it. What it would do by default and OpenAI's API does not is switched off."""
    sampling = ask.sampling
    body: dict[str, Any] = {
        "prompt": tokens,
        "max_tokens": most,
        "stream": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "seed": -1 if sampling.seed is None else sampling.seed % (_LARGEST_SEED + 1),
        "cache_prompt": True,
        "return_progress": True,  # messages while the prompt is read: whoever has hung up is noticed by them
        "timings_per_token": True,  # they say how many tokens there are
    }
    if ask.stop:
        body["stop"] = ask.stop
    if sampling.logprobs is not None:
        body["n_probs"] = max(1, sampling.logprobs)
    if ask.schema is not None:
        body["json_schema"] = ask.schema
    return orjson.dumps(body)


def _piece(messages: Sequence[bytes], told: int, wanted: int | None) -> Piece:
    """What `messages` say together, after `told` tokens.

    Raises:
        RequestError, EngineError: one of them is an error.
    """
    texts: list[str] = []
    logprobs: list[TokenLogprob] = []
    tokens, finish = told, None
    for message in messages:
        read = decoded(message)
        if "error" in read:
            raise failure(read)
        for choice in read["choices"]:
            texts.append(choice["text"])
            if wanted is not None and choice["logprobs"]:
                logprobs.extend(_logprob(row, wanted) for row in choice["logprobs"]["content"])
            finish = choice["finish_reason"] or finish
        tokens = max(tokens, read.get("timings", {}).get("predicted_n", 0))
    return Piece("".join(texts), tokens - told, tuple(logprobs), "length" if finish == "length" else finish and "stop")


def _logprob(row: dict[str, Any], wanted: int) -> TokenLogprob:
    top = tuple((one["token"], one["logprob"]) for one in row["top_logprobs"][:wanted])
    return TokenLogprob(row["token"], row["logprob"], top)


def _discard(task: asyncio.Future[tuple[LlamaServer, Measured | None]]) -> None:
    if not task.cancelled() and task.exception() is None:
        threading.Thread(target=task.result()[0].close, name="llamacpp discard").start()
