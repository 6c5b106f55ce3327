"""Records, archives and packages for the tests of sources."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.gap import Gap
from tasks.advisories.package import Package

NOW = datetime(2026, 11, 1, tzinfo=UTC)
FRESH = "2026-10-30T00:00:00Z"
ALPHA = Package("PyPI", "alpha")
HIDDEN = "dependencies.vulnerability:app/pypi/alpha/CVE-2026-1"


def record(
    id_: str, package: str = "alpha", fixed: str = "2.0", ecosystem: str = "PyPI", **more: Any
) -> dict[str, Any]:
    """A record about all versions before `fixed`."""
    events = [{"introduced": "0"}, {"fixed": fixed}]
    affected = [
        {"package": {"name": package, "ecosystem": ecosystem}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    ]
    return {"id": id_, "modified": FRESH, "affected": affected, **more}


def archive(folder: Path, records: Iterable[Mapping[str, Any]] | Mapping[str, bytes], ecosystem: str = "PyPI") -> Path:
    """OSV's zip of these records, or of these entries."""
    path = folder / ecosystem / "all.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(records, Mapping):
        records = {f"{one['id']}.json": json.dumps(one).encode() for one in records}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in records.items():
            opened.writestr(name, content)
    return path


def hides(gaps: Iterable[Gap]) -> bool:
    """Whether a vulnerability may have gone unseen."""
    return any(HIDDEN.startswith(prefix) for found in gaps for prefix in found.hides)
