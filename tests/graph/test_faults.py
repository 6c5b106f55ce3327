"""Many writers at once, a server or a writer killed in the middle, a connection that is cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from blocks.errors import UnavailableError
from blocks.graph import Graph
from models.graph import Label, NodeFact, Part, Ref, RelationshipFact, Type, Written
from tasks.graph.checked import canonical
from tasks.graph.store import Store
from tests.bolt_server import PASSWORD, BoltServer
from tests.graph.conftest import Clock, emptied

ROOT = Path(__file__).parents[2]


def parts(seed: int, modules: int = 12, functions: int = 25, edition: int = 0) -> list[Part]:
    """Code as it occurs: modules that contain functions, which call those of others, some far more often than most."""
    chance = random.Random(seed)
    names = [f"pkg.m{module}.f{at}" for module in range(modules) for at in range(functions)]
    made = []
    for module in range(modules):
        ref = Ref(Label.module, f"pkg.m{module}")
        own = [name for name in names if name.startswith(f"{ref.key}.")]
        nodes = [NodeFact(ref, {"name": f"m{module}"})]
        nodes += [NodeFact(Ref(Label.function, name), {"line": at, "edition": edition}) for at, name in enumerate(own)]
        edges = [RelationshipFact(Type.contains, ref, Ref(Label.function, name)) for name in own]
        pairs = {(name, names[int(chance.paretovariate(0.7)) % len(names)]) for name in own for _ in range(3)}
        edges += [
            RelationshipFact(Type.calls, Ref(Label.function, a), Ref(Label.function, b)) for a, b in sorted(pairs)
        ]
        made.append(Part(f"code:shop/{ref.key}", nodes, edges, mark=f"{seed}.{edition}"))
    return made


def many(parts: list[Part]) -> int:
    return sum(len(part.nodes) + len(part.relationships) for part in parts)


async def no_duplicates(block: Graph) -> None:
    async with block.get_client() as driver:
        for label in [*Label, "Past", "Said", "Scope"]:
            key = {"Past": "id", "Said": "id", "Scope": "name"}.get(label, "key")
            text = f"MATCH (n:{label}) WITH n.{key} AS key, count(n) AS many WHERE many > 1 RETURN key, many"
            assert (await driver.execute_query(text)).records == [], label
        for type_ in Type:
            counted = "WITH a.key AS a, b.key AS b, count(r) AS many WHERE many > 1 RETURN a, b, many"
            text = f"MATCH (a)-[r:{type_}]->(b) {counted}"
            assert (await driver.execute_query(text)).records == [], type_


async def test_sixteen_writers_of_the_same_facts_write_them_once(bolt: BoltServer, store: Store, clock: Clock) -> None:
    facts = parts(1)
    await store.replace_all(facts)
    alone = await store.canonical_hash()
    await emptied(bolt)

    async def write() -> Written:
        async with Store.open(bolt.block, clock=clock) as own:
            return await own.replace_all(facts)

    written = await asyncio.gather(*(write() for _ in range(16)))
    assert sum(one.created for one in written) == many(facts), "each fact was created by one of them"
    assert sum(one.same for one in written) == 15 * many(facts)
    await no_duplicates(bolt.block)
    assert await store.canonical_hash() == alone
    assert (await store.count()).past == 0


async def test_sixteen_sources_of_the_same_things_say_them_together(
    bolt: BoltServer, store: Store, clock: Clock
) -> None:
    refs = [Ref(Label.dependency, f"d{at}") for at in range(40)]
    edges = [RelationshipFact(Type.depends_on, refs[at], refs[(at * 7 + 1) % 40]) for at in range(40)]

    async def write(number: int) -> None:
        async with Store.open(bolt.block, clock=clock) as own:
            nodes = [NodeFact(ref, {f"by_{number}": 1, "all": "x"}) for ref in refs]
            await own.replace(f"s{number:02}", nodes, edges)

    await asyncio.gather(*(write(number) for number in range(16)))
    await no_duplicates(bolt.block)
    got = await store.get(refs)
    scopes = tuple(f"s{number:02}" for number in range(16))
    assert all(got[ref].scopes == scopes and len(got[ref].properties) == 17 for ref in refs)
    assert {edge.scopes for edge in await store.edges(refs, properties=True)} == {scopes}
    await asyncio.gather(*(store.forget([scope]) for scope in scopes[:-1]))
    assert {one.scopes for one in (await store.get(refs)).values()} == {("s15",)}


async def test_writers_that_contradict_each_other_leave_one_truth_and_no_gap(bolt: BoltServer, store: Store) -> None:
    refs = [Ref(Label.function, f"f{at}") for at in range(20)]

    async def write(number: int) -> None:
        async with Store.open(bolt.block) as own:
            for edition in range(3):
                await own.replace("s", [NodeFact(ref, {"by": number * 10 + edition}) for ref in refs])

    await asyncio.gather(*(write(number) for number in range(8)))
    await no_duplicates(bolt.block)
    for ref in refs:
        records = await store.history(ref)
        assert sum(one.valid_to is None and one.recorded_to is None for one in records) == 1
        believed = sorted((one for one in records if one.recorded_to is None), key=lambda one: one.valid_from)
        for one, two in pairwise(believed):
            assert one.valid_to == two.valid_from


WRITER = """
import asyncio, sys
from pydantic import SecretStr
from blocks.graph import Graph
from tasks.graph.store import Store
from tests.graph.test_faults import parts

async def main():
    block = Graph(uri=sys.argv[1], user="root", password=SecretStr(sys.argv[2]))
    async with Store.open(block) as store:
        print("begins", flush=True)
        await store.replace_all(parts(int(sys.argv[3]), edition=int(sys.argv[4])))
        print("ends", flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("after", [0.15, 0.4, 0.8])
async def test_a_writer_killed_in_the_middle_is_completed_by_the_next(
    bolt: BoltServer, store: Store, after: float
) -> None:
    await store.replace_all(parts(3))
    clean = await store.canonical_hash()
    await store.replace_all(parts(2, edition=1))
    other = await store.canonical_hash()
    command = [sys.executable, "-c", WRITER, str(bolt.block.uri), PASSWORD, "3", "0"]
    with subprocess.Popen(  # noqa: ASYNC220 - it is started here, and read by a thread
        command, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as writer:
        assert writer.stdout is not None
        await asyncio.to_thread(writer.stdout.readline)
        await asyncio.sleep(after)
        writer.kill()
    marks = await store.marks()
    whole = await store.canonical_hash() == clean
    assert whole or await store.canonical_hash() != other or set(marks.values()) != {"3.0"}
    if "3.0" in marks.values():
        assert whole, "a mark is there only when all is written"
    await store.replace_all(parts(3))
    assert await store.canonical_hash() == clean
    assert set((await store.marks()).values()) == {"3.0"}
    await no_duplicates(bolt.block)


_KILLS = int(os.environ.get("LAMA_GRAPH_KILLS", "2"))
_SEED = 7

BySource = dict[str, set[tuple[object, str]]]
"""Of each source the facts that it says, and their properties."""


def by_scope(some: list[Part]) -> BySource:
    made: BySource = {}
    for part in some:
        own = made[part.scope] = {(node.ref, canonical(node.properties)) for node in part.nodes}
        own |= {((one.type, one.start, one.end), canonical(one.properties)) for one in part.relationships}
    return made


async def by_source(store: Store) -> BySource:
    found: BySource = defaultdict(set)
    async for node in store.all_nodes():
        for scope in node.scopes:
            found[scope].add((node.ref, canonical(node.properties)))
    async for one in store.all_edges():
        for scope in one.scopes:
            found[scope].add(((one.type, one.start, one.end), canonical(one.properties)))
    return dict(found)


async def test_a_server_killed_again_and_again_keeps_what_it_acknowledged_and_the_next_run_converges(
    tmp_path: Path,
) -> None:
    """At any moment of a run that changes everything; `make soak` has it happen two hundred times."""
    chance = random.Random(_SEED)
    server = BoltServer(tmp_path, options={"arcadedb.txWalFlush": "1"})
    try:
        server.start()
        async with Store.open(server.block) as store:
            await store.prepare()
            await store.replace_all(before := parts(0))
        for kill in range(1, _KILLS + 1):
            after, acknowledged = parts(kill % 5, edition=kill), set[str]()

            async def write(after: list[Part] = after, acknowledged: set[str] = acknowledged) -> None:
                async with Store.open(server.block) as own:
                    for part in after:
                        await own.replace_all([part])
                        acknowledged.add(part.scope)

            writing = asyncio.create_task(write())
            await asyncio.sleep(chance.uniform(0, 1.5))
            server.kill()
            with contextlib.suppress(UnavailableError):
                await writing
            server.start()
            async with Store.open(server.block) as store:
                there = await by_source(store)
                for scope, new in by_scope(after).items():
                    old, found = by_scope(before)[scope], there[scope]
                    if scope in acknowledged:
                        assert found == new, f"seed {_SEED}, kill {kill}: what was acknowledged is there"
                    assert old & new <= found <= old | new, f"seed {_SEED}, kill {kill}"
                    assert {one[:1] for one in old} & {one[:1] for one in new} <= {one[:1] for one in found}
                await store.replace_all(after)
                assert await by_source(store) == by_scope(after)
            before = after
        await no_duplicates(server.block)
    finally:
        server.kill()


class Cutting:
    """Passes bytes on to a server until so many have gone, and then cuts every connection."""

    def __init__(self, port: int, after: int) -> None:
        self.left = after
        self.cuts = 0
        self._port = port

    async def __aenter__(self) -> Cutting:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self._port)
            tasks = [
                asyncio.create_task(self._pass(reader, there[1])),
                asyncio.create_task(self._pass(there[0], writer)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for one in (writer, there[1]):
                one.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while chunk := await source.read(1 << 12):
            if 0 < self.left <= len(chunk):
                self.cuts += 1
                self.left = 0
                return
            self.left = max(0, self.left - len(chunk))
            target.write(chunk)
            await target.drain()


@pytest.mark.parametrize("after", [3_000, 40_000, 90_000])
async def test_a_connection_cut_half_way_is_made_again_and_loses_nothing(
    bolt: BoltServer, store: Store, after: int
) -> None:
    await store.replace_all(parts(6))
    wanted = await store.canonical_hash()
    await emptied(bolt)
    async with Cutting(bolt.port, after) as between:
        block = bolt.block.model_copy(update={"uri": f"bolt://127.0.0.1:{between.port}"})
        async with Store.open(block) as through:
            written = await through.replace_all(parts(6))
        assert between.cuts == 1
    assert written.changed == written.closed == 0
    assert await store.canonical_hash() == wanted
    await no_duplicates(bolt.block)


async def test_nobody_there_is_said_at_once_and_without_the_password() -> None:
    server = BoltServer(Path("/nonexistent"))
    begun = time.monotonic()
    async with Store.open(server.block) as store:
        with pytest.raises(UnavailableError) as told:
            await store.count()
        with pytest.raises(UnavailableError):
            await store.replace("s", [NodeFact(Ref(Label.module, "m"))])
    assert PASSWORD not in str(told.value)
    assert time.monotonic() - begun < 10
