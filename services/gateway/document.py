"""Prints the gateway's OpenAPI document: `python -m services.gateway.document > docs/gateway.openapi.json`.

It is made from the application itself, which is put together and not started; a test holds the file against it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from blocks.settings import Settings
from models.configuration import Configuration


def document() -> dict[str, Any]:
    """What the gateway of a node without a configuration of its own says of itself."""
    from services.gateway.app import create_app  # noqa: PLC0415
    from services.live_routes import LiveRoutes  # noqa: PLC0415

    configuration = Configuration()
    with tempfile.TemporaryDirectory() as home:
        config = Settings(home=Path(home))
        app = create_app(config, configuration.webhooks, LiveRoutes(config, configuration, "gateway"))
        return app.described()


def main() -> None:
    """Print it."""
    json.dump(document(), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
