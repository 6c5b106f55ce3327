"""Errors that users read: what failed, on which component, what to do."""

from __future__ import annotations


class LamaError(Exception):
    """Base of every error that Lama raises on purpose.

    Args:
        what: what failed, as a sentence.
        component: what it failed on.
        remedy: what to do about it.
    """

    def __init__(self, what: str, *, component: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.component = component
        self.remedy = remedy

    def __str__(self) -> str:
        head = f"{self.component}: {self.what}" if self.component else self.what
        return f"{head} {self.remedy}".strip() if self.remedy else head


class ConfigurationError(LamaError):
    """Something that the user wrote cannot be used; nothing was done."""


class UnavailableError(LamaError):
    """An outside system did not answer, or answered with a failure of its own."""


class StartError(LamaError):
    """A process of the platform did not start."""
