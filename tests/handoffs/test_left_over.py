"""What nobody deals with is told: dead letters that are past their time, and messages of routes that are gone."""

from __future__ import annotations

from datetime import timedelta

from models.handoff import Refused
from tasks.handoffs import figures, letters
from tasks.handoffs.orphans import Orphan, finding, orphans
from tests.handoffs.making import Bench, Recorder, make_message, make_route

ROUTE = make_route(retention_days=30.0, fields={"number": "number"}, rules=[{"holds": "number > `0`", "message": "no"}])


async def test_dead_letters_past_their_time_are_a_finding_until_they_are_discarded(bench: Bench) -> None:
    await bench.store(ROUTE, *(make_message(n, f"c{n}") for n in range(3)))
    await bench.drain(ROUTE, Recorder(lambda _: Refused("no")), linger_s=0.1)
    other = make_route(name="other", retention_days=60.0)
    async with await bench.connect() as connection:
        await connection.execute(
            "UPDATE handoff_message SET received_at = now() - interval '31 days' WHERE message_id <> 'm2'"
        )
        (mine, none) = await figures.standings(connection, [ROUTE, other], window=timedelta(hours=24))
        assert (mine.dead_letters, mine.overdue, none.overdue) == (3, 2, 0)
        assert [one.key for one in figures.findings(ROUTE, mine)][:2] == [
            "handoffs.dead:orders",
            "handoffs.overdue:orders",
        ]
        await letters.discard(connection, "orders", ["m0", "m1"])
        (mine,) = await figures.standings(connection, [ROUTE], window=timedelta(hours=24))
        assert (mine.dead_letters, mine.overdue) == (1, 0)


async def test_messages_of_a_route_that_is_gone_are_named_until_they_are_given_up(bench: Bench) -> None:
    gone = make_route(name="gone")
    await bench.store(ROUTE, make_message(0))
    await bench.store(gone, make_message(1), make_message(2, "d"))
    await bench.drain(gone, Recorder(lambda _: Refused("no")), linger_s=0.1)
    await bench.store(gone, make_message(3))
    async with await bench.connect() as connection:
        assert await orphans(connection, ["orders", "gone"]) == []
        assert await orphans(connection, ["orders"]) == [Orphan("gone", waiting=1, dead=2)]
        assert finding(Orphan("gone", 1, 2)).key == "handoffs.orphaned:gone"
        assert await letters.discard(connection, "gone", None, waiting=True) == ["m1", "m2", "m3"]
        assert await orphans(connection, ["orders"]) == []
        assert await orphans(connection, []) == [Orphan("orders", waiting=1, dead=0)]
