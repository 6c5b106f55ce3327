"""What became of a batch is written down as a whole, whatever targets said about each of its effects."""

from __future__ import annotations

from models.handoff import Again, Delivered, Effect, Outcome, Refused
from tests.handoffs.making import Bench, Recorder, make_message, make_route


async def test_waits_in_whole_seconds_and_in_parts_of_them_are_written_down_together(bench: Bench) -> None:
    route = make_route(retry={"tries": 5, "first_s": 30.0, "timeout_s": 2.0})
    await bench.store(route, *(make_message(n, f"c{n}") for n in range(5)))
    said: dict[str, Outcome] = {
        "m0": Again("busy", after_s=50),
        "m1": Again("busy", after_s=50.5),
        "m2": Again("busy"),
        "m3": Delivered("x"),
        "m4": Refused("never"),
    }

    def answer(effect: Effect) -> Outcome:
        return said[effect.message_id]

    await bench.drain(route, Recorder(answer, batch=5), linger_s=0.1)
    waits = await bench.rows(
        "SELECT message_id, state, round(extract(epoch FROM next_attempt_at - clock_timestamp()) / 10) FROM "
        "handoff_effect ORDER BY message_id"
    )
    assert [(name, state, int(tens) if state == "pending" else None) for name, state, tens in waits] == [
        ("m0", "pending", 5),
        ("m1", "pending", 5),
        ("m2", "pending", 3),
        ("m3", "delivered", None),
        ("m4", "dead", None),
    ]
