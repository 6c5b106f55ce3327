"""`python -m services.model_host.front --device cpu=http://...`: one address for the hosts of several devices."""

from __future__ import annotations

import argparse
import asyncio
import sys

from blocks.configuration import load_configuration
from blocks.home import Home
from blocks.model_host_api import key_of
from blocks.settings import Settings
from services.serving import options, run

_CONNECTIONS = 4_000


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal ends us. Returns 2 when it cannot."""
    parser = argparse.ArgumentParser(
        prog="python -m services.model_host.front", description="One address for the model hosts of several devices."
    )
    parser.add_argument("--device", action="append", required=True, type=_place, metavar="NAME=URL",
                        help="`cpu`, or the UUID of a GPU, and the address of its host; may be repeated.")  # fmt: skip
    parser.add_argument("--port", type=int, default=None, help="TCP port, instead of LAMA_MODEL_HOST_PORT.")
    given = parser.parse_args(arguments)
    return run(
        "model host", lambda config: asyncio.run(serve(config, given.device, given.port or config.model_host_port))
    )


async def serve(config: Settings, places: list[tuple[str, str]], port: int) -> None:
    """Serve until a signal ends us.

    Raises:
        ConfigurationError: `lama.toml` cannot be used.
    """
    configuration = load_configuration(config)
    Home(config).prepare()

    import uvicorn  # noqa: PLC0415

    from services.model_host.front.app import create_front  # noqa: PLC0415
    from services.model_host.front.devices import Devices  # noqa: PLC0415

    app = create_front(
        config, Devices(places, key_of(config)), configuration.webhooks.hosts,
        client_priority=configuration.model_host.client_priority,
    )  # fmt: skip
    told = uvicorn.Config(app, host=config.host, port=port, **options(connections=_CONNECTIONS))
    await uvicorn.Server(told).serve()


def _place(word: str) -> tuple[str, str]:
    name, equals, url = word.partition("=")
    if not (name and equals and url.startswith(("http://", "https://"))):
        raise argparse.ArgumentTypeError("it is written NAME=http://...")
    return name, url


if __name__ == "__main__":
    sys.exit(main())
