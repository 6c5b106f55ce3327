"""Detectors that detect-secrets lacks, for the services that Lama works with. Loaded by detect-secrets, by path."""

from __future__ import annotations

import re

from detect_secrets.plugins.base import RegexBasedDetector

_START = r"(?<![A-Za-z0-9_-])"
_END = r"(?![A-Za-z0-9_-])"


class LettaDetector(RegexBasedDetector):
    """API keys of Letta Cloud."""

    secret_type = "Letta API Key"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(rf"{_START}sk-let-[A-Za-z0-9+/_-]{{20,}}={{0,2}}"),)


class GoogleDetector(RegexBasedDetector):
    """API keys of Google, Gemini's among them, in the old form and in the one of 2025."""

    secret_type = "Google API Key"  # noqa: S105  # pragma: allowlist secret
    denylist = (
        re.compile(rf"{_START}AIza[0-9A-Za-z_-]{{35}}{_END}"),
        re.compile(rf"{_START}AQ\.[0-9A-Za-z_-]{{45,64}}{_END}"),
    )


class NotionDetector(RegexBasedDetector):
    """Tokens of Notion's integrations, in the form before and after 2024-09."""

    secret_type = "Notion Token"  # noqa: S105  # pragma: allowlist secret
    denylist = (
        re.compile(rf"{_START}secret_[0-9A-Za-z]{{43}}{_END}"),
        re.compile(rf"{_START}ntn_[0-9]{{11}}[0-9A-Za-z]{{35}}{_END}"),
    )


class TaskadeDetector(RegexBasedDetector):
    """Personal tokens of Taskade."""

    secret_type = "Taskade Token"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(rf"{_START}tskdp_[0-9A-Za-z]{{16,}}{_END}"),)


class PrefectDetector(RegexBasedDetector):
    """Keys of Prefect Cloud, of a user or of a service account."""

    secret_type = "Prefect API Key"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(rf"{_START}pn[ub]_[0-9A-Za-z]{{36}}{_END}"),)
