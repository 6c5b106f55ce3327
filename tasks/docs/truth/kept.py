"""The file that a baseline is kept in, written at once or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from blocks.errors import LamaError
from tasks.docs.truth.baseline import Baseline


def keep(path: Path, baseline: Baseline) -> bool:
    """Write `baseline` to `path`; False when that is what is there already.

    Raises:
        LamaError: it cannot be written; then what was there is as it was.
    """
    content = baseline.written
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise LamaError(f"cannot be written: {error.strerror}.", component=str(path)) from error
    return True
