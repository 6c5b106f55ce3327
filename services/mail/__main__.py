"""`python -m services.mail`: take mail until a signal ends us."""

from __future__ import annotations

import asyncio
import signal
import sys

from blocks.configuration import load_configuration
from blocks.database import dsn
from blocks.errors import ConfigurationError, UnavailableError
from blocks.home import Home
from blocks.settings import Settings
from services.serving import run

_STOP_S = 10.0


def main() -> int:
    """Serve. Returns 2 when it cannot."""
    return run("mail", lambda config: asyncio.run(serve(config)))


async def serve(config: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: there is no receiver, or `lama.toml` cannot be used.
        UnavailableError: a port is taken.
    """
    from services.live_routes import LiveRoutes  # noqa: PLC0415
    from services.mail.reception import Reception  # noqa: PLC0415 - after the configuration is known to be usable

    configuration = load_configuration(config)
    if not configuration.mail.receivers:
        raise ConfigurationError(
            "there is nothing to listen for.", component="mail", remedy="Add [[mail.receivers]] to lama.toml."
        )
    Home(config).prepare()
    live = LiveRoutes(config, configuration, "mail")
    await live.begin()
    reception = Reception(configuration.mail.receivers, lambda: live.receiving, dsn(config))
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    try:
        await reception.start()
    except OSError as error:
        raise UnavailableError(f"cannot listen: {error.strerror or error}.", component="mail") from error
    looking = asyncio.create_task(live.run())
    await ended.wait()
    looking.cancel()
    live.close()
    await reception.stop(_STOP_S)


if __name__ == "__main__":
    sys.exit(main())
