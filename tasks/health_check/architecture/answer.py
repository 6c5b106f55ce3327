"""What a probe of a service came back with, and what a report says about it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field, JsonValue

from models.health_check import Service
from models.report import Finding, Severity, Skip, Value

AREA = "architecture"


class Outcome(StrEnum):
    """How a probe ended."""

    up = "up"
    down = "down"
    """Nobody listens: we looked, and it is not there."""
    refused = "refused"
    """It listens, and does not accept our credentials."""
    failing = "failing"
    """It listens, and answers with a failure or with what is not its protocol."""
    hanging = "hanging"
    """It took the connection and then did not answer in time."""
    unseen = "unseen"
    """It could not be looked at: no connection in time, or its name is not known."""
    misconfigured = "misconfigured"
    """It cannot be probed as configured."""


class Answer(Value):
    """One service, probed."""

    service: str = Field(description="Its name.")
    kind: str = Field(description="How it was probed.")
    address: str = Field(description="Where, without anything secret.")
    outcome: Outcome = Field(description="How the probe ended.")
    seconds: float | None = Field(default=None, ge=0, description="Time until the answer; None without one.")
    version: str | None = Field(default=None, description="What it says it is.")
    reason: str = Field(default="", description="What went wrong, in words without secrets.")


_KINDS = ("down", "credentials", "failing", "hanging", "misconfigured", "slow")


def findings_of(service: Service, answer: Answer) -> list[Finding]:
    """What is to be said about `service`."""
    said = _said(service, answer)
    if said is None:
        return []
    kind, severity, title, remedy = said
    evidence: dict[str, JsonValue] = {"address": answer.address, "kind": answer.kind}
    if answer.seconds is not None:
        evidence["seconds"] = round(answer.seconds, 3)
    return [
        Finding(
            key=f"{AREA}.{kind}:{service.name}",
            severity=severity,
            component=service.name,
            title=title,
            detail=answer.reason,
            remedy=remedy,
            evidence=evidence,
        )
    ]


def _said(service: Service, answer: Answer) -> tuple[str, Severity, str, str] | None:
    """Kind, severity, title and remedy; None when all is well or nothing was seen."""
    name = service.name
    secret = f"the secret {service.secret!r}" if service.secret else "a `secret` for it in lama.toml"
    slow = answer.seconds is not None and answer.seconds > service.slow_s
    said = {
        Outcome.down: (
            "down",
            Severity.high,
            f"{name} is down: nobody listens at {answer.address}.",
            "Start it, or correct its url in lama.toml.",
        ),
        Outcome.refused: (
            "credentials",
            Severity.high,
            f"{name} does not accept our credentials.",
            f"Give {secret} (the name of a file in the home's secrets folder that holds the right one).",
        ),
        Outcome.failing: (
            "failing",
            Severity.high,
            f"{name} answers, but not well.",
            "Look at its log; and check that its url and kind in lama.toml are right.",
        ),
        Outcome.hanging: (
            "hanging",
            Severity.high,
            f"{name} takes connections but did not answer within {service.timeout_s:g} s.",
            "Look at its log and its load; restart it if it is stuck.",
        ),
        Outcome.misconfigured: (
            "misconfigured",
            Severity.medium,
            f"{name} cannot be probed as it is configured.",
            "Correct its url in lama.toml.",
        ),
        Outcome.up: (
            "slow",
            Severity.medium,
            f"{name} took longer to answer than {service.slow_s:g} s.",
            "Look at its load, or raise slow_s in lama.toml if that is usual.",
        ),
    }
    return said.get(answer.outcome) if answer.outcome is not Outcome.up or slow else None


def skip_of(answer: Answer) -> Skip | None:
    """What stays unknown because the probe could not see, or None."""
    if answer.outcome not in {Outcome.unseen, Outcome.hanging, Outcome.misconfigured}:
        return None
    said = {"unseen", answer.outcome.value}
    return Skip(
        area=AREA,
        component=answer.service,
        reason=f"{answer.service} at {answer.address} could not be looked at: {answer.reason}",
        hides=tuple(f"{AREA}.{kind}:{answer.service}" for kind in _KINDS if kind not in said),
    )


def platform_is_off(own: Iterable[Answer]) -> bool:
    """Whether Lama's own parts are all down: not broken then, but not started."""
    outcomes = [answer.outcome for answer in own]
    return len(outcomes) > 1 and all(outcome is Outcome.down for outcome in outcomes)
