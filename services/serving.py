"""How our services are run, and those that speak HTTP are served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blocks.errors import LamaError
from blocks.logs import log_to_stderr, logger
from blocks.settings import Settings, settings

_STOP_S = 5


def run(component: str, serve: Callable[[Settings], None]) -> int:
    """Run a service as a process: it logs to standard error, and says in words why it cannot.

    Args:
        component: what it is called in the log.
        serve: serves until a signal ends it.

    Returns:
        The exit code: 2 when it must not, or cannot, start like this.
    """
    config = settings()
    log_to_stderr(config.log_level)
    try:
        serve(config)
    except LamaError as error:
        logger(component).error("%s", error)
        return 2
    return 0


def options(*, connections: int) -> dict[str, Any]:
    """Settings of uvicorn: it says nothing of itself, believes no proxy, and ends within seconds.

    Args:
        connections: how many at most; further ones are answered 503.
    """
    return {
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "limit_concurrency": connections,
        "timeout_keep_alive": 30,
        "timeout_graceful_shutdown": _STOP_S,
        "ws": "none",
    }
