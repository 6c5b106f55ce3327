"""A mirror of invented advisories on disk, at the size of the real one, and what is true about them beside it."""

from __future__ import annotations

import json
import zipfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from _audit_records import NPM, PYPI, Ecosystem, Flaw, History

_FORM = 1  # of the records and of the truth; another one is written anew
_DATE = (2026, 11, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Truth:
    """The packages that records tell of, by ecosystem and normalised name."""

    histories: dict[str, dict[str, History]]

    def group(self, ecosystem: str) -> dict[str, str]:
        """For every name of every flaw one name that stands for the flaw."""
        flaws = (flaw for history in self.histories[ecosystem].values() for flaw in history.flaws)
        return {name: flaw.names[0] for flaw in flaws for name in flaw.names}


def prepared(folder: Path, counts: dict[str, int], *, seed: int, revision: int = 0) -> Path:
    """The mirror of those arguments below `folder`: the one that is there, else a new one."""
    described = {"form": _FORM, "counts": counts, "seed": seed, "revision": revision}
    mirror = folder / f"mirror-{'-'.join(str(count) for count in counts.values())}-{seed}-{revision}"
    made = mirror / "made.json"
    if made.exists() and json.loads(made.read_text()) == described:
        return mirror
    made.unlink(missing_ok=True)
    with ProcessPoolExecutor(len(counts)) as pool:
        for waited in [pool.submit(_write, mirror, name, count, seed, revision) for name, count in counts.items()]:
            waited.result()
    made.write_text(json.dumps(described))
    return mirror


def truth_of(mirror: Path) -> Truth:
    """What is true about the records of a mirror."""
    return Truth({name: truth_about(mirror, name) for name in (PYPI, NPM)})


def truth_about(mirror: Path, ecosystem: str) -> dict[str, History]:
    """What is true about the records of one ecosystem."""
    told = orjson.loads((mirror / f"truth-{ecosystem}.json").read_bytes())
    return {
        name: History(name, versions, [Flaw(names, _stretches(records)) for names, records in flaws])
        for name, versions, flaws in told
    }


def size(mirror: Path, ecosystem: str) -> int:
    """Bytes of an ecosystem's zip file."""
    return archive(mirror, ecosystem).stat().st_size


def archive(mirror: Path, ecosystem: str) -> Path:
    """Where an ecosystem's records are."""
    return mirror / ecosystem / "all.zip"


def _stretches(records: dict[str, list[list[int]]]) -> dict[str, list[tuple[int, int]]]:
    return {id_: [(begin, end) for begin, end in stretches] for id_, stretches in records.items()}


def _write(mirror: Path, name: str, count: int, seed: int, revision: int) -> None:
    ecosystem = Ecosystem(name, count, seed=seed, revision=revision)
    target = archive(mirror, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as opened:
        for record in ecosystem.records():
            entry = zipfile.ZipInfo(f"{record['id']}.json", _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            opened.writestr(entry, orjson.dumps(record), compresslevel=1)
    told: list[Any] = [
        [history.name, history.versions, [[flaw.names, flaw.records] for flaw in history.flaws]]
        for history in ecosystem.histories.values()
    ]
    (mirror / f"truth-{name}.json").write_bytes(orjson.dumps(told))
