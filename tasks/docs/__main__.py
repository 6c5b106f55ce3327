"""The documentation of one checkout as a process of its own: `python -m tasks.docs`.

A `Job` comes as JSON on standard input, an `Answer` goes as JSON to standard output. It runs beside the flow, because
reading and rendering a large tree would stall it. Exit codes: 0 done, 3 an error of ours, whose words are on standard
error.
"""

from __future__ import annotations

import sys

from blocks.errors import LamaError
from tasks.docs.job import Job, perform

FAILED = 3


def main() -> int:
    """Do the job that standard input names."""
    job = Job.model_validate_json(sys.stdin.buffer.read())
    try:
        answer = perform(job)
    except LamaError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    sys.stdout.write(answer.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
