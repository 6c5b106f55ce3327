"""A table becomes a table: in parts, once each, whole or not at all, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from blocks.errors import ConfigurationError
from blocks.postgres import Postgres
from blocks.settings import CHECKOUT, Settings
from models.training import ModelVersion
from tasks.predict.batch import Asked, answer_columns, checked_output, join, open_work, parts_of, write_part
from tasks.predict.chunks import chunks
from tasks.predict.kept import class_text, key_text
from tasks.predict.oddities import oddities, together
from tests.predict.training import houses, trained

VERSION = ModelVersion(
    name="houses", version=3, task="regression", created_at=datetime(2026, 11, 1, tzinfo=UTC), data_hash="",
    code_version="", artifact_hash="a" * 64,
)  # fmt: skip


def _asked(tmp_path: Path, ending: str = ".csv", **more: object) -> Asked:
    source = tmp_path / "in.csv"
    if not source.exists():
        houses(250).to_csv(source, index=False)
    return Asked(str(source), tmp_path / f"out{ending}", VERSION, chunk_rows=100, **more)  # type: ignore[arg-type]


def _parts(asked: Asked) -> list[pd.DataFrame]:
    return list(chunks(asked.source, asked.chunk_rows))


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_parts_become_one_table_and_their_folder_goes(tmp_path: Path, ending: str) -> None:
    asked = _asked(tmp_path, ending, key="id")
    assert parts_of(asked) == 3
    work = open_work(asked)
    for number, frame in enumerate(_parts(asked)):
        said = pd.DataFrame({"prediction": frame["area"] * 2, "model": VERSION.address})
        write_part(work, number, answer_columns(frame, said, asked.columns), {"missing": {"area": number}})
        assert not asked.output.exists()
    assert join(work, asked.output, 3) == 250
    assert not work.folder.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", f"out{ending}"]
    made = pd.read_csv(asked.output) if ending == ".csv" else pd.read_parquet(asked.output)
    assert list(made.columns) == ["id", "prediction", "model"]
    given = pd.read_csv(asked.source)
    assert (made["id"] == given["id"]).all()
    assert np.allclose(made["prediction"], given["area"] * 2)


def test_what_is_done_is_found_again_and_only_by_the_same_question(tmp_path: Path) -> None:
    asked = _asked(tmp_path)
    work = open_work(asked)
    (first, second, _) = _parts(asked)
    write_part(work, 0, first, {})
    write_part(work, 1, second, {})
    work.part(1).unlink()  # as if the note had come to the disk, and the part had not
    again = open_work(asked)
    assert (again.batch, set(again.done)) == (work.batch, {0})
    other = open_work(Asked(asked.source, asked.output, VERSION, chunk_rows=50))
    assert (other.done, other.batch == work.batch) == ({}, False)
    write_part(open_work(asked), 0, first, {})
    houses(250, 9).to_csv(asked.source, index=False)
    assert open_work(asked).done == {}, "the table is another one now"
    query = Asked("sql:SELECT 1", asked.output, VERSION)
    write_part(open_work(query), 0, first, {})
    assert open_work(query).done == {}, "what a query gives may be another table every time"


def test_types_that_differ_between_parts_are_joined(tmp_path: Path) -> None:
    asked = _asked(tmp_path, ".parquet")
    work = open_work(asked)
    write_part(work, 0, pd.DataFrame({"id": [1, 2], "prediction": [1.0, 2.0]}), {})
    write_part(work, 1, pd.DataFrame({"id": ["x", "y"], "prediction": [None, 4.0]}), {})
    assert join(work, asked.output, 2) == 4
    assert pd.read_parquet(asked.output)["id"].tolist() == ["1", "2", "x", "y"]


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("out.csv", "no absolute path"),
        ("{tmp}/out.txt", "neither .csv nor .parquet"),
        ("{tmp}/none/out.csv", "folder does not exist"),
        ("{tmp}/folder.csv", "a folder or a link"),
        ("{tmp}/link.csv", "a folder or a link"),
        ("{tmp}/in.csv", "replace the table that it is made from"),
        ("{tmp}/there.csv", "such a file already"),
    ],
)
def test_where_the_output_cannot_go_nothing_is_begun(tmp_path: Path, output: str, problem: str) -> None:
    asked = _asked(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "link.csv").symlink_to(tmp_path / "there.csv")
    with pytest.raises(ConfigurationError, match=problem):
        checked_output(output.format(tmp=tmp_path), asked.source, replace=False)
    assert checked_output(str(tmp_path / "there.csv"), asked.source, replace=True).read_text() == "mine"


def test_a_table_comes_in_chunks_from_everywhere(tmp_path: Path, postgres: Settings, database: str) -> None:
    frame = houses(250)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    own = Postgres.of(postgres, database)
    query = "sql:SELECT n AS id, n / 2.0 AS half, DATE '2026-01-01' + n AS day FROM generate_series(1, 250) AS n"
    for source in (str(tmp_path / "a.csv"), str(tmp_path / "a.parquet"), query):
        parts = list(chunks(source, 100, database=own))
        assert [len(part) for part in parts] == [100, 100, 50]
        assert [int(part.index[0]) for part in parts] == [0, 100, 200]
    assert str(parts[0]["day"].dtype).startswith("datetime64")
    assert pd.api.types.is_float_dtype(parts[0]["half"])


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("/nowhere.csv", "no such file"),
        ("sql:DELETE FROM report", "cannot be run"),
        ("sql:SELECT 1; DROP TABLE report", "cannot be run"),
        ("sql:SELECT pg_terminate_backend(0), nextval('x')", "cannot be run"),
        ("sql:SELECT 1 AS a, 2 AS a", "a column twice"),
    ],
)
def test_hostile_sources_are_refused(source: str, problem: str, postgres: Settings, database: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        list(chunks(source, 100, database=Postgres.of(postgres, database)))


def test_oddities_are_counted_and_add_up() -> None:
    model, _, _ = trained()
    frame = houses(100, 5)
    frame.loc[:9, "town"] = "Elsewhere"
    frame.loc[5:14, "area"] = np.nan
    frame.loc[20:22, "age"] = 5000
    found = oddities(frame, model.schema)
    assert found["unknown"] == {"town": 10}
    assert found["missing"] == {"area": 10}
    assert found["out_of_range"]["age"] == 3
    halves = together([oddities(frame[:50], model.schema), oddities(frame[50:], model.schema)])
    assert halves == found


def test_keys_and_classes_are_the_same_however_they_were_read() -> None:
    assert [key_text(key) for key in (7, 7.0, "7", " 7 ", np.float64(7), np.int64(7))] == ["7"] * 6
    assert [class_text(label) for label in (1, 1.0, "1", "1.0", np.int64(1))] == ["1"] * 5
    assert [class_text(label) for label in ("v1.0", "yes", -2.0)] == ["v1.0", "yes", "-2"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_two_million_rows_take_no_more_memory_than_some(tmp_path: Path) -> None:
    """The peak of a process that predicts twelve parts is about that of one that predicts two."""
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        import pandas as pd
        from tasks.predict.batch import Asked, answer_columns, join, open_work, write_part
        from tasks.predict.chunks import chunks
        from tasks.predict.oddities import oddities
        from tasks.train.predict import Predictor
        from tasks.train.registry import Loaded
        from tests.predict.training import trained
        from tests.predict.test_batch import VERSION

        model, _, version = trained()
        predictor = Predictor(Loaded(model, version))
        asked = Asked(sys.argv[1], Path(sys.argv[2]), VERSION, key="id", chunk_rows=10_000)
        work, number = open_work(asked), 0
        for number, frame in enumerate(chunks(asked.source, asked.chunk_rows)):
            said, _ = predictor.predict_frame(frame)
            write_part(work, number, answer_columns(frame, said, asked.columns), oddities(frame, predictor.schema))
        rows = join(work, asked.output, number + 1)
        peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        print(rows, peak.split()[1])
        """
    )
    peaks = {}
    block = houses(10_000)
    for parts in (2, 12):
        source = tmp_path / f"{parts}.csv"
        for number in range(parts):
            block.to_csv(source, index=False, mode="a", header=number == 0)
        told = subprocess.run(
            [sys.executable, "-c", script, str(source), str(tmp_path / f"{parts}.out.parquet")],
            cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=300,
        ).stdout.split()  # fmt: skip
        assert int(told[0]) == parts * 10_000
        peaks[parts] = int(told[1]) / 1024
    assert peaks[12] < peaks[2] + 40, f"MiB: {peaks}"


def test_the_worker_waits_for_no_library_that_only_predicting_needs() -> None:
    """Flows are imported beside each other in the worker, which is forked: threads of numerical libraries are not."""
    script = (
        "import sys, flows.predict, flows.drift; print([m for m in ('numpy', 'pandas', 'scipy') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
