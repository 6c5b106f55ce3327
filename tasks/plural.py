"""Numbers with their nouns."""

from __future__ import annotations


def plural(count: int, one: str, many: str = "") -> str:
    """`count` of something in words: `1 module`, `2 modules`; `many` where an s does not make the plural."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
