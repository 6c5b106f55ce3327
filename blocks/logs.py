"""Structured logs: one JSON object a line, each with run id, flow and component.

`JsonLines` writes them and `render` reads them back for a person. Secrets that slip into a message are masked here,
in the last place that every line passes.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

from blocks.settings import settings

_MASK = "********"

_USER_INFO = re.compile(r"://[^\s/?#]*@")
"""Up to the last `@` of the authority: a password may hold others. The user goes too: it may be the token itself."""

_QUERY = re.compile(
    r"(?P<head>[?&][\w.-]*(?:key|token|passw(?:or)?d|pwd|secret|auth|sig|signature)=)[^&\s\"]+", re.IGNORECASE
)

_BEARER = re.compile(r"(?P<head>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)

_NEXT = r"(?:\\*[\"']?[ \t]*[:=][ \t]*|[\"'][ \t]*,[ \t]*(?=b?[\"']))(?:b(?=[\"']))?(?=\S)"
"""Between a name and its value, in `Name: value`, `name=value`, and in dictionaries and pairs as Python shows them."""

_QUOTED = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"

_CREDENTIALS = re.compile(
    rf"(?P<head>(?<![\w?&-])[\w-]*(?:authorization|cookie){_NEXT})(?:{_QUOTED}|[^\n]+)", re.IGNORECASE
)
"""Headers whose value has several words."""

_NAMED = re.compile(
    rf"(?P<head>(?<![\w?&-])[\w-]*(?:api[-_]?key|token|passw(?:or)?d|secret){_NEXT})"
    rf"(?:{_QUOTED}|(?:(?:bearer|basic|token)[ \t]+)?\S+)",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """`text` without the secrets of URLs (before the host, in the query), of headers, and of `password=...`."""
    text = _USER_INFO.sub(f"://{_MASK}@", text)
    for secret in (_QUERY, _BEARER, _CREDENTIALS, _NAMED):
        text = secret.sub(rf"\g<head>{_MASK}", text)
    return text


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: time, level, component, flow, run, logger, message."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self._component = settings().component

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object without a line break."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "component": getattr(record, "component", None) or self._component,
            "flow": getattr(record, "flow_name", None),
            "run_id": _text(getattr(record, "flow_run_id", None)),
            "run": getattr(record, "flow_run_name", None),
            "task": getattr(record, "task_name", None),
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = masked(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def _text(value: object) -> str | None:
    return None if value in {None, "<unknown>"} else str(value)


def logger(component: str) -> logging.LoggerAdapter[logging.Logger]:
    """A logger whose lines name `component`."""
    return logging.LoggerAdapter(logging.getLogger(f"lama.{component}"), {"component": component})


def log_to_stderr(level: str = "INFO") -> None:
    """Write this process's logs as JSON lines, for processes that do not run under Prefect's logging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def render(line: str) -> str:
    """A line of a log file as a person wants to read it; lines that are not ours stay as they are."""
    try:
        record = json.loads(line)
        moment = datetime.fromisoformat(record["time"]).astimezone()
        parts = [f"{moment:%Y-%m-%d %H:%M:%S}", f"{record['level']:<7}"]
        parts += [str(record[name]) for name in ("component", "flow", "run", "task") if record.get(name)]
        text = f"{' '.join(parts)} | {record['message']}"
    except (ValueError, KeyError, TypeError):
        return line.rstrip("\n")
    return f"{text}\n{record['exception']}" if record.get("exception") else text
