"""Finished folds, kept so that a run that was killed goes on where it was.

A file for each family, its parameters and fold, below a folder that is named after the data and the plan: another table
or another plan never meets them. Arrays of numbers and words only; what cannot be read is made again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.train.engine import FoldResult, parameters_key

_OLD_S = 14 * 86_400.0


class Checkpoints:
    """The finished folds of one plan on one table.

    Args:
        folder: below which all plans are; None: nothing is kept.
        data_hash: of the table.
        plan: everything else that a fold's result depends on.
    """

    def __init__(self, folder: Path | None, data_hash: str, plan: str) -> None:
        self._root = folder
        self._folder = None if folder is None else folder / f"{data_hash[:24]}-{plan[:24]}"
        self.found = 0
        """How many results were taken from earlier runs."""

    def get(self, family: str, parameters: Mapping[str, Any], fold: str) -> FoldResult | None:
        """The result of that fold, if an earlier run has finished it."""
        if self._folder is None:
            return None
        try:
            with np.load(self._path(self._folder, family, parameters, fold), allow_pickle=False) as kept:
                told = json.loads(str(kept["told"]))
                result = FoldResult(
                    family, dict(parameters), fold, kept["test"], kept["predictions"], tuple(told["classes"]),
                    float(told["seconds"]),
                )  # fmt: skip
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        self.found += 1
        return result

    def put(self, result: FoldResult) -> None:
        """Keep a result: whole, or not at all."""
        if self._folder is None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                told = json.dumps({"classes": list(result.classes), "seconds": result.seconds})
                np.savez(file, test=result.test, predictions=result.predictions, told=np.array(told))
            Path(temporary).replace(self._path(self._folder, result.family, result.parameters, result.fold))
        finally:
            Path(temporary).unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget these, and what other runs left behind for two weeks."""
        if self._folder is None or self._root is None:
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        for other in self._root.iterdir() if self._root.exists() else ():
            with contextlib.suppress(OSError):
                if time.time() - other.stat().st_mtime > _OLD_S:
                    shutil.rmtree(other, ignore_errors=True)

    def _path(self, folder: Path, family: str, parameters: Mapping[str, Any], fold: str) -> Path:
        return folder / f"{family}-{parameters_key(family, parameters)}-{fold.replace(' ', '_')}.npz"
