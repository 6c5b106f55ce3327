"""`python -m services.model_host --device cpu`: serve models on one device until a signal ends us."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys

from blocks.configuration import load_configuration
from blocks.home import Home
from blocks.settings import Settings
from services.serving import options, run

_CONNECTIONS = 1_000
_LEFT = 3
"""Exit code, where weights could not be unloaded."""


def main(arguments: list[str] | None = None) -> int:
    """Serve. Returns 2 when it cannot."""
    parser = argparse.ArgumentParser(prog="python -m services.model_host", description="Serve models on one device.")
    parser.add_argument("--device", default="cpu", help="`cpu`, or the UUID of one GPU.")
    parser.add_argument("--port", type=int, default=None, help="TCP port, instead of LAMA_MODEL_HOST_PORT.")
    given = parser.parse_args(arguments)
    return run(
        "model host", lambda config: asyncio.run(serve(config, given.device, given.port or config.model_host_port))
    )


async def serve(config: Settings, device: str, port: int) -> None:
    """Serve until a signal ends us.

    Raises:
        ConfigurationError: `lama.toml` cannot be used.
    """
    configuration = load_configuration(config)
    Home(config).prepare()

    import uvicorn  # noqa: PLC0415

    from services.model_host.app import create_app  # noqa: PLC0415
    from services.model_host.wiring import build_host  # noqa: PLC0415

    host = build_host(configuration, device)
    app = create_app(
        config, host, configuration.webhooks.hosts, client_priority=configuration.model_host.client_priority
    )
    told = uvicorn.Config(app, host=config.host, port=port, **options(connections=_CONNECTIONS))
    try:
        await uvicorn.Server(told).serve()
    finally:
        if host.left:  # Python would wait for its threads
            logging.shutdown()
            os._exit(_LEFT)


if __name__ == "__main__":
    sys.exit(main())
