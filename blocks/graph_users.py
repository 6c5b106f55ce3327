"""Who is known to the embedded graph server. Apart from the block, because those that start it must not import Prefect
before they have set its environment.
"""

from __future__ import annotations

import importlib.util

DATABASE = "lama"
"""Of the embedded server."""
WRITER = "lama"
READER = "lama-reader"
"""Reads, and can commit nothing."""
WRITER_SECRET = "graph-writer"  # noqa: S105  # nosec B105 - the name of a file in the home's secrets
READER_SECRET = "graph-reader"  # noqa: S105  # nosec B105


def embedded_installed() -> bool:
    """Whether the embedded server is there to be run; it is looked for, not imported."""
    return importlib.util.find_spec("arcadedb_embedded") is not None
