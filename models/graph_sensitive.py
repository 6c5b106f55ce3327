"""Which properties of the graph are sensitive: they are encrypted before they leave this process."""

from __future__ import annotations

from collections.abc import Mapping

from models.graph import Label

MARK = "sealed:1:"
"""How every encrypted value begins; then the key's id, a colon, and the rest in base64."""

SENSITIVE: Mapping[Label, frozenset[str]] = {
    Label.agent: frozenset({"instructions", "persona", "contact"}),
    Label.memory: frozenset({"text", "summary", "embedding"}),
}
"""By label. What is listed here can be kept and read back, but not searched for."""
