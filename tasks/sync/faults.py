"""What can happen to one content on its way into or out of a store."""

from __future__ import annotations

from blocks.errors import LamaError


class Changed(LamaError):  # noqa: N818 - what happened to a content
    """What was read is not what was announced: the file changed meanwhile. Nothing was stored."""


class Corrupted(LamaError):  # noqa: N818
    """The store held something else under this name; it was set aside. What was written so far is to be thrown away."""


class Missing(LamaError):  # noqa: N818
    """The store does not hold it yet, or not the key to it."""


class Unsafe(LamaError):  # noqa: N818
    """Something in the store is not what may stand there: a link, a device, a file beyond all measure."""
