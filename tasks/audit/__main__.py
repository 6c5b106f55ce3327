"""The audit's engine as a process of its own: `python -m tasks.audit --mirror FOLDER PATH...`.

For hooks and benchmarks that want an answer in a moment: no platform, no configuration, no report. `lama audit` is
what people use. Exit codes: 0 nothing found, 1 vulnerabilities, 2 something could not be looked at.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.gap import Gap
from tasks.advisories.mirror import Mirror
from tasks.audit.examine import Examination, Subject, examine
from tasks.audit.unseen import unseen_gaps
from tasks.event_loop import run_to_end
from tasks.result_cache import ResultCache


def main() -> int:
    """Audit what the command line names, and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m tasks.audit", description="Audit against a local mirror.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="checkout, environment, image or file")
    parser.add_argument("--mirror", required=True, type=Path, help="folder of the local mirror")
    parser.add_argument("--cache", type=Path, help="file that remembers what was read before")
    parser.add_argument("--max-age-days", type=float, default=7.0, help="age above which the mirror is stale")
    parser.add_argument("--environments", action="store_true", help="look into environments of checkouts as well")
    chosen = parser.parse_args()
    subjects = [Subject(str(path), path.absolute()) for path in chosen.paths]
    sources = [Mirror(chosen.mirror, max_age_days=chosen.max_age_days)]
    gc.disable()  # nothing becomes garbage that would be worth a search before the process ends
    examination = run_to_end(
        examine(subjects, sources, cache=ResultCache(chosen.cache), environments=chosen.environments)
    )
    import orjson  # noqa: PLC0415

    sys.stdout.buffer.write(orjson.dumps(described(examination), option=orjson.OPT_APPEND_NEWLINE))
    if gaps_of(examination):
        return 2
    return 1 if examination.weaknesses or any(part.ranges for part in examination.judged) else 0


def gaps_of(examination: Examination) -> tuple[Gap, ...]:
    """What could not be looked at, and what nobody could have looked at."""
    return (*examination.all_gaps, *unseen_gaps(examination.inventories))


def described(examination: Examination) -> Mapping[str, Any]:
    """The examination as JSON has it."""
    return {
        "components": sum(len(taken.components) for taken in examination.inventories),
        "weaknesses": [
            {
                "target": weakness.target,
                "ecosystem": weakness.package.ecosystem,
                "package": weakness.package.name,
                "versions": weakness.versions,
                "id": weakness.id,
                "names": weakness.names,
                "severity": weakness.severity.value,
                "fixed": weakness.fixed,
            }
            for weakness in examination.weaknesses
        ],
        "gaps": [{"area": gap.area, "component": gap.component, "reason": gap.reason} for gap in gaps_of(examination)],
    }


if __name__ == "__main__":
    sys.exit(main())
