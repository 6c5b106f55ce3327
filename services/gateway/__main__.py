"""`python -m services.gateway`: serve until a signal ends us."""

from __future__ import annotations

import sys

from blocks.configuration import load_configuration
from blocks.home import Home
from blocks.settings import Settings
from services.serving import options, run

_CONNECTIONS = 1000


def main() -> int:
    """Serve. Returns 2 when it must not, or cannot, start like this."""
    return run("gateway", serve)


def serve(config: Settings) -> None:
    """Serve until a signal ends us.

    Raises:
        ConfigurationError: `lama.toml` cannot be used.
    """
    configuration = load_configuration(config)
    Home(config).prepare()

    import uvicorn  # noqa: PLC0415

    from services.gateway.app import create_app  # noqa: PLC0415
    from services.live_routes import LiveRoutes  # noqa: PLC0415

    uvicorn.run(
        create_app(config, configuration.webhooks, LiveRoutes(config, configuration, "gateway")),
        host=config.host,
        port=config.gateway_port,
        **options(connections=_CONNECTIONS),
    )


if __name__ == "__main__":
    sys.exit(main())
