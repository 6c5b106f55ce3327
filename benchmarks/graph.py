"""The knowledge graph: facts a second at first, again, and with 1 % changed; and what breaks if something changes.

The peer is the bare driver with hand-written batches (`_graph_bare.py`), on the same server settings, constraints and
indexes, in the same run, with the best of three sizes of a batch. It writes the same columns; it keeps
no history, checks nothing and closes nothing, which ours does in the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import _graph_bare, _graph_code  # noqa: E402
from models.graph import Part  # noqa: E402
from tasks.graph import checked  # noqa: E402
from tasks.graph.questions.asking import level_of  # noqa: E402
from tasks.graph.questions.impact import impact  # noqa: E402
from tasks.graph.store import Store  # noqa: E402
from tests.bolt_server import BoltServer  # noqa: E402

CHUNK = 4_000
"""Modules that are handed over in one call: some 100,000 nodes."""
BATCHES = (2_000, 5_000, 10_000)
ONE_SERVER = 50_000
"""Up to so many nodes a graph is wiped for the next round: to delete takes longer than to write."""
BARE = "bare driver, UNWIND by hand"
DEPTH = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 45 seconds")
    parser.add_argument("--sizes", type=int, nargs="*", help="how many nodes")
    asked = parser.parse_args()
    sizes = asked.sizes or ([10_000] if asked.quick else [10_000, 100_000, 1_000_000])
    queries = 100 if asked.quick else 300
    batch = BATCHES[-1] if asked.quick else asyncio.run(best_batch())
    measured = {size: asyncio.run(measure(size, queries, batch, rounds=2 if asked.quick else 3)) for size in sizes}
    show(measured, batch)


@contextmanager
def server(size: int) -> Iterator[BoltServer]:
    with tempfile.TemporaryDirectory(prefix="lama-bench-") as folder:
        running = BoltServer(Path(folder), heap="2g" if size > ONE_SERVER else "1g")
        try:
            running.start()
            yield running
        finally:
            running.kill()


async def prepared(running: BoltServer) -> None:
    async with Store.open(running.block) as store:
        await store.prepare()


async def wipe(running: BoltServer) -> None:
    async with running.block.get_client() as driver:
        await driver.execute_query("MATCH (n) DETACH DELETE n")


async def best_batch() -> int:
    """The batch with which the peer is fastest, in the second of two rounds."""
    parts = list(_graph_code.parts(10_000))
    took = {}
    with server(0) as running:
        await prepared(running)
        async with running.block.get_client() as driver:
            for batch in (*BATCHES, *BATCHES):
                statements = _graph_bare.prepared(parts, hashes(parts))
                begun = time.perf_counter()
                await _graph_bare.load(driver, statements, batch)
                took[batch] = time.perf_counter() - begun
                await wipe(running)
    return min(took, key=lambda one: took[one])


async def measure(size: int, queries: int, batch: int, *, rounds: int) -> dict[str, Any]:
    """Both in turn on one server, each the best of several rounds; the largest graphs once, each on one of its own."""
    facts = sum(len(part.nodes) + len(part.relationships) for part in _graph_code.parts(size))
    result: dict[str, Any] = {"facts": facts}
    ways = {"ours": ours, "bare": bare}
    if size <= ONE_SERVER:
        with server(size) as running:
            await prepared(running)
            for number in range(rounds):
                for name, way in ways.items():
                    last = number == rounds - 1
                    one = await way(running, size, queries if last else 0, batch)
                    best = result[name]["took"] if name in result else one["took"]
                    one["took"] = {what: min(best[what], took) for what, took in one["took"].items()}
                    result[name] = one
                    await wipe(running)
        return result
    for name, way in ways.items():
        with server(size) as running:
            await prepared(running)
            for _ in range(2):  # the server compiles what it does often
                await way(running, 10_000, 0, batch)
                await wipe(running)
            result[name] = await way(running, size, queries, batch)
    return result


def chunks(size: int, changed: frozenset[int] = frozenset()) -> Iterator[list[Part]]:
    stream = _graph_code.parts(size, changed=changed)
    while chunk := list(islice(stream, CHUNK)):
        yield chunk


async def ours(running: BoltServer, size: int, queries: int, _batch: int) -> dict[str, Any]:
    took = {}
    changed = frozenset(range(0, size // 26, 4))
    async with Store.open(running.block) as store:
        for name, which in (("first", frozenset()), ("again", frozenset()), ("1 % changed", changed)):
            took[name] = 0.0
            for parts in chunks(size, which):
                begun = time.perf_counter()
                await store.replace_all(parts)
                took[name] += time.perf_counter() - begun
        asked, found = [], []
        level = level_of(store)
        for ref in _graph_code.some_functions(size, queries + 20 if queries else 0):
            begun = time.perf_counter()
            found.append(len((await impact(ref, level)).hits))
            asked.append(time.perf_counter() - begun)
    return {"took": took, "asked": asked[20:], "found": found[20:], "server_rss_mib": memory(running)}


async def bare(running: BoltServer, size: int, queries: int, batch: int) -> dict[str, Any]:
    took = {}
    changed = frozenset(range(0, size // 26, 4))
    async with running.block.get_client() as driver:
        for name, which in (("first", frozenset()), ("again", frozenset()), ("1 % changed", changed)):
            took[name] = 0.0
            # All nodes before all relationships, or some ends would not be there.
            for nodes in (True, False):
                for parts in chunks(size, which):
                    kept = [
                        Part(one.scope, one.nodes if nodes else (), () if nodes else one.relationships) for one in parts
                    ]
                    known = hashes(kept)
                    begun = time.perf_counter()
                    await _graph_bare.load(driver, _graph_bare.prepared(kept, known), batch)
                    took[name] += time.perf_counter() - begun
        asked, found = [], []
        for ref in _graph_code.some_functions(size, queries + 20 if queries else 0):
            begun = time.perf_counter()
            found.append(await _graph_bare.impact(driver, ref, DEPTH))
            asked.append(time.perf_counter() - begun)
    return {"took": took, "asked": asked[20:], "found": found[20:], "server_rss_mib": memory(running)}


def memory(running: BoltServer) -> int:
    return round(psutil.Process(running.pid).memory_info().rss / 2**20)


def hashes(parts: list[Part]) -> dict[Any, str]:
    """What names each state of a fact, made outside of what is measured."""
    made: dict[Any, str] = {}
    for part in parts:
        made |= {
            node.ref: checked.digest(node.ref, checked.canonical(node.properties), part.scope) for node in part.nodes
        }
        for one in part.relationships:
            name = (one.type, one.start, one.end)
            made[name] = checked.hash_of(name)
    return made


def show(measured: dict[int, dict[str, Any]], batch: int) -> None:
    ratio = {}
    detail: dict[str, Any] = {}
    for size, one in measured.items():
        facts = one["facts"]
        detail[f"{size} nodes"] = of_size = {"facts": facts}
        for name in ("first", "again", "1 % changed"):
            rates = {who: round(facts / one[who]["took"][name]) for who in ("ours", "bare")}
            ratio[f"{BARE}: {name}, {size} nodes"] = round(rates["ours"] / rates["bare"], 2)
            of_size[f"{name}, facts/s"] = rates
            print(f"{size:>9} nodes  {name:12} {rates['ours']:>8} facts/s ours {rates['bare']:>8} bare")
        for who in ("ours", "bare"):
            asked = one[who]["asked"]
            spread = statistics.quantiles(asked, n=100)
            of_size[f"impact, {who}"] = {
                "p50_ms": round(1000 * spread[49], 1),
                "p95_ms": round(1000 * spread[94], 1),
                "max_ms": round(1000 * max(asked), 1),
                "found": round(statistics.mean(one[who]["found"])),
            }
            of_size[f"server RSS, {who}, MiB"] = one[who]["server_rss_mib"]
            print(f"{size:>9} nodes  impact, {who}: {of_size[f'impact, {who}']}")
    largest = max(measured)
    first = detail[f"{largest} nodes"]["first, facts/s"]
    result = {
        "benchmark": "graph",
        "unit": "facts/s",
        "ours": first["ours"],
        "peers": {BARE: first["bare"]},
        "ratio": ratio,
        "detail": {
            **detail,
            "batch of the peer": batch,
            "cores": os.cpu_count(),
            "load_average": [round(value, 1) for value in os.getloadavg()],
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
