"""Structured logs: one JSON object a line, each with run id, flow and component.

`JsonLines` writes them and `render` reads them back for a person; `Masked` writes what goes to Prefect's API. Secrets
that slip into a message are masked here, in the last place that every line passes.
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


class Masked(logging.Formatter):
    """Formats as its base does, without the secrets: for the lines that the Prefect UI shows."""

    def format(self, record: logging.LogRecord) -> str:
        """The message and its traceback, masked as a whole."""
        return masked(super().format(record))


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: time, level, component, flow, run, logger, message."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self._component = settings().component

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object without a line break."""
        flow, run_id, run, task = _place_of(record)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "component": getattr(record, "component", None) or self._component,
            "flow": flow,
            "run_id": run_id,
            "run": run,
            "task": task,
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = masked(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def _place_of(record: logging.LogRecord) -> tuple[str | None, str | None, str | None, str | None]:
    """Flow, run id, run and task: as the record says, or as Prefect knows where a plain logger was called."""
    flow, said, name, task = (
        _text(getattr(record, one, None)) for one in ("flow_name", "flow_run_id", "flow_run_name", "task_name")
    )
    context = sys.modules.get("prefect.context")  # not imported: then there is no run in this process
    if context is None or said is not None:
        return flow, said, name, task
    run, step = context.FlowRunContext.get(), context.TaskRunContext.get()
    known = run.flow_run if run is not None else None
    run_id = known.id if known is not None else step.task_run.flow_run_id if step is not None else None
    return (
        flow or (run.flow.name if run is not None and run.flow is not None else None),
        _text(run_id),
        name or (known.name if known is not None else None),
        task or (step.task.name if step is not None else None),
    )


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
