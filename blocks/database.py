"""Where PostgreSQL is: the embedded one of this home, or the one that was given by URL.

Nothing heavy is imported here: the command line asks this module on its cheapest paths.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from blocks.home import Home
from blocks.settings import Settings

LAMA_DATABASE = "lama"
PREFECT_DATABASE = "prefect"
ROLE = "lama"

_ROOT_STATE = Path("/var/lib/lama")


@dataclass(frozen=True)
class EmbeddedLocation:
    """Where the embedded server of one home keeps its files.

    PostgreSQL refuses to run as root, and the user that it then runs as cannot reach into a home of mode 0700.
    Opening the home for it would expose everything else there, so root's data lives apart from the home.
    """

    data: Path
    sockets: Path
    os_user: str | None
    """The unprivileged user to run as; None: as ourselves."""


def embedded_location(config: Settings) -> EmbeddedLocation:
    """The place of the embedded server's data and socket; touches nothing."""
    home = Home(config)
    if os.geteuid() != 0:
        return EmbeddedLocation(home.path / "postgres", home.sockets, None)
    place = _ROOT_STATE / config.instance
    return EmbeddedLocation(place / "postgres", place / "sockets", _unprivileged_user())


def _unprivileged_user() -> str:
    import pwd  # noqa: PLC0415 - does not exist on every platform

    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def dsn(config: Settings, database: str = LAMA_DATABASE, *, driver: str = "postgresql") -> str:
    """A URL for `database`, for psycopg by default; `driver` may be `postgresql+asyncpg` or `+psycopg`.

    With a URL of the user's own, only the database's name and the driver are replaced.
    """
    if config.database_url is not None:
        parts = urlsplit(config.database_url.get_secret_value())
        path = parts.path if database == LAMA_DATABASE and len(parts.path) > 1 else f"/{database}"
        return urlunsplit((driver, parts.netloc, path, parts.query, ""))
    sockets = quote(str(embedded_location(config).sockets), safe="")
    return f"{driver}://{ROLE}@/{database}?host={sockets}"
