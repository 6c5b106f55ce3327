"""Where PostgreSQL is: the embedded one of this home, or the one that was given by URL.

Nothing heavy is imported here: the command line asks this module on its cheapest paths.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from blocks.home import Home
from blocks.settings import Settings

LAMA_DATABASE = "lama"
PREFECT_DATABASE = "prefect"
ROLE = "lama"

_ROOT_STATE = Path("/var/lib/lama")

_ASYNCPG = frozenset(
    (
        *("host", "port", "user", "password", "passfile", "service", "servicefile"),
        *("ssl", "direct_tls", "target_session_attrs", "krbsrvname", "gsslib"),
        "prepared_statement_cache_size",  # SQLAlchemy's own
    )
)
"""What SQLAlchemy may hand to asyncpg from a URL: as text, so nothing that asyncpg wants as a number (timeouts)."""
_ASYNCPG_ONLY = ("direct_tls", "servicefile", "prepared_statement_cache_size")


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

    With a URL of the user's own, the database's name and the driver are replaced, and its parameters are put into
    the words of the driver; asyncpg goes without those that it has no word for.
    """
    if config.database_url is not None:
        parts = urlsplit(config.database_url.get_secret_value())
        parameters = _parameters(parts.query)
        # In libpq these win over the path, so they must not stay: every database would be the same one.
        named = [name for name in (parameters.pop("dbname", ""), parameters.pop("database", "")) if name]
        own = f"/{quote(named[0], safe='')}" if named else parts.path
        path = own if database == LAMA_DATABASE and len(own) > 1 else f"/{database}"
        if driver == "postgresql+asyncpg":
            parameters = _for_asyncpg(parameters, has_host=parts.hostname is not None)
        else:
            parameters = {key: value for key, value in parameters.items() if key not in _ASYNCPG_ONLY}
        return urlunsplit((driver, parts.netloc, path, urlencode(parameters, quote_via=quote, safe=""), ""))
    sockets = quote(str(embedded_location(config).sockets), safe="")
    return f"{driver}://{ROLE}@/{database}?host={sockets}"


def _parameters(query: str) -> dict[str, str]:
    """A URL's parameters in the words of libpq; `+` is a plus there, not a blank."""
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    found = {unquote(key): unquote(value) for key, _, value in pairs}
    if "ssl" in found:
        mode = found.pop("ssl")
        mode = {"true": "require", "1": "require", "false": "disable", "0": "disable"}.get(mode.lower(), mode)
        found.setdefault("sslmode", mode)
    return found


def _for_asyncpg(parameters: dict[str, str], *, has_host: bool) -> dict[str, str]:
    found = dict(parameters)
    if "sslmode" in found:
        found["ssl"] = found["sslmode"]
    # With a certificate to check by, libpq does check. asyncpg takes that certificate only from PGSSLROOTCERT or
    # ~/.postgresql/root.crt, and refuses without: better than to connect to a server that nobody checked.
    if found.get("sslrootcert") == "system":
        found["ssl"] = "verify-full"
    elif found.get("sslrootcert") and found.get("ssl") == "require":
        found["ssl"] = "verify-ca"
    if found.get("sslnegotiation") == "direct":
        found["direct_tls"] = "true"
    if "hostaddr" in found and not has_host:
        found.setdefault("host", found["hostaddr"])
    return {key: value for key, value in found.items() if key in _ASYNCPG}
