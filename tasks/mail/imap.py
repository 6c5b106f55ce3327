"""A folder of an IMAP account (RFC 9051), as far as we look into it. Blocks: for threads.

Nothing is ever expunged that somebody else has marked as deleted, so the library's own `move` and `flag`, which expunge
the whole folder, are not used; nor is its reading of mails, which has no bounds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from blocks.errors import UnavailableError

if TYPE_CHECKING:
    from imap_tools.mailbox import BaseMailBox

_UID = re.compile(rb"\bUID (\d{1,10})\b")
_SIZE = re.compile(rb"\bRFC822\.SIZE (\d{1,12})\b")
_AT_ONCE = 500


@dataclass(frozen=True)
class Waiting:
    """A mail that lies in a folder."""

    uid: int
    size: int
    """Bytes."""


class Folder:
    """An opened folder.

    Args:
        client: has logged in.
        name: the folder's.

    Raises:
        UnavailableError: there is no such folder, or it cannot be opened.
    """

    def __init__(self, client: BaseMailBox, name: str) -> None:
        from imap_tools.utils import encode_folder  # noqa: PLC0415

        self._encode: Any = encode_folder
        self._imap = cast("Any", client.client)
        status, answer = self._imap.select(self._encode(name))
        if status != "OK":
            raise UnavailableError(f"the folder cannot be opened: {_said(answer)}.", component=name)
        told = self._imap.response("UIDVALIDITY")[1]
        try:
            self.uidvalidity = int(told[0])
        except (TypeError, ValueError, IndexError):
            raise UnavailableError("the server names no UIDVALIDITY.", component=name) from None

    def after(self, uid: int) -> list[Waiting]:
        """The mails with a higher UID than `uid`, lowest first."""
        # `n:*` always has the last one, however low.
        return [one for one in self._sizes(f"{uid + 1}:*") if one.uid > uid]

    def still_there(self, uids: Sequence[int]) -> list[Waiting]:
        """Those of `uids` that are still in the folder, lowest first."""
        return [one for some in _pieces(sorted(uids)) for one in self._sizes(_listed(some))]

    def _sizes(self, uids: str) -> list[Waiting]:
        found = {}
        for line in self._ask("FETCH", uids, "(UID RFC822.SIZE)"):
            told = line[0] if isinstance(line, tuple) else line
            number, size = _UID.search(told), _SIZE.search(told)
            if number and size:
                found[int(number[1])] = Waiting(int(number[1]), int(size[1]))
        return [found[uid] for uid in sorted(found)]

    def fetch(self, uids: Sequence[int]) -> dict[int, bytes]:
        """The mails themselves, unmarked; those that have gone meanwhile are not there."""
        found: dict[int, bytes] = {}
        if not uids:
            return found
        answer = self._ask("FETCH", _listed(uids), "(UID BODY.PEEK[])")
        for number, line in enumerate(answer):
            if not isinstance(line, tuple):
                continue
            after = answer[number + 1] if number + 1 < len(answer) else b""
            # The UID stands before the literal or behind it.
            match = _UID.search(line[0]) or _UID.search(after if isinstance(after, bytes) else b"")
            if match:
                found[int(match[1])] = line[1]
        return found

    def mark_seen(self, uids: Sequence[int]) -> None:
        """Mark them as read."""
        for some in _pieces(uids):
            self._ask("STORE", _listed(some), "+FLAGS.SILENT", r"(\Seen)")

    def move(self, uids: Sequence[int], folder: str) -> None:
        """Move them to `folder`, which is made if it is not there."""
        able = self._able()
        target = self._encode(folder)
        for some in _pieces(uids):
            listed = _listed(some)
            if "MOVE" in able:
                if self._imap.uid("MOVE", listed, target)[0] != "OK":
                    self._imap.create(target)
                    self._ask("MOVE", listed, target)
                continue
            if self._imap.uid("COPY", listed, target)[0] != "OK":
                self._imap.create(target)
                self._ask("COPY", listed, target)
            self._ask("STORE", listed, "+FLAGS.SILENT", r"(\Deleted)")
            if "UIDPLUS" in able:  # these, and not what others have marked
                self._ask("EXPUNGE", listed)

    def _able(self) -> frozenset[str]:
        """What the server can do, asked anew: many tell more once one has logged in (RFC 9051, 6.1.1)."""
        status, answer = self._imap.capability()
        if status != "OK" or not answer or not answer[-1]:
            return frozenset()
        return frozenset(answer[-1].decode("ascii", "replace").upper().split())

    def _ask(self, command: str, *arguments: Any) -> list[Any]:
        status, answer = self._imap.uid(command, *arguments)
        if status != "OK":
            raise UnavailableError(f"the server refuses {command}: {_said(answer)}.", component="IMAP")
        return [line for line in answer if line is not None]


def _pieces(uids: Sequence[int]) -> list[Sequence[int]]:
    return [uids[start : start + _AT_ONCE] for start in range(0, len(uids), _AT_ONCE)]


def _listed(uids: Sequence[int]) -> str:
    return ",".join(map(str, uids))


def _said(answer: Any) -> str:
    told = answer[0] if isinstance(answer, list) and answer else answer
    return (told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told))[:200]
