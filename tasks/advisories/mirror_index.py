"""The index of a local copy of advisories: one SQLite file, looked up by package, only ever replaced as a whole.

A row is what one record says about one package, with its severity worked out already: nothing else has to be read for
an audit. Everything that matching does not need is left out, which is most of a record.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from blocks.errors import UnavailableError
from models.severity import Severity
from tasks.advisories.package import Package
from tasks.advisories.ranges import Range
from tasks.advisories.record import GRADED, Advisory, AdvisoryError, Affected, read_advisory
from tasks.advisories.severity import Grade
from tasks.advisories.versions import ordering

FORMAT = 2
"""Counts up whenever the rows change; an index of another format is built anew."""

MOST_NAMED = 5
"""Unusable records that are named; of more only the number is told."""

_WORTH_PACKING = 1_500  # bytes of a body; below, unpacking costs more than the smaller file saves
_PAGE = 8192
_CACHED_KIB = 16_000

_SCHEMA = f"""
PRAGMA page_size = {_PAGE};
PRAGMA user_version = {FORMAT};
CREATE TABLE archive (
    ecosystem TEXT PRIMARY KEY, size INTEGER NOT NULL, stamp TEXT NOT NULL, records INTEGER NOT NULL,
    newest REAL, problem TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE entry (
    id INTEGER PRIMARY KEY, archive TEXT NOT NULL, name TEXT NOT NULL, stamp INTEGER NOT NULL, size INTEGER NOT NULL,
    modified REAL, problem TEXT, UNIQUE (archive, name)
);
CREATE TABLE advisory (
    family TEXT NOT NULL, name TEXT NOT NULL, entry INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (family, name, entry)
) WITHOUT ROWID;
CREATE INDEX advisory_entry ON advisory (entry);
CREATE INDEX entry_problem ON entry (archive, name) WHERE problem IS NOT NULL;
"""


@dataclass(frozen=True, slots=True)
class Archive:
    """What the index was built from."""

    ecosystem: str
    """As its folder is called: `PyPI`, `Debian:12`."""
    size: int
    stamp: str
    """Changes when the archive does."""
    records: int
    newest: datetime | None
    """When the newest of its records was modified; dates that were still to come do not count."""
    problem: str
    """Why it could not be read to its end; empty when it could."""
    unusable: tuple[str, ...] = ()
    """Records that could not be used, and why: the first few, then how many more."""

    def covers(self, ecosystem: str) -> bool:
        """Whether it holds all that there is about `ecosystem`: its own, or one of its releases."""
        return ecosystem == self.ecosystem or ecosystem.startswith(f"{self.ecosystem}:")


class Index:
    """An index that is there. Use it as a context manager, in one thread.

    Raises:
        UnavailableError: from any method, when the file is missing, damaged or of another format.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Index:
        if not self._path.is_file():
            raise UnavailableError("has not been built yet.", component=str(self._path))
        # Immutable: the file is replaced, never written to, so that no lock and no log has to be looked for.
        address = f"file:{quote(str(self._path.absolute()))}?mode=ro&immutable=1"
        try:
            self._connection = sqlite3.connect(address, uri=True)
            with self._understood() as connection:
                (found,) = connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise UnavailableError(f"cannot be opened ({error}).", component=str(self._path)) from error
        except UnavailableError:
            self.__exit__()
            raise
        if found != FORMAT:
            self.__exit__()
            raise UnavailableError("is of another version of Lama.", component=str(self._path))
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def archives(self) -> tuple[Archive, ...]:
        """What it was built from, by ecosystem."""
        with self._understood() as connection:
            rows = connection.execute("SELECT * FROM archive ORDER BY ecosystem").fetchall()
            return tuple(
                Archive(
                    ecosystem,
                    size,
                    stamp,
                    records,
                    None if newest is None else datetime.fromtimestamp(newest, UTC),
                    problem,
                    _unusable(connection, ecosystem),
                )
                for ecosystem, size, stamp, records, newest, problem in rows
            )

    def look_up(self, packages: Iterable[Package]) -> dict[Package, tuple[Advisory, ...]]:
        """Every record about any release of each package; those without a record are left out."""
        query = "SELECT body FROM advisory WHERE family = ? AND name = ?"
        found: dict[Package, tuple[Advisory, ...]] = {}
        with self._understood() as connection:
            for package in packages:
                rows = connection.execute(query, (package.family, package.name)).fetchall()
                if rows:
                    found[package] = tuple([_advisory(body) for (body,) in rows])
        return found

    def check(self) -> None:
        """Read all of it, and see whether it holds together."""
        with self._understood() as connection:
            (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if result != "ok":
                raise sqlite3.DatabaseError(result)

    @contextlib.contextmanager
    def _understood(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            raise UnavailableError("is not open.", component=str(self._path))
        try:
            yield self._connection
        except (sqlite3.Error, ValueError, zlib.error, TypeError, KeyError) as error:
            raise UnavailableError(f"is damaged ({error}).", component=str(self._path)) from error


class Writer:
    """Fills an index that nobody reads yet. Errors of SQLite go to the caller."""

    def __init__(self, path: Path) -> None:
        fresh = not path.exists()
        self._connection = sqlite3.connect(path, isolation_level=None)
        # Nobody reads this file before it is whole, and after a crash it is thrown away: it needs no log.
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._connection.execute(f"PRAGMA cache_size = -{_CACHED_KIB}")
        if fresh:
            self._connection.executescript(_SCHEMA)
        self._connection.execute("BEGIN")

    def close(self) -> None:
        """Close without a word; what was not finished is lost."""
        self._connection.close()

    def finish(self) -> None:
        """All that was added is in the file."""
        self._connection.execute("COMMIT")
        self._connection.close()

    def known(self, archive: str, name: str) -> tuple[int, int, int] | None:
        """Id, stamp and size of an entry that is there already; no stamp fits one that could not be used."""
        query = "SELECT id, iif(problem IS NULL, stamp, -1), size FROM entry WHERE archive = ? AND name = ?"
        found: tuple[int, int, int] | None = self._connection.execute(query, (archive, name)).fetchone()
        return found

    def ids(self, archive: str) -> Iterator[int]:
        """The entries of an archive."""
        yield from (row[0] for row in self._connection.execute("SELECT id FROM entry WHERE archive = ?", (archive,)))

    def add(self, archive: str, name: str, stamp: int, size: int, content: bytes | Unusable) -> int:
        """One entry, the bytes of a record or why there are none; gives its id."""
        modified: float | None = None
        problem: str | None = None
        rows: tuple[Row, ...] = ()
        if isinstance(content, Unusable):
            problem = content.reason
        else:
            try:
                modified, rows = parse(content, archive)
            except AdvisoryError as error:
                problem = str(error)
        cursor = self._connection.execute(
            "INSERT INTO entry (archive, name, stamp, size, modified, problem) VALUES (?, ?, ?, ?, ?, ?)",
            (archive, name, stamp, size, modified, problem),
        )
        entry = int(cursor.lastrowid or 0)
        self._connection.executemany(
            "INSERT INTO advisory VALUES (?, ?, ?, ?)", [(family, named, entry, body) for family, named, body in rows]
        )
        return entry

    def remove(self, entries: Iterable[int]) -> None:
        """Take entries out, with what they say."""
        for entry in entries:
            self._connection.execute("DELETE FROM advisory WHERE entry = ?", (entry,))
            self._connection.execute("DELETE FROM entry WHERE id = ?", (entry,))

    def conclude(self, archive: str, size: int, stamp: str, problem: str, *, now: datetime) -> None:
        """Note what an archive added up to."""
        tomorrow = now.timestamp() + 86_400  # one wrong date must not make a copy fresh for ever
        self._connection.execute(
            "INSERT OR REPLACE INTO archive SELECT ?, ?, ?, count(*), "
            "max(CASE WHEN modified <= ? THEN modified END), ? FROM entry WHERE archive = ?",
            (archive, size, stamp, tomorrow, problem, archive),
        )

    def tells(self, archive: str) -> bool:
        """Whether an archive says anything about any package."""
        query = "SELECT EXISTS (SELECT 1 FROM entry JOIN advisory ON entry = id WHERE archive = ?)"
        return bool(self._connection.execute(query, (archive,)).fetchone()[0])

    def forget(self, archive: str) -> None:
        """Take an archive out, with all its entries."""
        self._connection.execute(
            "DELETE FROM advisory WHERE entry IN (SELECT id FROM entry WHERE archive = ?)", (archive,)
        )
        self._connection.execute("DELETE FROM entry WHERE archive = ?", (archive,))
        self._connection.execute("DELETE FROM archive WHERE ecosystem = ?", (archive,))

    def archives(self) -> dict[str, str]:
        """Archives that it was filled from, with their stamps."""
        return dict(self._connection.execute("SELECT ecosystem, stamp FROM archive"))


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a record cannot be used."""

    reason: str


Row = tuple[str, str, bytes]
"""Family, normalised name, body."""


def parse(content: bytes, archive: str) -> tuple[float | None, tuple[Row, ...]]:
    """When a record was modified (seconds since the epoch), and its rows: those of packages that belong to `archive`,
    where `*` is every ecosystem.

    Raises:
        AdvisoryError: it is not JSON, or not in OSV's shape.
    """
    try:
        record = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise AdvisoryError("is not JSON") from error
    try:
        record.pop(GRADED, None)  # ours to say, not the record's
        groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for entry in record.get("affected") or ():
            ecosystem = str((entry.get("package") or {}).get("ecosystem", ""))
            if ecosystem and _belongs(ecosystem, archive):
                family = ecosystem.partition(":")[0]
                groups.setdefault((family, _normalised(ecosystem, str(entry["package"]["name"]))), []).append(entry)
        if not groups:
            read_advisory({**record, "affected": []})  # it has to be one all the same
        rows = tuple((*key, _body(record, entries)) for key, entries in groups.items())
        return _seconds(record.get("modified")), rows
    except AdvisoryError as error:
        raise AdvisoryError(f"is no OSV record ({error})") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise AdvisoryError(f"is no OSV record ({type(error).__name__})") from error


def _body(record: Mapping[str, Any], entries: list[Mapping[str, Any]]) -> bytes:
    """What an audit needs of a record and some of its `affected`: the fields of its advisory, in `_advisory`'s order.

    An audit reads a thousand of them in a moment, so nothing of what was checked here is checked again there.
    """
    one = read_advisory({**record, "affected": entries})
    packed = orjson.dumps(
        [
            one.id,
            sorted(one.aliases),
            one.summary,
            one.withdrawn,
            [
                [*entry.package, [[*within] for within in entry.ranges], sorted(entry.versions)]
                for entry in one.affected
            ],
            one.modified and one.modified.timestamp(),
            one.published and one.published.timestamp(),
            one.url,
            one.cwe,
            sorted(one.upstream),
            [*one.grade],
        ]
    )
    return zlib.compress(packed, 1) if len(packed) > _WORTH_PACKING else packed


def _advisory(body: bytes) -> Advisory:
    """The advisory of a row.

    Raises:
        ValueError, TypeError, KeyError: the row is not what was written.
    """
    id_, aliases, summary, withdrawn, affected, modified, published, url, cwe, upstream, graded = orjson.loads(
        body if body[:1] == b"[" else zlib.decompress(body)
    )
    severity, score, vector = graded
    return Advisory(
        id_,
        frozenset(aliases),
        summary,
        withdrawn,
        tuple([_affected(*entry) for entry in affected]),
        None if modified is None else datetime.fromtimestamp(modified, UTC),
        None if published is None else datetime.fromtimestamp(published, UTC),
        url,
        tuple(cwe),
        upstream=frozenset(upstream),
        given=Grade(_SEVERITIES[severity], score, vector),
    )


def _affected(ecosystem: str, name: str, ranges: list[Any], versions: list[str]) -> Affected:
    return Affected(
        Package(ecosystem, name),
        tuple([Range(kind, tuple([(turn[0], turn[1]) for turn in events])) for kind, events in ranges]),
        frozenset(versions),
    )


_SEVERITIES = {severity.value: severity for severity in Severity}


def _belongs(ecosystem: str, archive: str) -> bool:
    if archive in {"*", ecosystem}:
        return True
    return ecosystem.startswith(f"{archive}:") or archive.startswith(f"{ecosystem}:")


def _normalised(ecosystem: str, name: str) -> str:
    order = ordering(ecosystem)
    return name if order is None else order.name(name)


def _seconds(modified: Any) -> float | None:
    """Seconds since the epoch of a date as OSV has it; None for what is none."""
    try:
        date = datetime.fromisoformat(str(modified))
    except ValueError:
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _unusable(connection: sqlite3.Connection, archive: str) -> tuple[str, ...]:
    named = connection.execute(
        "SELECT name, problem FROM entry WHERE archive = ? AND problem IS NOT NULL ORDER BY name LIMIT ?",
        (archive, MOST_NAMED),
    ).fetchall()
    told = [f"{shown(name)} {problem}" for name, problem in named]
    if len(named) == MOST_NAMED:
        query = "SELECT count(*) FROM entry WHERE archive = ? AND problem IS NOT NULL"
        (count,) = connection.execute(query, (archive,)).fetchone()
        told += [f"{count - MOST_NAMED} more cannot be used"] if count > MOST_NAMED else []
    return tuple(told)


def shown(name: str) -> str:
    """A name from an archive, fit to be printed."""
    return name[-80:].encode("ascii", errors="replace").decode()
