"""How people name a node: by its key, or by as much of its end as tells it apart. Pure.

`Function:lama:tasks.audit.run.audit`, `tasks.audit.run.audit` and `run.audit` all name the function `audit`, the last
two as long as no other key ends like that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from models.graph import Label, Ref

_PARTS = re.compile(r"[.:/@]")
_LABELS = {label.value.lower(): label for label in Label}
_ORDER = {label: place for place, label in enumerate(Label)}
MOST_NAME = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wrote, understood."""

    text: str
    """Without its label."""
    label: Label | None = None

    @property
    def names(self) -> Collection[str]:
        """What the last part of the key may be: `audit.md` may be a file, or `md` in a module `audit`."""
        return {self.text} | {self.text[place.end() :] for place in _PARTS.finditer(self.text)} - {""}

    def fits(self, ref: Ref) -> bool:
        """Whether `ref` may be meant."""
        if self.label is not None and ref.label is not self.label:
            return False
        if not self.text or not ref.key.endswith(self.text):
            return False
        before = ref.key[: len(ref.key) - len(self.text)]
        return not before or bool(_PARTS.match(before[-1]))


def asked(text: str) -> Asked:
    """What `text` asks for: `Label:key`, a key, or the end of one. Labels are known in any case.

    Raises:
        ValueError: it is empty, or longer than a key can be.
    """
    text = text.strip()
    if not text or len(text) > MOST_NAME:
        raise ValueError("a node is named by its key, or the end of it: `audit.run.audit`, `Flow:audit`")
    before, colon, after = text.partition(":")
    label = _LABELS.get(before.strip().lower()) if colon else None
    return Asked(after.strip(), label) if label is not None and after.strip() else Asked(text)


def meant(wanted: Asked, found: Iterable[Ref]) -> list[Ref]:
    """Those of `found` that may be meant, the likeliest first. When one's key is the text itself, that one is meant."""
    fitting = {ref for ref in found if wanted.fits(ref)}
    exact = {ref for ref in fitting if ref.key == wanted.text}
    return sorted(exact or fitting, key=lambda ref: (len(_PARTS.findall(ref.key)), _ORDER[ref.label], ref.key))


def spelled(ref: Ref) -> str:
    """How `ref` is written so that it names nothing else."""
    return f"{ref.label.value}:{ref.key}"
