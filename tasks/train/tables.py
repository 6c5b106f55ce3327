"""Tables from outside: CSV, Parquet, SQL. All of them are hostile until they have been looked at.

What is too large is refused before it is read where a file says so itself, and while it is read otherwise.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from blocks.errors import ConfigurationError, UnavailableError
from models.training import Columns, TrainingTable, shown_source

if TYPE_CHECKING:
    from blocks.postgres import Postgres

SQL = "sql:"
_CHUNK = 100_000
_DELIMITERS = ",;\t|"
_DATE_SHARE = 0.95
_ISO = r"^\s*\d{4}-\d{2}-\d{2}"
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class Limits:
    """The most that a table may be."""

    rows: int = 5_000_000
    columns: int = 2_000
    bytes: int = 4 << 30
    """In memory, as a frame; reading takes up to about twice that for a moment."""


def read_table(
    table: TrainingTable,
    *,
    database: Postgres | None = None,
    limits: Limits | None = None,
    verbatim: Collection[str] = (),
) -> pd.DataFrame:
    """The table, with dates as dates and a row of numbers from 0 as its index.

    Args:
        table: where it is, and which columns it must have.
        database: what `sql:` is asked of, in a transaction that only reads.
        limits: the most that it may be.
        verbatim: columns whose words stay words, so that what is no date can be told from what is not there.

    Raises:
        ConfigurationError: it cannot be read, is too large, or lacks a column; nothing was done.
        UnavailableError: the database does not answer, or not in time.
    """
    limits = limits or Limits()
    if table.source.startswith(SQL):
        if database is None:
            raise ConfigurationError("there is no database to ask.", component=shown_source(table.source))
        frame = _from_sql(table.source.removeprefix(SQL), database, limits)
    else:
        path = Path(table.source).expanduser()
        if not path.is_file():
            raise ConfigurationError(
                "there is no such file.", component=str(path),
                remedy="Give the path of a CSV or Parquet file, or `sql:SELECT ...`.",
            )  # fmt: skip
        frame = _from_parquet(path, limits) if _is_parquet(path) else _from_csv(path, limits)
    frame = _with_dates(frame.reset_index(drop=True), table.columns, verbatim)
    _check_columns(frame, table)
    return frame


def _check_columns(frame: pd.DataFrame, table: TrainingTable) -> None:
    where = shown_source(table.source)
    names = [str(name) for name in frame.columns]
    for name in (*table.columns.named, *table.columns.ignore):
        if name not in names:
            shown = ", ".join(names[:30]) + (" ..." if len(names) > 30 else "")
            raise ConfigurationError(f"it has no column {name!r}; it has {shown}.", component=where)
    if not table.columns.features_of(names):
        raise ConfigurationError("no column is left to learn from.", component=where)


# CSV.


def _from_csv(path: Path, limits: Limits) -> pd.DataFrame:
    delimiter = _delimiter(path)
    parts, rows, size = [], 0, 0
    try:
        with pd.read_csv(
            path, sep=delimiter, chunksize=_CHUNK, encoding="utf-8-sig", low_memory=False, on_bad_lines="error",
            index_col=False,
        ) as reader:  # fmt: skip
            for part in reader:
                rows += len(part)
                size += int(part.memory_usage(deep=True).sum())
                _refuse_too_large(path.name, rows, size, limits)
                parts.append(part)
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"byte {error.start} is not UTF-8.", component=str(path), remedy="Save it as UTF-8."
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OverflowError, MemoryError) as error:
        raise ConfigurationError(f"it is no table: {_first_line(error)}", component=str(path)) from error
    if rows == 0:
        raise ConfigurationError("it has no rows.", component=str(path))
    frame = pd.concat(parts, ignore_index=True, copy=False) if len(parts) > 1 else parts[0]
    return _one_type_each(frame)


def _delimiter(path: Path) -> str:
    """What separates the columns, by the header; refuses what cannot be a header."""
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    if not head.strip():
        raise ConfigurationError("it is empty.", component=str(path))
    if b"\0" in head:
        raise ConfigurationError("it holds zero bytes: this is no CSV file.", component=str(path))
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # otherwise a letter was cut in two, at the end of what was read
            raise ConfigurationError(
                f"byte {error.start} is not UTF-8.", component=str(path), remedy="Save it as UTF-8."
            ) from error
        text = head[: error.start].decode("utf-8-sig")
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter))]
    except (csv.Error, StopIteration) as error:
        raise ConfigurationError(f"its first line is no header: {error}", component=str(path)) from error
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ConfigurationError(
            f"the column {twice[0]!r} is there twice; names identify columns.", component=str(path)
        )
    return delimiter


def _one_type_each(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns whose chunks were read as different types: numbers where all of them are, otherwise words."""
    for name in frame.columns:
        if frame[name].dtype == object:
            try:
                frame[name] = pd.to_numeric(frame[name])
            except (ValueError, TypeError):
                frame[name] = frame[name].astype("str")
    return frame


# Parquet.


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _from_parquet(path: Path, limits: Limits) -> pd.DataFrame:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            told = file.metadata
            size = sum(told.row_group(number).total_byte_size for number in range(told.num_row_groups))
            _refuse_too_large(path.name, told.num_rows, size, limits)
            for field in file.schema_arrow:
                if pa.types.is_nested(field.type):
                    raise ConfigurationError(f"the column {field.name!r} holds lists or records.", component=str(path))
            parts, rows, held = [], 0, 0
            for batch in file.iter_batches(_CHUNK):
                part = batch.to_pandas()
                rows += len(part)
                held += int(part.memory_usage(deep=True).sum())
                _refuse_too_large(path.name, rows, held, limits)  # what the file says of itself may be wrong
                parts.append(part)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise ConfigurationError(f"it is no Parquet file: {_first_line(error)}", component=str(path)) from error
    if not parts or not rows:
        raise ConfigurationError("it has no rows.", component=str(path))
    frame = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    if not frame.columns.is_unique:
        raise ConfigurationError("a column is there twice; names identify columns.", component=str(path))
    frame.columns = [str(name) for name in frame.columns]
    return _plain(frame)


# SQL.


def _from_sql(query: str, database: Postgres, limits: Limits) -> pd.DataFrame:
    import psycopg  # noqa: PLC0415

    query = query.strip().rstrip(";")
    if not query:
        raise ConfigurationError("there is no query after `sql:`.", component="sql")
    try:
        with database.get_client() as connection:
            connection.read_only = True
            names: list[str] = []
            parts: list[pd.DataFrame] = []
            rows, size = 0, 0
            for names, batch in _batches(connection, query):
                if len(set(names)) != len(names):
                    raise ConfigurationError("the query gives a column twice; name each once.", component="sql")
                part = _plain(pd.DataFrame(batch, columns=names))
                rows += len(part)
                size += int(part.memory_usage(deep=True).sum())
                _refuse_too_large("the query's result", rows, size, limits)
                parts.append(part)
            connection.rollback()
    except psycopg.errors.QueryCanceled as error:
        raise UnavailableError(
            f"the query took longer than {database.statement_timeout_s:g} s.", component="postgres"
        ) from error
    except psycopg.OperationalError as error:
        raise UnavailableError(f"cannot be asked: {_first_line(error)}", component="postgres") from error
    except psycopg.Error as error:
        raise ConfigurationError(f"the query cannot be run: {_first_line(error)}", component="sql") from error
    if not rows:
        raise ConfigurationError("the query gives no rows.", component="sql")
    return _one_type_each(pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0])


def _batches(connection: Any, query: str) -> Iterator[tuple[list[str], list[tuple[Any, ...]]]]:
    from psycopg.sql import SQL as STATEMENT  # noqa: PLC0415

    # A cursor on the server takes one SELECT or VALUES and nothing else: what follows a semicolon is an error there.
    with connection.cursor() as cursor:
        cursor.execute(STATEMENT("DECLARE lama_table NO SCROLL CURSOR FOR {}").format(STATEMENT(query)), prepare=True)
        while True:
            cursor.execute(f"FETCH {_CHUNK} FROM lama_table")
            names = [column.name for column in cursor.description]
            batch = cursor.fetchall()
            if not batch:
                return
            yield names, batch


# All of them.


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Decimals as numbers, and what else is no number, date or word as words."""
    for name in frame.columns:
        column = frame[name]
        if column.dtype != object:
            continue
        known = column.dropna()
        kinds = {type(value) for value in known}
        if kinds <= {Decimal, int, float, np.float64, np.int64} and kinds:
            frame[name] = pd.to_numeric(column.map(lambda value: None if value is None else float(value)))
        elif kinds == {bool}:
            frame[name] = column.astype("boolean").astype("Float64").astype(np.float64)
        elif kinds and all(hasattr(value, "isoformat") for value in known):
            frame[name] = pd.to_datetime(column, utc=True, errors="coerce").dt.tz_localize(None)
        else:
            frame[name] = column.map(lambda value: None if value is None else str(value)).astype("str")
    return frame


def _with_dates(frame: pd.DataFrame, columns: Columns, verbatim: Collection[str] = ()) -> pd.DataFrame:
    """Columns of words that are dates in ISO 8601 become dates; moments of other zones are put to UTC."""
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            frame[name] = column.dt.tz_convert("UTC").dt.tz_localize(None)
            continue
        if not isinstance(column.dtype, pd.StringDtype) or name == columns.target or name in verbatim:
            continue
        known = column.dropna()
        if not len(known) or known.iloc[:100].str.match(_ISO).mean() < _DATE_SHARE:
            continue
        parsed = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
        if parsed.notna().sum() >= _DATE_SHARE * len(known):
            frame[name] = parsed.dt.tz_localize(None)
    return frame


def _refuse_too_large(what: str, rows: int, size: int, limits: Limits) -> None:
    if rows > limits.rows:
        raise ConfigurationError(
            f"it has more than {limits.rows:,} rows.", component=what, remedy="Give a sample of it."
        )
    if size > limits.bytes:
        raise ConfigurationError(
            f"it takes more than {limits.bytes / 2**30:.1f} GiB.", component=what, remedy="Give a sample of it."
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:300]
