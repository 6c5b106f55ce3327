"""How our HTTP services are served."""

from __future__ import annotations

from typing import Any

_STOP_S = 5


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
