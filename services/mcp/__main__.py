"""`python -m services.mcp`: offer tools until a signal ends us."""

from __future__ import annotations

import asyncio
import logging
import sys

from blocks.configuration import load_configuration
from blocks.home import Home
from blocks.settings import Settings
from services.serving import options, run

_CONNECTIONS = 500


def main() -> int:
    """Serve. Returns 2 when it cannot."""
    logging.getLogger("mcp").setLevel(logging.WARNING)  # it tells of every session, with its id
    return run("mcp", lambda config: asyncio.run(serve(config)))


async def serve(config: Settings) -> None:
    """Serve until a signal ends us.

    Raises:
        ConfigurationError: there is nothing to offer, or `lama.toml` or an OpenAPI document cannot be used.
    """
    configuration = load_configuration(config)
    Home(config).prepare()

    import uvicorn  # noqa: PLC0415

    from services.mcp.app import create_app  # noqa: PLC0415

    app = await create_app(config, configuration)
    told = uvicorn.Config(app, host=config.host, port=config.mcp_port, **options(connections=_CONNECTIONS))
    await uvicorn.Server(told).serve()


if __name__ == "__main__":
    sys.exit(main())
