"""What must not be exposed: an API beyond loopback without authentication."""

from __future__ import annotations

from blocks.errors import ConfigurationError
from blocks.settings import Settings


def refuse_unguarded(settings: Settings, program: str) -> None:
    """Refuse to start `program` where others could use it without a key.

    Raises:
        ConfigurationError: it would listen beyond loopback without authentication.
    """
    if settings.on_loopback:
        return
    if program == "prefect" and settings.prefect_auth is None:
        raise ConfigurationError(
            f"Prefect's API would listen on {settings.host} without authentication.",
            component="prefect",
            remedy="Set LAMA_PREFECT_AUTH=user:password, or listen on loopback.",
        )
