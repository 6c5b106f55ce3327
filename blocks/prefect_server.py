"""The Prefect server of this platform: the settings that its server, its workers and its clients run with."""

from __future__ import annotations

from blocks.database import PREFECT_DATABASE, dsn
from blocks.home import Home
from blocks.settings import CHECKOUT, Settings

HEARTBEAT_S = 30
"""Seconds between two signs of life of a flow run; the smallest that Prefect allows."""

ZOMBIE_WINDOW_S = 3 * HEARTBEAT_S
"""Seconds of silence after which a run is taken for dead."""

_DAY_S = 24 * 60 * 60


def client_environment(settings: Settings) -> dict[str, str]:
    """Variables for a process that runs flows or speaks to Prefect's API."""
    variables = {
        "PREFECT_API_URL": settings.api_url,
        "PREFECT_HOME": str(Home(settings).prefect),
        # One profile, ours: what an operator keeps in ~/.prefect must not redirect the platform's processes.
        "PREFECT_PROFILES_PATH": str(Home(settings).prefect / "profiles.toml"),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        "PREFECT_LOGGING_LEVEL": settings.log_level,
        "PREFECT_LOGGING_SETTINGS_PATH": str(CHECKOUT / "blocks" / "logging.yml"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    if settings.prefect_auth is not None:
        variables["PREFECT_API_AUTH_STRING"] = settings.prefect_auth.get_secret_value()
    return variables


def server_environment(settings: Settings) -> dict[str, str]:
    """Variables for the server itself."""
    origins = {f"http://{name}:{settings.prefect_port}" for name in ("127.0.0.1", "localhost", settings.reachable_host)}
    variables = client_environment(settings) | {
        "PREFECT_API_DATABASE_CONNECTION_URL": dsn(settings, PREFECT_DATABASE, driver="postgresql+asyncpg"),
        "PREFECT_SERVER_API_HOST": settings.host,
        "PREFECT_SERVER_API_PORT": str(settings.prefect_port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # The browser of anybody on this machine may hold a hostile page: only our own UI may call the API.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(sorted(origins)),
        # The defaults record some 20 task runs a second; these record close to 60.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs,orphans",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(90 * _DAY_S),
    }
    if settings.prefect_auth is not None:
        variables["PREFECT_SERVER_API_AUTH_STRING"] = settings.prefect_auth.get_secret_value()
    return variables
