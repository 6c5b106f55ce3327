"""Leads in what people write: only what is there, each with where it stands."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.crm import Lead
from tasks.handoffs.functions import Context
from tasks.handoffs.lead import find_lead

HERE = Context(region="US", currency="USD")

TEXTS = [
    (
        "I'm John Doe. I want a 3 bedroom house in Austin Texas, budget around 450k, within 3 months. john@Doe.com",
        {"name": "John Doe", "interest": "3 bedroom house in Austin Texas", "budget": (450000.0, "USD"),
         "timeline": "within 3 months", "email": "john@doe.com"},
    ),
    (
        "Hello! call me at +1 512 555 0199. We want an apartment near Lisbon, up to €350,000 by next summer",
        {"phone": "+15125550199", "interest": "apartment near Lisbon", "budget": (350000.0, "EUR"),
         "timeline": "by next summer"},
    ),
    ("my number is 512-555-0143 budget 300000", {"phone": "+15125550143", "budget": (300000.0, "USD")}),
    ("Is the villa still available?", {"interest": "villa"}),
    ("See you at 10:30 on the 12th, room 204", {}),
    ("what's the price?", {}),
    ("thanks, this is great", {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TEXTS, ids=[text[:20] for text, _ in TEXTS])
def test_what_is_found_is_what_is_written(text: str, expected: dict[str, object]) -> None:
    found = Lead.model_validate(find_lead({"text": text}, HERE))
    told = {
        name: (value.amount, value.currency) if name == "budget" else value
        for name in ("name", "phone", "email", "interest", "budget", "timeline")
        if (value := getattr(found, name)) is not None
    }
    assert told == expected
    assert set(found.evidence) == set(expected)


def test_the_sender_is_who_the_protocol_says() -> None:
    found = find_lead({"text": "call my wife at 512-555-0143", "from": "+491711234567", "name": " Jane  Roe "}, HERE)
    assert found["phone"] == "+491711234567"
    assert found["name"] == "Jane Roe"
    assert found["evidence"] == {"phone": "from", "name": "name"}


@given(
    text=st.text(max_size=300)
    | st.lists(st.sampled_from(" ".join(t for t, _ in TEXTS).split()), max_size=40).map(" ".join)
)
def test_evidence_points_to_what_it_proves_and_leads_are_valid(text: str) -> None:
    found = find_lead({"text": text}, HERE)
    Lead.model_validate(found)
    evidence = found["evidence"]
    assert isinstance(evidence, dict)
    for span in evidence.values():
        assert isinstance(span, dict)
        assert 0 <= int(str(span["start"])) < int(str(span["end"])) <= len(text)


def test_hostile_texts_take_little_time() -> None:
    began = time.process_time()
    for text in ("1" * 20_000 + " house in A" * 900, "by " * 6000 + "a@" * 3000, "1,000" * 4000, "i am " * 4000):
        find_lead({"text": text}, HERE)
    assert time.process_time() - began < 10
