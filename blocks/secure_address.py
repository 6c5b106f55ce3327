"""The address of an API that a token is sent to."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from blocks.settings import LOOPBACK


def guarded(url: str) -> str:
    """`url` without a slash at its end.

    Raises:
        ValueError: what is sent there would be sent in the clear, over more than this machine.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError("it must begin with https://, or the token would be sent in the clear")
    return url.rstrip("/")


SecureAddress = Annotated[str, AfterValidator(guarded)]
"""Begins with https://, but on this machine; without a slash at its end."""
