"""Runs the Prefect server in this process: the same application that `prefect server start` serves.

Going straight to it saves the import of Prefect's command line at every start.
"""

from __future__ import annotations

from blocks.settings import settings


def main() -> None:
    """Serve until a signal ends us."""
    import uvicorn  # noqa: PLC0415
    from prefect.server.api.server import create_app  # noqa: PLC0415

    config = settings()
    uvicorn.run(
        create_app(final=True),
        host=config.host,
        port=config.prefect_port,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        log_config=None,
        access_log=False,
    )


if __name__ == "__main__":
    main()
