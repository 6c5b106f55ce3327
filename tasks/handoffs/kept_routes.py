"""The blocks that were routes when somebody last looked: what a service starts with while Prefect is away.

Without them, messages that come then would be nobody's.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from blocks.home import Home
from blocks.settings import Settings
from tasks.handoffs.route_set import Blocks

_NAME = "handoff-routes.json"


def kept_blocks(config: Settings) -> Blocks:
    """What was kept of this Prefect; nothing where nothing was, or where it cannot be read."""
    try:
        kept = json.loads((Home(config).run / _NAME).read_text(encoding="utf-8"))
        if kept["api"] != config.api_url:
            return {}
        return {str(name): dict(said) for name, said in kept["blocks"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def keep_blocks(config: Settings, blocks: Blocks) -> None:
    """Keep `blocks`, whole or not at all. A route holds no secret, yet only we can read it.

    Raises:
        OSError: it cannot be written; what was kept before stays.
    """
    folder = Home(config).run
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"api": config.api_url, "blocks": blocks}, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(folder / _NAME)
    finally:
        Path(temporary).unlink(missing_ok=True)
