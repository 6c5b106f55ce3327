"""Ways to generate text with one model, for the benchmark of the model host: ours over HTTP, and what is beside it.

Each takes how many are asked for at a time, how many tokens each answer has, and a number that makes prompts differ.
It returns the seconds to each first token (none where nobody can see them) and the tokens that came.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from tasks.model_host.llamacpp_server import LlamaServer
from tests.model_host.running import RunningHost


class Told(NamedTuple):
    """What came of a call."""

    first_s: list[float]
    tokens: int


def prompt(number: int) -> str:
    """A text of a few tokens that nobody has in a cache."""
    return f"Tale number {number}: once upon a time"


class OverHttp:
    """One model of a running host, asked with the standard library's client, which takes the least time."""

    def __init__(self, host: RunningHost, model: str) -> None:
        self._host = host
        self._model = model

    def __call__(self, count: int, tokens: int, number: int) -> Told:
        return _at_once(count, lambda place: self.one(tokens, number + place))

    def one(self, tokens: int, number: int, *, cache: bool = False) -> tuple[float, int]:
        """Seconds to the first token, and the tokens that came."""
        connection = http.client.HTTPConnection("127.0.0.1", self._host.settings.model_host_port, timeout=300)
        asked = {
            "model": self._model, "prompt": prompt(number), "max_tokens": tokens, "stream": True, "temperature": 0,
            "stream_options": {"include_usage": True},
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {self._host.key}"} | ({} if cache else {"X-Lama-Cache": "off"})
        started = time.perf_counter()
        connection.request("POST", "/v1/completions", orjson.dumps(asked), headers)
        response = connection.getresponse()
        first, came = 0.0, 0
        while line := response.readline():
            if line.startswith(b"data: {"):
                first = first or time.perf_counter() - started
                if b'"completion_tokens"' in line:
                    came = orjson.loads(line[6:])["usage"]["completion_tokens"]
        connection.close()
        if not came:
            raise RuntimeError(f"{self._model} answered {response.status} and no tokens")
        return first, came


class RawLlamaCpp:
    """llama.cpp in this process, with the same slots and threads as the host's."""

    def __init__(self, server: LlamaServer) -> None:
        self._server = server

    def __call__(self, count: int, tokens: int, number: int) -> Told:
        return _at_once(count, lambda place: self._one(tokens, number + place))

    def _one(self, tokens: int, number: int) -> tuple[float, int]:
        started = time.perf_counter()
        first, came = 0.0, 0

        def heard(message: bytes) -> bool:
            nonlocal first, came
            came = orjson.loads(message)["timings"]["predicted_n"]
            first = first or time.perf_counter() - started
            return False

        body = {
            "prompt": prompt(number), "max_tokens": tokens, "stream": True, "temperature": 0.0,
            "timings_per_token": True,
        }  # fmt: skip
        self._server.complete(orjson.dumps(body), heard)
        return first, came


class Generate:
    """transformers' `generate`, one by one."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def __call__(self, count: int, tokens: int, number: int) -> Told:
        import torch  # noqa: PLC0415

        firsts, came = [], 0
        for place in range(count):
            given = self._tokenizer(prompt(number + place), return_tensors="pt").to(self._model.device)
            seen = _Seen()
            with torch.inference_mode():
                answer = self._model.generate(**given, max_new_tokens=tokens, do_sample=False, streamer=seen)
            firsts.append(seen.first_s)
            came += int(answer.shape[1] - given["input_ids"].shape[1])
        return Told(firsts, came)


class GenerateBatch:
    """transformers' `generate_batch`: its own continuous batching, set up once."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        from transformers import ContinuousBatchingConfig, GenerationConfig  # noqa: PLC0415

        config: Any = ContinuousBatchingConfig
        generation: Any = GenerationConfig
        self._model = model
        self._tokenizer = tokenizer
        self._config = config(page_size=32, num_blocks=256, max_batch_tokens=256)
        self._generation = generation.from_model_config(model.config)
        self._generation.do_sample = False

    def __call__(self, count: int, tokens: int, number: int) -> Told:
        inputs = [self._tokenizer(prompt(number + place))["input_ids"] for place in range(count)]
        self._generation.max_new_tokens = tokens
        answers = self._model.generate_batch(
            inputs, generation_config=self._generation, continuous_batching_config=self._config, progress_bar=False,
            persistent_manager=True,
        )  # fmt: skip
        if any(one.error for one in answers.values()):
            raise RuntimeError(f"generate_batch: {next(one.error for one in answers.values() if one.error)}")
        return Told([], sum(len(one.generated_tokens) for one in answers.values()))


class _Seen:
    """A streamer that looks at the clock: it is given the prompt, then each token."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._told = 0
        self.first_s = 0.0

    def put(self, _value: object) -> None:
        self._told += 1
        if self._told == 2:
            self.first_s = time.perf_counter() - self._started

    def end(self) -> None:
        return


def _at_once(count: int, one: Callable[[int], tuple[float, int]]) -> Told:
    given: list[tuple[float, int] | None] = [None] * count

    def call(place: int) -> None:
        given[place] = one(place)

    threads = [threading.Thread(target=call, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [one for one in given if one is not None]
    if len(told) < count:
        raise RuntimeError("a request failed")
    return Told([first for first, _ in told], sum(tokens for _, tokens in told))
