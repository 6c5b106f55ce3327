"""A table from outside, some rows at a time, so that it need not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from blocks.errors import ConfigurationError, UnavailableError
from models.training import Columns
from tasks.train.tables import SQL, _batches, _delimiter, _first_line, _is_parquet, _plain, _with_dates

if TYPE_CHECKING:
    from blocks.postgres import Postgres

_MOST_COLUMNS = 2_000


def chunks(source: str, rows: int, *, database: Postgres | None = None) -> Iterator[pd.DataFrame]:
    """The table `source` (a CSV or Parquet file, or `sql:SELECT ...`) in frames of at most `rows` rows.

    Their indices go on from one to the next, from 0.

    Raises:
        ConfigurationError: it cannot be read, or is no table.
        UnavailableError: the database does not answer.
    """
    start = 0
    for part in _parts(source, rows, database):
        if not len(part):
            continue  # what a file with nothing but a header gives
        if len(part.columns) > _MOST_COLUMNS:
            raise ConfigurationError(f"it has more than {_MOST_COLUMNS:,} columns.", component=source[:100])
        part.columns = [str(name) for name in part.columns]
        frame = _with_dates(part.reset_index(drop=True), Columns())
        frame.index = pd.RangeIndex(start, start + len(frame))
        start += len(frame)
        yield frame


def _parts(source: str, rows: int, database: Postgres | None) -> Iterator[pd.DataFrame]:
    if source.startswith(SQL):
        if database is None:
            raise ConfigurationError("there is no database to ask.", component="sql")
        return _of_query(source.removeprefix(SQL), rows, database)
    path = Path(source).expanduser()
    if not path.is_file():
        raise ConfigurationError(
            "there is no such file.", component=str(path),
            remedy="Give the path of a CSV or Parquet file, or `sql:SELECT ...`.",
        )  # fmt: skip
    return _of_parquet(path, rows) if _is_parquet(path) else _of_csv(path, rows)


def _of_csv(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    delimiter = _delimiter(path)
    try:
        with pd.read_csv(
            path, sep=delimiter, chunksize=rows, encoding="utf-8-sig", on_bad_lines="error", index_col=False
        ) as reader:
            yield from reader
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"byte {error.start} is not UTF-8.", component=str(path)) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OverflowError) as error:
        raise ConfigurationError(f"it is no table: {_first_line(error)}", component=str(path)) from error


def _of_parquet(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            for field in file.schema_arrow:
                if pa.types.is_nested(field.type):
                    raise ConfigurationError(f"the column {field.name!r} holds lists or records.", component=str(path))
            for batch in file.iter_batches(rows):
                yield _plain(batch.to_pandas())
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(f"it is no Parquet file: {_first_line(error)}", component=str(path)) from error


def _of_query(query: str, rows: int, database: Postgres) -> Iterator[pd.DataFrame]:
    import psycopg  # noqa: PLC0415

    try:
        with database.get_client() as connection:
            connection.read_only = True
            held: list[pd.DataFrame] = []
            for names, batch in _batches(connection, query.strip().rstrip(";")):
                if len(set(names)) != len(names):
                    raise ConfigurationError("the query gives a column twice; name each once.", component="sql")
                held.append(_plain(pd.DataFrame(batch, columns=names)))
                while sum(map(len, held)) >= rows:
                    joined = pd.concat(held, ignore_index=True) if len(held) > 1 else held[0]
                    yield joined.iloc[:rows]
                    held = [joined.iloc[rows:]]
            connection.rollback()
            if sum(map(len, held)):
                yield pd.concat(held, ignore_index=True)
    except psycopg.OperationalError as error:
        raise UnavailableError(f"cannot be asked: {_first_line(error)}", component="postgres") from error
    except psycopg.Error as error:
        raise ConfigurationError(f"the query cannot be run: {_first_line(error)}", component="sql") from error
