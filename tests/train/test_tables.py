"""Tables from outside are read, or refused in words, before anything is done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import SecretStr, ValidationError

from blocks.database import dsn
from blocks.errors import ConfigurationError, UnavailableError
from blocks.postgres import Postgres
from blocks.settings import Settings
from models.training import Columns, TrainingTable
from tasks.train.subject import hash_of_table, subject_of
from tasks.train.tables import Limits, read_table
from tests.train.data import as_csv, houses, leads


def table(source: Path | str, **columns: object) -> TrainingTable:
    given = {"target": "price"} | columns
    return TrainingTable(source=str(source), columns=Columns.model_validate(given))


def test_csv_and_parquet_give_the_same_table(tmp_path: Path) -> None:
    frame = houses(150)
    as_csv(frame, tmp_path / "a.csv")
    frame.to_parquet(tmp_path / "a.parquet")
    first, second = (read_table(table(tmp_path / name)) for name in ("a.csv", "a.parquet"))
    assert first["sold"].dtype.kind == second["sold"].dtype.kind == "M", "dates are dates"
    pd.testing.assert_frame_equal(first, second, check_dtype=False)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_and_a_mark_of_byte_order(delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    houses(50).to_csv(path, sep=delimiter, index=False, encoding="utf-8-sig")
    assert list(read_table(table(path)).columns) == list(houses(50).columns)


HOSTILE = {
    "nothing": (b"", "is empty"),
    "blanks": (b"\n\n  \n", "is empty"),
    "zero bytes": (b"a,price\n1,\0\n", "zero bytes"),
    "not UTF-8": (b"a,price\n\xff\xfe,2\n", "not UTF-8"),
    "a header alone": (b"a,price\n", "no rows"),
    "a column twice": (b"a,a,price\n1,2,3\n", "'a' is there twice"),
    "ragged rows": (b"a,price\n1,2\n1,2,3\n", "no table"),
    "an open quote": (b'a,price\n"1,2\n' + b"3,4\n" * 50, "no table|EOF"),
    "no such column": (b"a,cost\n1,2\n", "no column 'price'; it has a, cost"),
    "a gzip file": (b"\x1f\x8b\x08\x00" + b"\x00" * 20, "zero bytes"),
    "a target alone": (b"price\n1\n2\n", "no column is left"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_in_words(kind: str, tmp_path: Path) -> None:
    content, said = HOSTILE[kind]
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said):
        read_table(table(path))


def test_formulas_and_long_words_are_words(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,price\n" + "=cmd|' /C calc'!A0,1\n" * 30 + f"{'x' * 100_000},2\n")
    assert read_table(table(path))["a"].nunique() == 2


def test_a_damaged_parquet_file_and_lists_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + b"\x00" * 100)
    with pytest.raises(ConfigurationError, match="no Parquet file"):
        read_table(table(path))
    pd.DataFrame({"price": [1.0], "a": [[1, 2]]}).to_parquet(path)
    with pytest.raises(ConfigurationError, match="lists or records"):
        read_table(table(path))


def test_what_is_too_large_is_refused_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    as_csv(houses(300), path)
    with pytest.raises(ConfigurationError, match="more than 100 rows"):
        read_table(table(path), limits=Limits(rows=100))
    with pytest.raises(ConfigurationError, match="GiB"):
        read_table(table(path), limits=Limits(bytes=1_000))
    with pytest.raises(ConfigurationError, match="no such file"):
        read_table(table(tmp_path / "b.csv"))


def test_sql_reads_and_does_nothing_else(postgres: Settings, database: str) -> None:
    block = Postgres(url=SecretStr(dsn(postgres, database)))
    with block.get_client() as connection:
        connection.execute("CREATE TABLE sale (price numeric, area int, at timestamptz, town text, id uuid)")
        connection.execute(
            "INSERT INTO sale SELECT 100.5 * n, n, now() + n * interval '1 day', 'x', gen_random_uuid() "
            "FROM generate_series(1, 30) n"
        )
    frame = read_table(table("sql:SELECT price, area, at, town, id FROM sale ORDER BY area;"), database=block)
    assert frame["price"].tolist()[:2] == [100.5, 201.0]
    assert frame["at"].dtype.kind == "M"
    for query in (
        "DELETE FROM sale RETURNING price",
        "SELECT price FROM sale; DROP TABLE sale",
        "SELECT set_config('transaction_read_only', 'off', false) AS price, 1 AS a; DELETE FROM sale",
        "WITH gone AS (DELETE FROM sale RETURNING price) SELECT * FROM gone",
        "SELECT price, area FROM nowhere",
        "SELECT price, nextval('s') AS a FROM sale",
        "",
    ):
        with pytest.raises(ConfigurationError, match=r"cannot be run|no query"):
            read_table(table(f"sql:{query}"), database=block)
    with pytest.raises(ConfigurationError, match="column twice"):
        read_table(table("sql:SELECT price, price FROM sale"), database=block)
    with pytest.raises(ConfigurationError, match="no rows"):
        read_table(table("sql:SELECT price, area FROM sale WHERE false"), database=block)
    slow = block.model_copy(update={"statement_timeout_s": 0.2})
    with pytest.raises(UnavailableError, match=r"longer than 0\.2 s"):
        read_table(table("sql:SELECT 1 AS price, pg_sleep(5)"), database=slow)
    with block.get_client() as connection:
        assert connection.execute("SELECT count(*) FROM sale").fetchone() == (30,)


def test_a_secret_in_a_source_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as said:
        read_table(table("sql:SELECT dblink('postgresql://u:hunter2@h/d')"), database=None)
    assert "hunter2" not in str(said.value)


@pytest.mark.parametrize(
    ("change", "task", "said"),
    [
        (lambda frame: frame.iloc[:1], "regression", "1 row is too few"),
        (lambda frame: frame.iloc[:19], "regression", "19 rows are too few"),
        (lambda frame: frame.assign(price=np.nan), "regression", "0 rows with a target"),
        (lambda frame: frame.assign(price=5.0), "regression", "is 5 in every row"),
        (lambda frame: frame.assign(price="cheap"), "regression", "holds words, such as 'cheap'"),
        (lambda frame: frame.assign(price=np.inf), "regression", "infinities"),
        (lambda frame: frame.assign(price="one"), "classification", "one class, 'one'"),
        (lambda frame: frame, "classification", "classes; 100 are the most"),
    ],
)
def test_a_target_that_cannot_be_learned(change: object, task: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        subject_of(change(houses(200)), Columns(target="price"), task)  # type: ignore[operator, arg-type]


def test_rows_without_a_target_and_negative_prices_are_told() -> None:
    frame = houses(200)
    frame.loc[:4, "price"] = np.nan
    frame.loc[10, "price"] = -5_000.0
    subject = subject_of(frame, Columns(target="price"), "regression")
    assert len(subject.frame) == 195
    assert {one.key for one in subject.findings} == {"train.target:price/missing", "train.target:price/negative"}


def test_weights_and_roles() -> None:
    frame = leads(100).assign(w=1.0)
    frame.loc[3, "w"] = 0.0
    with pytest.raises(ConfigurationError, match="above 0"):
        subject_of(frame, Columns(target="won", weight="w"), "classification")
    with pytest.raises(ValidationError, match="two roles"):
        Columns(target="a", time="a")
    with pytest.raises(ValidationError, match="needs a target"):
        TrainingTable(source="a.csv", columns=Columns())


def test_the_hash_is_of_the_values_and_not_of_where_they_came_from(tmp_path: Path) -> None:
    frame = houses(100)
    assert hash_of_table(frame) == hash_of_table(frame.copy())
    other = frame.copy()
    other.loc[50, "area"] += 0.1
    assert hash_of_table(frame) != hash_of_table(other)
    assert hash_of_table(frame) != hash_of_table(frame.rename(columns={"area": "size"}))
    assert hash_of_table(frame) != hash_of_table(frame.iloc[::-1].reset_index(drop=True))


_LARGE = """
import resource, sys, time
import numpy as np
from models.training import Columns, TrainingTable, TrainParameters
from tasks.train.tables import read_table
from tasks.train.run import _looked_at
from tasks.train.story import Asked
path = sys.argv[1]
columns = Columns(target="price", group="home")
table = TrainingTable(source=path, columns=columns)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
frame = read_table(table)
assert len(frame) == 2_000_000
subject, quality = _looked_at(Asked("m", table, TrainParameters()), frame)
assert 150_000 < len(subject.frame) < 250_000, len(subject.frame)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_two_million_rows_take_a_bounded_memory(tmp_path: Path) -> None:
    """Read, looked through, hashed and sampled in a process of its own: below 1.5 GiB beyond the libraries."""
    draw = np.random.default_rng(0)
    count = 2_000_000
    path = tmp_path / "large.parquet"
    pd.DataFrame(
        {
            "area": draw.normal(100, 20, count).astype(np.float32), "rooms": draw.integers(1, 9, count).astype(np.int8),
            "town": np.array([f"town {n}" for n in range(40)])[draw.integers(0, 40, count)],
            "home": draw.integers(0, 1_500_000, count), "price": draw.lognormal(12, 0.5, count),
        }
    ).to_parquet(path)  # fmt: skip
    root = Path(__file__).parents[2]
    said = subprocess.run(
        [sys.executable, "-c", _LARGE, str(path)], capture_output=True, text=True, cwd=root, check=False
    )
    assert said.returncode == 0, said.stderr[-2000:]
    assert int(said.stdout) < 1_500
