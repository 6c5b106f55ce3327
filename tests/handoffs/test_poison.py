"""One message that breaks what was written for it takes no other with it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from pydantic import JsonValue

from models.handoff_route import HandoffsSettings
from tasks.handoffs.drain import RouteDrain
from tasks.handoffs.expressions import ExpressionError
from tasks.handoffs.transform import Transformation
from tests.handoffs.making import Bench, Recorder, make_message, make_route


async def test_a_message_at_which_a_transformation_fails_is_a_dead_letter_and_others_go_on(bench: Bench) -> None:
    route = make_route(extract="lead")

    def extract(document: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        if document["number"] == 1:
            raise IndexError("secret of a customer")
        return {"number": document["number"]}

    await bench.store(route, *(make_message(n, f"c{n}") for n in range(3)))
    target = Recorder()
    transformation = Transformation(route, extract=extract)
    drain = RouteDrain(route, transformation, target, HandoffsSettings(), bench.connect)
    await drain.run(asyncio.Event(), linger_s=0.1)
    assert sorted(target.ids) == ["m0", "m2"]
    assert await bench.rows("SELECT state, last_error FROM handoff_message WHERE message_id = 'm1'") == [
        ("dead", "the transformation failed: IndexError")
    ]


@pytest.mark.parametrize("schema", [{"properties": {"a": {"pattern": "("}}}, {"patternProperties": {"[": {}}}])
def test_a_schema_with_a_broken_pattern_is_refused_before_anything_arrives(schema: dict[str, JsonValue]) -> None:
    with pytest.raises(ExpressionError, match="schema"):
        Transformation(make_route(schema=schema))
