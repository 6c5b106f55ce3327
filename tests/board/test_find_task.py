"""What a task is made of is found where it is written, and nowhere else."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.board import NewTask
from tasks.board.find_task import find_task
from tasks.handoffs.functions import Context

US = Context(region="US", currency="USD")
DE = Context(region="DE", currency="EUR")
WEDNESDAY = "2026-12-02T09:00:00+00:00"


def found(said: str = "", topic: str = "Roof", context: Context = US, **more: Any) -> dict[str, Any]:
    return dict(find_task({"topic": topic, "said": said, "occurred_at": WEDNESDAY, **more}, context))


@pytest.mark.parametrize(
    ("said", "due"),
    [
        ("Please mend it by Friday.", "2026-12-04"),
        ("by next Friday", "2026-12-11"),
        ("due next monday", "2026-12-07"),
        ("before Wednesday", "2026-12-09"),
        ("needed by tomorrow, thanks", "2026-12-03"),
        ("until the end of this week", "2026-12-04"),
        ("deadline: 2027-01-15", "2027-01-15"),
        ("Deadline is 15 January", "2027-01-15"),
        ("no later than Dec 24th", "2026-12-24"),
        ("by March 3, 2027", "2027-03-03"),
        ("due 12/31/2026", "2026-12-31"),
        ("we met on Friday", None),
        ("by car", None),
        ("by 45 January", None),
        ("due 2026-13-45, or by 2027-02-01", "2027-02-01"),
    ],
)
def test_days_that_something_is_due_by(said: str, due: str | None) -> None:
    task = found(said)
    assert task.get("due") == due
    if due:
        NewTask.model_validate(task)
        span = task["evidence"]["due"]
        assert said[span["start"] : span["end"]].strip(" .,")


def test_figures_of_a_date_are_read_as_the_country_writes_them() -> None:
    assert found("bis zum 3.4.2027", context=DE)["due"] == "2027-04-03"
    assert found("by 3/4/2027", context=US)["due"] == "2027-03-04"


def test_a_due_date_in_the_subject() -> None:
    task = found("words", topic="[Billing] [ACME ltd] Invoice by Friday")
    assert (task["title"], task["due"]) == ("Invoice by Friday", "2026-12-04")
    assert task["tags"] == ["billing", "acme-ltd"]
    assert task["evidence"]["due"] == "subject"


@pytest.mark.parametrize(
    ("more", "priority"),
    [
        ({"said": "words"}, "normal"),
        ({"said": "words", "priority": "high"}, "high"),
        ({"said": "no rush at all", "priority": "high"}, "low"),
        ({"topic": "URGENT: roof"}, "urgent"),
        ({"said": "we need it asap"}, "high"),
        ({"said": "Priority: low\nthis is not that urgent"}, "low"),
        ({"said": "insurgents"}, "normal"),
    ],
)
def test_how_soon_somebody_should_look(more: dict[str, str], priority: str) -> None:
    assert found(**more)["priority"] == priority


def test_without_a_subject_the_first_line_is_the_title() -> None:
    task = found("\n  The roof leaks.\nIn two places. #roof #Urgent-repair", topic="")
    assert task["title"] == "The roof leaks."
    assert task["tags"] == ["roof", "urgent-repair"]
    assert found("", topic="")["title"] == "(no subject)"


def test_of_other_messages_than_mails() -> None:
    document = {"text": "Heating is off, urgent", "from": "+491711234567", "name": "Jane", "id": "w1"}
    task = NewTask.model_validate(find_task(document, DE))
    assert (task.title, task.requester, task.requester_name, task.id) == (
        "Heating is off, urgent", "+491711234567", "Jane", "w1",
    )  # fmt: skip
    assert task.due is None
    assert task.evidence["priority"] == {"start": 16, "end": 22}


@given(
    said=st.text(max_size=300) | st.from_regex(r"(by|due|until) .{0,30}", fullmatch=True),
    topic=st.text(max_size=400),
    when=st.just("") | st.datetimes().map(lambda one: one.isoformat()),
)
def test_whatever_is_written_is_a_task(said: str, topic: str, when: str) -> None:
    task = find_task({"topic": topic, "said": said, "occurred_at": when}, US)
    task.pop("occurred_at", None)
    assert isinstance(NewTask.model_validate(task).due, date | None)
    for span in task["evidence"].values():  # type: ignore[union-attr]
        if isinstance(span, dict):
            assert said[span["start"] : span["end"]]  # type: ignore[misc]
