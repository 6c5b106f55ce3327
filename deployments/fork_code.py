"""Which code runs use: what to import ahead of them, and whether it has changed on disk."""

from __future__ import annotations

import ast
import contextlib
import os
import site
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from blocks.settings import CHECKOUT

_FLOORS = ("lama", "services", "deployments", "flows", "tasks", "blocks", "models")

_NO_CODE = frozenset({"__pycache__", "node_modules", "tests", "benchmarks", "docs", "build", "dist"})

_CODE = (".py", ".pyi", ".sql", ".toml", ".yaml", ".yml", ".mako", ".so")

_BESIDE = ("prefect.yaml", "prefect.toml", "pyproject.toml", "constraints.txt", ".env")


@dataclass(frozen=True)
class Checkout:
    """A folder with `prefect.yaml` and the packages that its deployments run."""

    path: Path = CHECKOUT
    pool: str | None = None
    """Only what is deployed to this pool is imported ahead; None: everything."""

    def modules(self) -> list[str]:
        """What the flows that `prefect.yaml` deploys need imported, without repetition, in its order.

        An entrypoint that names a module (`flows.sync.sync`) gives that module. One that names a file
        (`flows/sync.py:sync`) gives what the file imports: Prefect executes the file itself in every run, and
        it must not have been executed before.

        Raises:
            ValueError: `prefect.yaml` is there, but is not YAML of the form that Prefect reads.
        """
        try:
            text = (self.path / "prefect.yaml").read_text("utf-8")
        except FileNotFoundError:
            return []
        try:
            document: Any = yaml.safe_load(text) or {}
            entrypoints = [
                str(entry.get("entrypoint") or "")
                for entry in document.get("deployments") or ()
                if self.pool is None or (entry.get("work_pool") or {}).get("name", self.pool) == self.pool
            ]
        except (yaml.YAMLError, AttributeError, TypeError) as error:
            raise ValueError(f"{self.path / 'prefect.yaml'} cannot be read: {error}") from error
        return list(dict.fromkeys(module for entry in entrypoints for module in self._needed_by(entry)))

    def state(self, unreadable: Callable[[OSError], None]) -> Mapping[str, tuple[int, int]]:
        """Modification time and size of every file that a run's code may come from.

        Two equal answers mean that the code is the same; a few milliseconds for a few thousand files. What cannot be
        looked at is left out, and `unreadable` hears of it each time.
        """
        state: dict[str, tuple[int, int]] = {}
        for entry in self._code_files(unreadable):
            with _telling(unreadable):
                state[entry.path] = _stamp(entry.stat())
        for path in (*(self.path / name for name in _BESIDE), *map(Path, site.getsitepackages())):
            with _telling(unreadable):
                state[str(path)] = _stamp(path.stat())
        return state

    def _needed_by(self, entrypoint: str) -> Iterator[str]:
        file, colon, _flow = entrypoint.rpartition(":")
        if file.endswith(".py"):
            try:
                tree = ast.parse((self.path / file).read_bytes())
            except (OSError, SyntaxError, ValueError):
                return  # the run itself fails with the full story
            for node in tree.body:
                if isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module
                    inside = self.path.joinpath(*node.module.split("."))
                    for alias in node.names:
                        if (inside / f"{alias.name}.py").exists() or (inside / alias.name).is_dir():
                            yield f"{node.module}.{alias.name}"
        elif module := file if colon else entrypoint.rpartition(".")[0]:
            yield module

    def _code_files(self, unreadable: Callable[[OSError], None]) -> Iterator[os.DirEntry[str]]:
        if not os.path.lexists(self.path / "prefect.yaml"):  # installed among other packages: only ours are ours
            for floor in _FLOORS:
                yield from _code_files(str(self.path / floor), unreadable)
        else:
            yield from _code_files(str(self.path), unreadable)


def _code_files(folder: str, unreadable: Callable[[OSError], None]) -> Iterator[os.DirEntry[str]]:
    with _telling(unreadable), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _NO_CODE:
                continue
            if entry.name.endswith(_CODE):
                yield entry
                continue
            inside = False
            with _telling(unreadable):
                inside = entry.is_dir(follow_symlinks=False) and not os.path.lexists(f"{entry.path}/pyvenv.cfg")
            if inside:
                yield from _code_files(entry.path, unreadable)


@contextlib.contextmanager
def _telling(unreadable: Callable[[OSError], None]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:  # the next look sees a removal
        pass
    except OSError as error:
        unreadable(error)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_size
