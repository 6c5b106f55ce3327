"""Runs the Prefect server in this process: the same application that `prefect server start` serves.

Going straight to it saves the import of Prefect's command line at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blocks.settings import LOOPBACK, settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def main() -> None:
    """Serve until a signal ends us."""
    import uvicorn  # noqa: PLC0415
    from prefect.server.api.server import create_app  # noqa: PLC0415

    config = settings()
    application: ASGIApp = create_app(final=True)
    uvicorn.run(
        known_by_own_names(application) if config.on_loopback else application,
        host=config.host,
        port=config.prefect_port,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        log_config=None,
        access_log=False,
    )


def known_by_own_names(application: ASGIApp) -> ASGIApp:
    """`application`, answering only to the names of loopback.

    A page on a hostile site can make its own name point to this machine (DNS rebinding), and would then be of the same
    origin as the API, which runs code. Beyond loopback the API asks for a password, which such a page does not have.
    """
    from starlette.middleware.trustedhost import TrustedHostMiddleware  # noqa: PLC0415

    # The middleware cuts a host at its first colon: what begins with a bracket is an address, which nobody can rebind.
    return TrustedHostMiddleware(application, allowed_hosts=[*LOOPBACK, "["], www_redirect=False)


if __name__ == "__main__":
    main()
