"""A backup is of one moment, is not restored when damaged, and gives the same graph again."""

from __future__ import annotations

import asyncio
import gzip
import random
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from blocks.errors import ConfigurationError, UnavailableError
from blocks.graph import Graph
from blocks.settings import Settings
from models.graph import AsOf, Label, NodeFact, Part, Ref, RelationshipFact, Type
from models.graph_sensitive import SENSITIVE
from tasks.graph import backup, restore
from tasks.graph.backup import back_up
from tasks.graph.backup_file import FORM, verify
from tasks.graph.migrations import migrate
from tasks.graph.restore import empty
from tasks.graph.restore import restore as put_back
from tasks.graph.sealing import Seal
from tasks.graph.store import Store
from tasks.graph.transactions import Transactions
from tests.graph.test_sealing import KEY

START = datetime(2026, 1, 1, tzinfo=UTC)


class Place:
    """A graph, with a clock that a test sets."""

    def __init__(self, store: Store, transactions: Transactions) -> None:
        self.store = store
        self.transactions = transactions
        self.now = START

    async def hashes(self) -> tuple[str, str]:
        return await self.store.canonical_hash(), await self.store.canonical_hash(history=True)


@pytest.fixture
async def place(graph: Settings) -> AsyncIterator[Place]:
    block = Graph.of(graph)
    async with block.get_client() as driver:
        transactions = Transactions(driver, block.database)
        store = Store(driver, database=block.database, clock=lambda: place.now)
        place = Place(store, transactions)
        await migrate(transactions)
        yield place


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _ref(number: int) -> Ref:
    return Ref(Label.module if number % 3 else Label.function, f"m{number}")


async def _fill(place: Place, rounds: int = 6, size: int = 40) -> None:
    """Three sources that say, contradict and take back, at random."""
    chance = random.Random(1)
    seal = Seal((KEY,), SENSITIVE)
    for _ in range(rounds):
        place.now += timedelta(hours=1)
        parts = []
        for scope in ("code:a", "code:b", "audit"):
            numbers = chance.sample(range(size), size // 2)
            nodes = [
                NodeFact(_ref(n), {"name": f"n{chance.randrange(4)}", "lines": n, "tags": ("x", "y")}) for n in numbers
            ]
            nodes.append(NodeFact(Ref(Label.memory, scope), {"text": f"secret {chance.randrange(3)}"}))
            pairs = {tuple(chance.sample(numbers, 2)) for _ in range(size // 2)}
            edges = [
                RelationshipFact(Type.calls, _ref(a), _ref(b), {"line": chance.randrange(3)}) for a, b in sorted(pairs)
            ]
            parts.append(seal.part(Part(scope, nodes, edges, mark=f"mark {place.now}")))
        await place.store.replace_all(parts)


async def test_it_gives_the_same_graph_again(place: Place, tmp_path: Path) -> None:
    await _fill(place)
    before, marks = await place.hashes(), await place.store.marks()
    then = await place.store.get([_ref(n) for n in range(40)], AsOf(recorded=START + timedelta(hours=2.5)))
    file = tmp_path / "graph.backup"
    made = await back_up(place.transactions, file, now=place.now)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert _files(tmp_path) == ["graph.backup"]
    text = gzip.decompress(file.read_bytes())
    assert b"secret" not in text
    assert b"sealed:1:" in text
    assert verify(file).records == made.records
    with pytest.raises(ConfigurationError, match="not empty"):
        await put_back(place.transactions, file)
    assert await place.hashes() == before
    await put_back(place.transactions, file, emptying=True)
    assert await place.hashes() == before
    assert await place.store.marks() == marks
    assert await place.store.get([_ref(n) for n in range(40)], AsOf(recorded=START + timedelta(hours=2.5))) == then
    second = tmp_path / "again.backup"
    await back_up(place.transactions, second, now=place.now)
    assert gzip.decompress(second.read_bytes()) == text


async def test_life_goes_on_after_a_restore(place: Place, tmp_path: Path) -> None:
    """What is written after it is what would have been written without it."""
    await _fill(place, rounds=3)
    await back_up(place.transactions, tmp_path / "b", now=place.now)
    middle = place.now
    await _fill(place, rounds=2)
    wanted = await place.hashes()
    await put_back(place.transactions, tmp_path / "b", emptying=True)
    place.now = middle
    await _fill(place, rounds=2)
    assert await place.hashes() == wanted


async def test_what_is_written_after_the_cut_is_left_out(place: Place, tmp_path: Path) -> None:
    await _fill(place, rounds=3)
    before, cut = await place.hashes(), place.now
    await _fill(place, rounds=2)
    await place.store.forget(["code:b"])
    await back_up(place.transactions, tmp_path / "b", now=cut)
    await put_back(place.transactions, tmp_path / "b", emptying=True)
    assert await place.hashes() == before
    assert set((await place.store.marks()).values()) <= {""}


async def test_it_is_of_one_moment_while_others_write(graph: Settings, place: Place, tmp_path: Path) -> None:
    """Every round moves a pair of facts together; a backup with one of the two would be torn."""
    pairs = [Ref(Label.module, f"p{number}") for number in range(200)]
    begun, stop = asyncio.Event(), asyncio.Event()
    rounds = 0

    async def write() -> None:
        nonlocal rounds
        async with Store.open(Graph.of(graph)) as store:
            while not stop.is_set():
                rounds += 1
                nodes = [NodeFact(ref, {"lines": rounds}) for ref in pairs]
                await store.replace("code:pairs", nodes)
                if rounds == 3:
                    begun.set()

    writer = asyncio.create_task(write())
    await begun.wait()
    try:
        await back_up(place.transactions, tmp_path / "b", now=datetime.now(UTC))
    finally:
        stop.set()
        await writer
    after = rounds
    await put_back(place.transactions, tmp_path / "b", emptying=True)
    nodes = await place.store.get(pairs)
    assert len(nodes) == len(pairs)
    assert len({node.properties["lines"] for node in nodes.values()}) == 1
    assert 1 <= next(iter(nodes.values())).properties["lines"] <= after  # type: ignore[operator]


async def test_who_goes_on_writing_of_before_the_cut_is_waited_for(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.now = START

    async def late(*_arguments: object) -> None:
        """A writer that began before the cut and writes something more in every reading."""
        await place.store.write([NodeFact(Ref(Label.module, f"late{random.random()}"))], scope="late")

    marks = backup._marks
    calls = 0

    async def disturbed(transactions: Transactions) -> dict[str, str]:
        nonlocal calls
        calls += 1
        if calls <= 100:
            await late()
        return await marks(transactions)

    monkeypatch.setattr(backup, "_marks", disturbed)
    with pytest.raises(UnavailableError, match="began to write before"):
        await back_up(place.transactions, tmp_path / "b", now=START + timedelta(hours=1))
    assert not _files(tmp_path)


async def test_an_interrupted_restore_is_repeated(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _fill(place)
    wanted = await place.hashes()
    await back_up(place.transactions, tmp_path / "b", now=place.now)
    await _fill(place, rounds=1)
    await back_up(place.transactions, tmp_path / "other", now=place.now)
    await empty(place.transactions)
    put, left = restore.put, 2

    async def breaks(*arguments: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise UnavailableError("gone")
        await put(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(restore, "_FACTS", 10)
        patch.setattr(restore, "put", breaks)
        with pytest.raises(UnavailableError, match="gone"):
            await put_back(place.transactions, tmp_path / "b")
    assert await place.hashes() != wanted
    with pytest.raises(ConfigurationError, match="another file"):
        await put_back(place.transactions, tmp_path / "other")
    with pytest.raises(ConfigurationError, match="has not ended"):
        await back_up(place.transactions, tmp_path / "half", now=place.now)
    await put_back(place.transactions, tmp_path / "b")
    assert await place.hashes() == wanted
    with pytest.raises(ConfigurationError, match="not empty"):
        await put_back(place.transactions, tmp_path / "b")


def _damaged(content: bytes) -> dict[str, bytes]:
    lines = gzip.decompress(content).splitlines(keepends=True)
    head = orjson.loads(lines[0])
    forged = b'[["Module`}) DETACH DELETE n //","x"],"s","{}",1,1,2,2]\n'
    return {
        "cut off": content[: len(content) // 2],
        "one bit": content[:-200] + bytes([content[-200] ^ 1]) + content[-199:],
        "without its end": gzip.compress(b"".join(lines[:-1])),
        "a line less": gzip.compress(b"".join(lines[:3] + lines[4:])),
        "a line more": gzip.compress(b"".join([*lines[:3], lines[3], *lines[3:]])),
        "something after it": gzip.compress(b"".join([*lines, lines[3]])),
        "a label of nobody": gzip.compress(b"".join([lines[0], forged, *lines[1:]])),
        "of another form": gzip.compress(b"".join([orjson.dumps(head | {"form": "x"}) + b"\n", *lines[1:]])),
        "not compressed": b"".join(lines),
        "empty": b"",
        "no lines": gzip.compress(b""),
        "a list": gzip.compress(b"[]\n"),
        "a number": gzip.compress(b"1\n"),
        "a bomb": gzip.compress(b"x" * (64 << 20)),
    }


async def test_a_damaged_one_is_refused_before_anything_is_changed(place: Place, tmp_path: Path) -> None:
    await _fill(place, rounds=2)
    before = await place.hashes()
    good = tmp_path / "good"
    await back_up(place.transactions, good, now=place.now)
    for name, content in _damaged(good.read_bytes()).items():
        bad = tmp_path / "bad"
        bad.write_bytes(content)
        with pytest.raises(ConfigurationError):
            await put_back(place.transactions, bad, emptying=True)
        assert await place.hashes() == before, name
    with pytest.raises(ConfigurationError, match="cannot be read"):
        await put_back(place.transactions, tmp_path / "missing", emptying=True)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        await back_up(place.transactions, tmp_path / "missing" / "b", now=place.now)


async def test_one_of_a_newer_schema_is_refused(place: Place, tmp_path: Path) -> None:
    import hashlib

    head = orjson.dumps({"form": FORM, "schema": 99, "cut": 1}) + b"\n"
    end = orjson.dumps({"records": 0, "sha256": hashlib.sha256(head).hexdigest()}) + b"\n"
    (tmp_path / "b").write_bytes(gzip.compress(head + end))
    with pytest.raises(ConfigurationError, match="version 99"):
        await put_back(place.transactions, tmp_path / "b")


async def test_a_graph_of_a_newer_schema_is_not_emptied(place: Place, tmp_path: Path) -> None:
    await _fill(place, rounds=1)
    before = await place.hashes()
    await back_up(place.transactions, tmp_path / "b", now=place.now)
    newer = "MERGE (s:Schema {id: 'graph'}) SET s.version = $version"
    await place.transactions.write(lambda tx: tx.rows(newer, version=99))
    with pytest.raises(ConfigurationError, match="version 99"):
        await put_back(place.transactions, tmp_path / "b", emptying=True)
    assert await place.hashes() == before
    await place.transactions.write(lambda tx: tx.rows(newer, version=1))


async def test_big_facts_come_back(place: Place, tmp_path: Path) -> None:
    """More than a server takes at once, and lines of which every second byte is escaped."""
    place.now += timedelta(hours=1)
    nodes = [NodeFact(_ref(n), {f"p{m}": "\\" * 100_000 for m in range(4)}) for n in range(12)]
    for node in nodes:
        await place.store.write([node], scope="big")
    before = await place.hashes()
    await back_up(place.transactions, tmp_path / "b", now=place.now)
    await empty(place.transactions)
    await put_back(place.transactions, tmp_path / "b")
    assert await place.hashes() == before
