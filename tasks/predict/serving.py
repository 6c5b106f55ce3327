"""Keeps models ready that answer at once. For threads: everything here may wait for a disk or a database."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg

from blocks.errors import ConfigurationError, UnavailableError
from blocks.model_registry import ModelRegistry
from models.training import ModelVersion
from tasks.predict.resolve import parsed, resolved
from tasks.train.askable import check_askable
from tasks.train.extra import check_installed

if TYPE_CHECKING:
    from tasks.train.predict import Predictor

_MOST_MODELS = 8
_FRESH_S = 1.0
_MOST_NAMES = 1000


class Served:
    """Models by address. Safe to share between threads.

    What an alias means is asked again once it is older than a second, by one question over a connection that stays
    open; while the database is away the last answer holds. A version never changes, so it is loaded once and kept by
    the hash of its file, the least recently asked going first.

    Args:
        registry: where models are.
        clock: seconds that only grow.
    """

    def __init__(self, registry: ModelRegistry, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._asking = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._meant: OrderedDict[str, tuple[ModelVersion, float]] = OrderedDict()
        self._guard = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}
        self._ready: OrderedDict[str, Predictor] = OrderedDict()

    def predictor(self, address: str) -> Predictor:
        """What answers for `address`: `name`, `name@alias` or `name@number`.

        Raises:
            ConfigurationError: there is no such model, or it is a market's, which values and does not predict.
            ArtifactError: its file is not the one that was registered; nothing of it was loaded.
            UnavailableError: the registry's database is away, and nobody has asked for this one before.
        """
        version = self._version(address)
        ready = self._of(version)
        if ready is not None:
            return ready
        with self._guard:
            lock = self._loading.setdefault(version.artifact_hash, threading.Lock())
        with lock:  # of several who ask for a new version at once, one loads it
            ready = self._of(version)
            if ready is None:
                ready = self._load(version)
        return ready

    def close(self) -> None:
        """Close the connection."""
        with self._asking:
            self._drop()

    def _version(self, address: str) -> ModelVersion:
        known = self._meant.get(address)
        if known is not None and self._clock() - known[1] < _FRESH_S:
            return known[0]
        name, which = parsed(address)
        with self._asking:
            known = self._meant.get(address)
            if known is not None and self._clock() - known[1] < _FRESH_S:
                return known[0]
            try:
                found = self._ask(name, which)
            except psycopg.Error as error:
                self._drop()
                if known is None:
                    raise UnavailableError("the registry's database does not answer.", component=address) from error
                found = known[0]
            except ConfigurationError:
                self._meant.pop(address, None)
                raise
            self._meant[address] = (found, self._clock())
            while len(self._meant) > _MOST_NAMES:
                self._meant.popitem(last=False)
            return found

    def _ask(self, name: str, which: str) -> ModelVersion:
        try:
            return resolved(self._open(), name, which)
        except psycopg.OperationalError:  # the server may have restarted since: a new connection tells
            self._drop()
            return resolved(self._open(), name, which)

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._registry.url.get_secret_value(),
                autocommit=True,
                connect_timeout=3,
                options="-c statement_timeout=3000",
                application_name="lama predictions",
            )
        return self._connection

    def _drop(self) -> None:
        held, self._connection = self._connection, None
        if held is not None:
            held.close()

    def _of(self, version: ModelVersion) -> Predictor | None:
        with self._guard:
            ready = self._ready.get(version.artifact_hash)
            if ready is None or ready.version.address != version.address:
                return None
            self._ready.move_to_end(version.artifact_hash)
            return ready

    def _load(self, version: ModelVersion) -> Predictor:
        ready = loaded(self._registry, version)
        with self._guard:
            self._ready[version.artifact_hash] = ready
            while len(self._ready) > _MOST_MODELS:
                self._ready.popitem(last=False)
            self._loading.pop(version.artifact_hash, None)
        return ready


def loaded(registry: ModelRegistry, version: ModelVersion) -> Predictor:
    """The version, loaded and ready to answer.

    Raises:
        ConfigurationError: it is a market's, which values and does not predict; nothing of it was loaded.
        ArtifactError: its file is not the one that was registered; nothing of it was loaded.
        UnavailableError: what runs models is not installed here.
    """
    check_askable(version)
    try:
        check_installed()
    except ConfigurationError as error:
        raise UnavailableError(error.what, component="predict", remedy=error.remedy) from error
    from tasks.train import artifact  # noqa: PLC0415
    from tasks.train.predict import Predictor  # noqa: PLC0415
    from tasks.train.registry import Loaded, path_of  # noqa: PLC0415

    model = artifact.read(path_of(registry, version.artifact_hash), version.artifact_hash)
    return Predictor(Loaded(model, version))
