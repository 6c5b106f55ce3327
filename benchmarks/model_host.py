"""Tokens a second of the model host over HTTP, beside the libraries that it stands on, in the same run.

SmolLM2-135M on the CPU: the llama.cpp engine beside llama.cpp itself in this process; the transformers engine beside
transformers' own `generate`, one by one, and `generate_batch`. All compute with the same number of threads. The ways
take turns, so that whatever else the machine does meets all of them; figures are medians of the turns, ratios medians
of the turns' own ratios. With `--device cuda`: see `_model_host_cuda.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging as std_logging
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._model_host_peers import Generate, GenerateBatch, OverHttp, RawLlamaCpp, Told  # noqa: E402
from tasks.model_host.llamacpp_server import LlamaServer  # noqa: E402
from tests.conftest import free_port  # noqa: E402
from tests.model_host.running import RunningHost, smollm2  # noqa: E402
from tests.model_host.smollm2 import unpacked  # noqa: E402

MANY = 8
GGUF, FOLDER = "llamacpp engine over HTTP", "transformers engine over HTTP"
RAW, ONE_BY_ONE, BATCHED = "llama.cpp in process", "transformers generate, one by one", "transformers generate_batch"
PAIRS = ((GGUF, RAW, 1, 1), (GGUF, RAW, MANY, MANY), (FOLDER, ONE_BY_ONE, MANY, 1), (FOLDER, BATCHED, MANY, MANY))
"""Ours, the peer, and how many are asked of each at a time."""

Way = Callable[[int, int, int], Told]


class Figures:
    """What the turns gave."""

    def __init__(self) -> None:
        self.speeds: dict[tuple[str, int], list[float]] = defaultdict(list)
        self.firsts: dict[tuple[str, int], list[float]] = defaultdict(list)
        self.cpu_s: dict[tuple[str, int], float] = defaultdict(float)
        self.tokens: dict[tuple[str, int], int] = defaultdict(int)

    def take(self, name: str, way: Way, process: psutil.Process, given: tuple[int, int, int]) -> None:
        """Call `way` and note what came. `process` is where it computes."""
        before, started = _cpu_s(process), time.perf_counter()
        told = way(*given)
        key = name, given[0]
        self.speeds[key].append(told.tokens / (time.perf_counter() - started))
        self.firsts[key] += told.first_s
        self.cpu_s[key] += _cpu_s(process) - before
        self.tokens[key] += told.tokens

    def speed(self, name: str, count: int) -> float:
        """Tokens a second."""
        return round(statistics.median(self.speeds[name, count]), 1)

    def cost_ms(self, name: str, count: int) -> float:
        """Computing time a token."""
        return round(self.cpu_s[name, count] / self.tokens[name, count] * 1e3, 2)

    def row(self, name: str, count: int) -> dict[str, float | None]:
        """The figures of a way."""
        firsts = self.firsts[name, count]
        return {
            "tokens_per_s": self.speed(name, count),
            "best": round(max(self.speeds[name, count]), 1),
            "cpu_ms_per_token": self.cost_ms(name, count),
            "first_token_ms": round(statistics.median(firsts) * 1e3, 1) if firsts else None,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 45 seconds")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="computing threads of everybody")
    given = parser.parse_args()
    if given.device == "cuda":
        from benchmarks import _model_host_cuda  # noqa: PLC0415

        _model_host_cuda.main(quick=given.quick)
        return
    with contextlib.suppress(PermissionError):
        os.setsid()  # the kernel shares cores out by session, and the host has one of its own
    on_cpu(quick=given.quick, threads=given.threads)


def on_cpu(*, quick: bool, threads: int) -> None:
    rounds, tokens, slow_tokens = (2, 16, 8) if quick else (4, 64, 16)
    home = Path(tempfile.mkdtemp(prefix="lama-bench-"))
    host = RunningHost(home, free_port(), _toml(threads))
    start_s = host.start()
    loading = threading.Thread(target=_load, args=(host,))
    loading.start()
    model, tokenizer = _transformers(threads)
    server = LlamaServer(smollm2(), context_window=512, slots=MANY, threads=threads)
    loading.join()
    here, there = psutil.Process(), psutil.Process(host.pid)
    gguf, folder = OverHttp(host, "gguf"), OverHttp(host, "folder")
    turns: list[tuple[str, Way, psutil.Process, int, int]] = [
        (GGUF, gguf, there, 1, tokens),
        (RAW, RawLlamaCpp(server), here, 1, tokens),
        (GGUF, gguf, there, MANY, tokens),
        (RAW, RawLlamaCpp(server), here, MANY, tokens),
        (FOLDER, folder, there, 1, slow_tokens),
        (ONE_BY_ONE, Generate(model, tokenizer), here, 1, slow_tokens),
        (FOLDER, folder, there, MANY, slow_tokens),
        (BATCHED, GenerateBatch(model, tokenizer), here, MANY, slow_tokens),
    ]
    for _, way, _, count, _ in turns:  # what is made at the first use: buffers, threads, connections
        way(count, 2, 1_000_000)
    figures = Figures()
    for turn in range(rounds):
        for name, way, process, count, each in turns:
            figures.take(name, way, process, (count, each, 100 * (turn + 1)))
    hits = _cache_hits(gguf)
    host.stop()
    server.close()
    _tell(figures, {"start_s": round(start_s, 2), "threads": threads, **hits})


def _tell(figures: Figures, more: dict[str, Any]) -> None:
    rows = {f"{name}, {count} at a time": figures.row(name, count) for name, count in figures.speeds}
    for name, row in rows.items():
        print(f"{name:50} {row}")
    ratios = {}
    costs = {}
    for ours, peer, many, few in PAIRS:
        word = f"{ours}, {many} at a time / {peer}, {few} at a time"
        pairs = zip(figures.speeds[ours, many], figures.speeds[peer, few], strict=True)
        ratios[word] = round(statistics.median(a / b for a, b in pairs), 3)
        costs[word] = round(figures.cost_ms(peer, few) / figures.cost_ms(ours, many), 3)
    result = {
        "benchmark": "model_host",
        "unit": f"tokens/s, {MANY} at a time over HTTP (llamacpp engine)",
        "ours": figures.speed(GGUF, MANY),
        "peers": {
            f"{name}, {count} at a time": figures.speed(name, count)
            for name, count in ((RAW, 1), (RAW, MANY), (ONE_BY_ONE, 1), (BATCHED, MANY))
        },
        "ratio": ratios,
        "detail": {
            "ways": rows, "ratio by computing time a token": costs, **more, "cores": os.cpu_count(),
            "load_average": [round(value, 1) for value in os.getloadavg()],
        },
    }  # fmt: skip
    print(json.dumps(result))


def _toml(threads: int) -> str:
    return f"""
[model_host]
threads = {threads}
[[model_host.models]]
name = "gguf"
source = "path:{smollm2()}"
context_window = 512
concurrency = {MANY}
[[model_host.models]]
name = "folder"
source = "path:{unpacked().folder}"
context_window = 512
"""


def _load(host: RunningHost) -> None:
    with host.http() as http:
        for name in ("gguf", "folder"):
            http.post(f"/host/models/{name}/load").raise_for_status()


def _transformers(threads: int) -> tuple[Any, Any]:
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    words: Any = logging
    words.set_verbosity_error()
    words.disable_progress_bar()
    std_logging.getLogger("ContinuousBatchingLogger").setLevel(std_logging.ERROR)  # advice at every call
    torch.set_num_threads(threads)
    made: Any = AutoModelForCausalLM
    model = made.from_pretrained(unpacked().folder, dtype=torch.float32).eval()
    model.generation_config.pad_token_id = model.generation_config.eos_token_id
    return model, AutoTokenizer.from_pretrained(unpacked().folder)


def _cache_hits(way: OverHttp) -> dict[str, float]:
    """Milliseconds of an answer that is computed, and of the same one when it is given again."""
    started = time.perf_counter()
    way.one(16, 7, cache=True)
    computed_s = time.perf_counter() - started
    again = []
    for _ in range(30):
        started = time.perf_counter()
        way.one(16, 7, cache=True)
        again.append(time.perf_counter() - started)
    return {
        "answer_of_16_tokens_ms": round(computed_s * 1e3, 1),
        "the_same_from_the_cache_ms": round(statistics.median(again) * 1e3, 2),
    }


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
