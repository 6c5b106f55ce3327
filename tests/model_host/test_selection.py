"""Hard requirements exclude and say why; what is left is chosen by reasons; who fails is told beside who answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import LamaError
from models.model_host import (
    CatalogueEntry,
    EngineKind,
    Footprint,
    HostStatus,
    ModelKind,
    ModelState,
    ModelStatus,
    Priority,
    Quantisation,
    Refusal,
    Requirements,
)
from tasks.model_host.errors import LoadError, NobodyAnsweredError, NoModelError, NoRoomError, RequestError
from tasks.model_host.selection import Answered, answered_by, chain, fallbacks, select
from tasks.model_host.turns import Outlook


def _entry(name: str, **more: Any) -> CatalogueEntry:
    return CatalogueEntry(name=name, source=f"path:{name}", **more)


def _host(*entries: CatalogueEntry, **more: dict[str, Any]) -> HostStatus:
    models = tuple(
        ModelStatus(
            **{
                "name": entry.name,
                "state": ModelState.absent,
                "kind": entry.kind,
                "engine": EngineKind.transformers,
                "quantisation": Quantisation.stored,
                "priority": Priority.normal,
                "context_window": entry.context_window or 4096,
                "predicted": Footprint(weights=100, kv_per_token=1),
            }
            | more.get(entry.name, {})
        )
        for entry in entries
    )
    return HostStatus(device="cpu", capacity_bytes=1000, used_bytes=0, leased_bytes=0, reserved_bytes=0, models=models)


_ALL_FREE: dict[str, Outlook] = {}


@pytest.mark.parametrize(
    ("required", "more", "why"),
    [
        (Requirements(kind=ModelKind.embed), {}, "to generate, not to embed"),
        (Requirements(context_tokens=8192), {}, "4096 tokens, 8192 are needed"),
        (Requirements(licences=("MIT", "Apache-2.0")), {"licence": "GPL-3.0-only"}, "none of MIT, Apache-2.0"),
        (Requirements(licences=("MIT",)), {}, "(none is told)"),
        (Requirements(least_quality=0.9), {"quality": 0.5}, "0.5 is below 0.9"),
        (Requirements(largest_bytes=99), {}, "takes 100 bytes, at most 99"),
    ],
)
def test_what_does_not_meet_a_requirement_is_left_out_with_the_reason(
    required: Requirements, more: dict[str, Any], why: str
) -> None:
    entry = _entry("x", **more)
    with pytest.raises(NoModelError) as caught:
        select([entry], required, _host(entry), _ALL_FREE, {})
    assert caught.value.excluded[0][0] == "x"
    assert why in caught.value.excluded[0][1]
    assert why in str(caught.value)


def test_what_can_never_fit_or_has_just_failed_is_left_out() -> None:
    entries = [_entry("huge"), _entry("broken"), _entry("good")]
    host = _host(*entries, broken={"error": "its file ends"})
    choice = select(entries, Requirements(), host, {"huge": Outlook.never}, {})
    assert choice.model == "good"
    assert "huge was left out: it can never fit the device" in choice.reasons
    assert any("broken" in reason and "its file ends" in reason for reason in choice.reasons)


def test_of_equal_models_the_one_that_answers_soonest_is_chosen() -> None:
    outlooks = [Outlook.eviction, Outlook.fits, Outlook.parked, Outlook.resident]
    entries = [_entry(outlook.value) for outlook in outlooks]
    seen = {outlook.value: outlook for outlook in outlooks}
    for left in (4, 3, 2):
        choice = select(entries[:left], Requirements(), _host(*entries), seen, {})
        assert choice.model == entries[left - 1].name


def test_speed_and_quality_are_weighed_as_the_caller_prefers_and_measured_speed_counts() -> None:
    fast = _entry("fast", quality=0.3, tokens_per_s=1.0)
    good = _entry("good", quality=0.95, tokens_per_s=5.0)
    host, measured = _host(fast, good), {"fast": 400.0}
    assert select([fast, good], Requirements(prefer="speed"), host, _ALL_FREE, measured).model == "fast"
    assert select([fast, good], Requirements(prefer="quality"), host, _ALL_FREE, measured).model == "good"
    assert select([fast, good], Requirements(prefer="speed"), host, _ALL_FREE, {}).model == "good"


def test_weights_that_others_use_already_count_where_memory_matters() -> None:
    alone, shared = _entry("alone"), _entry("shared")
    host = _host(alone, shared, shared={"shares_with": ("other",)})
    seen = dict.fromkeys(("alone", "shared"), Outlook.resident)
    choice = select([alone, shared], Requirements(prefer="memory"), host, seen, {})
    assert choice.model == "shared"
    assert "its weights are shared with other" in choice.reasons


def test_a_model_that_is_meant_for_it_is_chosen_and_only_fit_fallbacks_are_named() -> None:
    entries = [
        _entry("general"),
        _entry("homes", use_cases=("real_estate",), fallback=("tiny", "general")),
        _entry("tiny", context_window=64),
    ]
    wanted = Requirements(use_case="real_estate", context_tokens=1000)
    choice = select(entries, wanted, _host(*entries), {"general": Outlook.resident}, {})
    assert (choice.model, choice.fallback) == ("homes", ("general",))
    assert choice.reasons[0] == "declared for real_estate"


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef")).map(tuple)))
def test_a_chain_ends_however_fallbacks_point_at_each_other(declared: dict[str, tuple[str, ...]]) -> None:
    found = chain("a", declared)
    assert found[0] == "a"
    assert len(set(found)) == len(found)
    assert all(other in found for name in found for other in declared.get(name, ()))


def test_declared_fallbacks_are_read_from_the_catalogue() -> None:
    assert chain("a", fallbacks([_entry("a", fallback=("b",)), _entry("b", fallback=("a", "c"))])) == ("a", "b", "c")


async def test_the_answer_says_who_did_not_give_it_and_why() -> None:
    refusal = Refusal(reason="", needed_bytes=1, free_bytes=0)

    async def attempt(model: str) -> str:
        if model == "full":
            raise NoRoomError("there is no memory for it.", refusal, retry_after_s=3.0)
        if model == "broken":
            raise LoadError("its file ends.")
        if model == "slow":
            await asyncio.sleep(5)
        return f"{model} says so"

    answered = await answered_by(["full", "broken", "slow", "good"], attempt, timeout_s=0.02)
    assert answered == Answered(
        "good",
        "good says so",
        (
            ("full", "there is no memory for it."),
            ("broken", "its file ends."),
            ("slow", "it gave no answer within 0.02 s."),
        ),
    )
    with pytest.raises(NobodyAnsweredError, match="full: there is no memory") as nobody:
        await answered_by(["broken", "full"], attempt)
    assert nobody.value.retry_after_s == 3.0
    with pytest.raises(LoadError):
        await answered_by(["broken"], attempt)


async def test_a_request_that_is_wrong_is_wrong_for_everybody() -> None:
    asked = []

    async def attempt(model: str) -> str:
        asked.append(model)
        raise RequestError("it is malformed")

    with pytest.raises(LamaError, match="malformed"):
        await answered_by(["a", "b"], attempt)
    assert asked == ["a"]
