"""A whole table predicted in parts: each is kept once it is done, and the result appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pandas as pd

from blocks.errors import ConfigurationError
from models.training import ModelVersion
from tasks.predict.report import Oddities
from tasks.train.tables import SQL

FORMS = (".csv", ".parquet")


@dataclass(frozen=True)
class Asked:
    """What a run is asked for; two runs of the same may share parts."""

    source: str
    output: Path
    version: ModelVersion
    key: str | None = None
    keep: tuple[str, ...] = ()
    coverage: float | None = None
    chunk_rows: int = 50_000

    @property
    def fingerprint(self) -> str:
        """The same for the same question about the same table. A query's result has no such thing: never the same."""
        if self.source.startswith(SQL):
            return uuid4().hex
        told = Path(self.source).expanduser().stat()
        parts = [
            self.source, told.st_size, told.st_mtime_ns, told.st_ino, self.version.address, self.version.artifact_hash,
            self.key, self.keep, self.coverage, self.chunk_rows, self.output.suffix,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table that go into the output, the key first."""
        return tuple(dict.fromkeys([*([self.key] if self.key is not None else []), *self.keep]))

    def check(self, frame: pd.DataFrame) -> None:
        """Refuse columns that the table does not have.

        Raises:
            ConfigurationError: names the first one.
        """
        for name in self.columns:
            if name not in frame.columns:
                raise ConfigurationError(
                    f"the table has no column {name!r}; it has {', '.join(list(frame.columns)[:20])}.",
                    component="predict",
                )


@dataclass
class Work:
    """The folder beside the output in which parts wait for the others."""

    folder: Path
    batch: UUID
    done: dict[int, dict[str, Any]] = field(default_factory=dict)

    def part(self, number: int) -> Path:
        """The file of a part."""
        return self.folder / f"{number:06d}.parquet"


def checked_output(output: str, source: str, *, replace: bool) -> Path:
    """Where the result goes.

    Raises:
        ConfigurationError: it cannot go there; nothing was done.
    """
    path = Path(output).expanduser()
    if not path.is_absolute():
        raise ConfigurationError(f"{output!r} is no absolute path.", component="predict")
    if path.suffix.lower() not in FORMS:
        raise ConfigurationError("the output ends in neither .csv nor .parquet.", component=str(path))
    if not path.parent.is_dir():
        raise ConfigurationError("its folder does not exist.", component=str(path))
    if path.is_dir() or path.is_symlink():
        raise ConfigurationError("it is a folder or a link; the output is a file of its own.", component=str(path))
    if not source.startswith(SQL) and path.exists() and path.samefile(Path(source).expanduser()):
        raise ConfigurationError("the output would replace the table that it is made from.", component=str(path))
    if path.exists() and not replace:
        raise ConfigurationError(
            "there is such a file already.", component=str(path), remedy="Give another name, or allow to replace it."
        )
    return path


def open_work(asked: Asked) -> Work:
    """The folder for the parts: with those that an earlier run of the same has finished, otherwise a new one."""
    folder = asked.output.parent / f".{asked.output.name}.parts"
    state = folder / "state.json"
    fingerprint = asked.fingerprint
    kept = _read(state)
    if kept is not None and kept.get("fingerprint") == fingerprint:
        work = Work(folder, UUID(kept["batch"]))
        for note in sorted(folder.glob("*.json")):
            told = _read(note) if note.stem.isdigit() else None
            if told is not None and work.part(int(note.stem)).exists():
                work.done[int(note.stem)] = told
        return work
    if folder.is_symlink():
        raise ConfigurationError("it is a link where a folder of ours should be.", component=str(folder))
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    work = Work(folder, uuid4())
    _write(state, json.dumps({"fingerprint": fingerprint, "batch": str(work.batch)}).encode())
    return work


def parts_of(asked: Asked) -> int:
    """About how many parts there will be, for the progress; 0 where only the end will tell."""
    if asked.source.startswith(SQL):
        return 0
    path = Path(asked.source).expanduser()
    try:
        import pyarrow.parquet as pq  # noqa: PLC0415

        rows = int(pq.read_metadata(path).num_rows)
    except (OSError, ValueError):
        with path.open("rb") as file:
            rows = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1
    return -(-max(1, rows) // asked.chunk_rows)


def write_part(work: Work, number: int, said: pd.DataFrame, told: Oddities) -> None:
    """Keep a part, and then that it is done."""
    path = work.part(number)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    os.close(descriptor)
    said.to_parquet(temporary, index=False)
    Path(temporary).replace(path)
    note = {"rows": len(said), "oddities": told}
    _write(path.with_suffix(".json"), json.dumps(note).encode())
    work.done[number] = note


def drop(work: Work) -> None:
    """Take the parts away, where no later run can go on from them."""
    shutil.rmtree(work.folder, ignore_errors=True)


def join(work: Work, output: Path, parts: int) -> int:
    """All parts as the output, which appears whole or not at all; how many rows. One part is in memory at a time."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows = 0
    descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.new-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if output.suffix.lower() == ".csv":
                for number in range(parts):
                    frame = pd.read_parquet(work.part(number))
                    frame.to_csv(file, index=False, header=number == 0, encoding="utf-8", lineterminator="\n")
                    rows += len(frame)
            else:
                schema = _common_schema(
                    [pq.read_schema(work.part(number)).remove_metadata() for number in range(parts)]
                )
                with pq.ParquetWriter(file, schema) as writer:
                    for number in range(parts):
                        table = pq.read_table(work.part(number))
                        writer.write_table(table.cast(schema))
                        rows += table.num_rows
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    shutil.rmtree(work.folder)
    return rows


def answer_columns(frame: pd.DataFrame, said: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The columns `names` of the table, and what was said beside them."""
    kept = frame[list(names)].copy()
    for name in names:
        if not pd.api.types.is_numeric_dtype(kept[name]) and not pd.api.types.is_datetime64_any_dtype(kept[name]):
            kept[name] = kept[name].map(str, na_action="ignore").astype("str")
    clash = [name for name in names if name in said.columns]
    return pd.concat([kept.rename(columns={name: f"{name}_given" for name in clash}), said], axis=1)


def _common_schema(schemas: Sequence[Any]) -> Any:
    """One for all parts; a column that is numbers in some and words in others is words."""
    import pyarrow as pa  # noqa: PLC0415

    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowTypeError:
        words = [
            pa.schema([pa.field(one.name, pa.large_string()) if _differs(one, schemas) else one for one in schema])
            for schema in schemas
        ]
        return pa.unify_schemas(words, promote_options="permissive")


def _differs(field: Any, schemas: Sequence[Any]) -> bool:
    return any(schema.field(field.name).type != field.type for schema in schemas)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _write(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(path)
