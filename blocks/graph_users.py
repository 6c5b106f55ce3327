"""Who is known to the embedded graph server. Apart from the block, because those that start it must not import Prefect
before they have set its environment.
"""

from __future__ import annotations

DATABASE = "lama"
"""Of the embedded server."""
WRITER = "lama"
READER = "lama-reader"
"""Reads, and can commit nothing."""
WRITER_SECRET = "graph-writer"  # noqa: S105  # nosec B105 - the name of a file in the home's secrets
READER_SECRET = "graph-reader"  # noqa: S105  # nosec B105
