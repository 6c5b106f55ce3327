"""Registered models: registered, compared, promoted, rolled back, loaded.

The aliases `champion` (what answers) and `challenger` (what would like to) are MLflow's, so that its own tools see
them. Whoever changes a model holds its lock, an advisory one of PostgreSQL, from the reading to the writing.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.errors import ConfigurationError, LamaError
from blocks.model_registry import ModelRegistry
from models.training import CHALLENGER, CHAMPION, NAME, Comparison, ModelVersion
from tasks.train import artifact

EXPERIMENT = "lama"
_VERSION, _STAGE, _HISTORY, _COMPARISON = "lama.version", "lama.stage", "lama.history", "lama.comparison"
_LONGEST_HISTORY = 100
_LONGEST_PARAMETER = 500

PROMOTED, ROLLED_BACK = "promoted", "rolled back"


class ConflictError(LamaError):
    """Somebody else has changed the model in the meantime; nothing was done."""


@dataclass(frozen=True)
class Loaded:
    """A model and what the registry says of it."""

    model: Any
    version: ModelVersion


def register(registry: ModelRegistry, model: Any, version: ModelVersion, *, card: str = "") -> ModelVersion:
    """Store `model` and count it as the next version of `version.name`, as the challenger.

    A run that is repeated, and makes the same model again, is given the version that it has made.

    Raises:
        ArtifactError: the model holds what could not be loaded again; nothing was registered.
        UnavailableError: PostgreSQL does not answer.
    """
    content = artifact.dump(model)
    address = artifact.hash_of(content)
    version = version.model_copy(update={"artifact_hash": address})
    client = registry.get_client()
    with registry.locked(version.name):
        flow_run = version.lineage.flow_run if version.lineage is not None else ""
        for known in _versions(client, version.name) if flow_run else ():
            if known.artifact_hash == address and known.lineage is not None and known.lineage.flow_run == flow_run:
                return known
        path = path_of(registry, address)
        _write(path, content)
        if card:
            _write(path.with_suffix(".md"), card.encode())
        run = _log_run(client, version)
        _create_model(client, version.name)
        created = client.create_model_version(
            version.name, source=path.as_uri(), run_id=run, tags={_VERSION: version.model_dump_json()}
        )
        client.set_registered_model_alias(version.name, CHALLENGER, str(created.version))
    return version.model_copy(update={"version": int(created.version), "aliases": (CHALLENGER,)})


def load(registry: ModelRegistry, name: str, which: str | int = CHAMPION) -> Loaded:
    """The model `name`: its champion, another alias, or the version with that number.

    Raises:
        ConfigurationError: there is no such model or version.
        ArtifactError: its file is not the one that was registered; nothing of it was loaded.
    """
    version = find(registry, name, which)
    return Loaded(artifact.read(path_of(registry, version.artifact_hash), version.artifact_hash), version)


def find(registry: ModelRegistry, name: str, which: str | int = CHAMPION) -> ModelVersion:
    """What the registry says of one version.

    Raises:
        ConfigurationError: there is no such model or version.
    """
    found = versions(registry, name) if re.match(NAME, name) else ()
    for one in found:
        if str(one.version) == str(which) or which in one.aliases:
            return one
    if not found:
        raise ConfigurationError(
            f"there is no model {name!r}; there are {', '.join(registry.names()) or 'none'}.", component="train"
        )
    known = sorted({alias for one in found for alias in one.aliases})
    raise ConfigurationError(
        f"the model {name!r} has no {which!r}; it has the versions {', '.join(str(one.version) for one in found)}"
        f"{' and the aliases ' + ', '.join(known) if known else ' and no aliases'}.",
        component="train",
        remedy="Promote a version first." if which == CHAMPION else "",
    )


def versions(registry: ModelRegistry, name: str) -> tuple[ModelVersion, ...]:
    """All versions of a model, newest first; none where there is no such model."""
    return _versions(registry.get_client(), name)


def card_of(registry: ModelRegistry, version: ModelVersion) -> str:
    """The model card, as Markdown; empty where none was kept."""
    path = path_of(registry, version.artifact_hash).with_suffix(".md")
    return path.read_text(encoding="utf-8") if path.exists() else ""


def keep_comparison(registry: ModelRegistry, comparison: Comparison) -> None:
    """Keep what the challenger's comparison showed, for a promotion that somebody decides on later."""
    registry.get_client().set_model_version_tag(
        comparison.name, str(comparison.challenger), _COMPARISON, comparison.model_dump_json()
    )


def kept_comparison(registry: ModelRegistry, name: str, version: int) -> Comparison | None:
    """The last comparison of that version with a champion; None: there was none.

    Raises:
        ConfigurationError: there is no such version.
    """
    find(registry, name, version)
    text = registry.get_client().get_model_version(name, str(version)).tags.get(_COMPARISON)
    return None if text is None else Comparison.model_validate_json(text)


def promote(
    registry: ModelRegistry,
    name: str,
    version: int,
    *,
    comparison: Comparison | None = None,
    force: bool = False,
    reason: str = "",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ModelVersion:
    """Make `version` the champion, if that has been shown to be right.

    Args:
        registry: where.
        name: the model.
        version: which one.
        comparison: of this version with the champion. Needed where there is one, unless `force`.
        force: without, or against, a comparison: somebody takes the responsibility and says so in `reason`.
        reason: is kept in the history.
        now: the time.

    Raises:
        ConfigurationError: there is no such version, or it has not been shown to be better.
        ConflictError: the champion is another one than the comparison was with; compare again.
    """
    client = registry.get_client()
    with registry.locked(name):
        found = {one.version: one for one in _versions(client, name)}
        if version not in found:
            raise ConfigurationError(f"the model {name!r} has no version {version}.", component="train")
        champion = next((one for one in found.values() if CHAMPION in one.aliases), None)
        if champion is not None and champion.version == version:
            return champion
        if champion is not None and not force:
            _refuse_unless_better(name, version, champion, comparison, found[version])
        history = [*_history(client, name, champion), {"version": version, "at": now().isoformat(), "reason": reason}]
        client.set_registered_model_tag(name, _HISTORY, json.dumps(history[-_LONGEST_HISTORY:]))
        client.set_model_version_tag(name, str(version), _STAGE, PROMOTED)
        client.set_registered_model_alias(name, CHAMPION, str(version))  # the alias last: it is what counts
        if CHALLENGER in found[version].aliases:
            client.delete_registered_model_alias(name, CHALLENGER)
        return next(one for one in _versions(client, name) if one.version == version)


def rollback(
    registry: ModelRegistry, name: str, *, reason: str = "", expected: int | None = None
) -> tuple[ModelVersion, ModelVersion]:
    """Make the champion before this one the champion again; gives the one that went and the one that came.

    The one that went is marked: it is not promoted again without `force`.

    Raises:
        ConfigurationError: there is no champion, or none before it.
        ConflictError: the champion is not `expected`.
    """
    client = registry.get_client()
    with registry.locked(name):
        found = {one.version: one for one in _versions(client, name)}
        champion = next((one for one in found.values() if CHAMPION in one.aliases), None)
        if champion is None:
            raise ConfigurationError(f"the model {name!r} has no champion to roll back.", component="train")
        if expected is not None and champion.version != expected:
            raise ConflictError(
                f"the champion of {name!r} is {champion.version}, not {expected}; nothing was done.", component="train"
            )
        history = _history(client, name, champion)
        before = [one for one in history[:-1] if one["version"] != champion.version and one["version"] in found]
        if not before:
            raise ConfigurationError(f"{name!r} had no champion before {champion.version}.", component="train")
        target = found[before[-1]["version"]]
        # what it goes back to must work: found out now, and not by the next prediction
        artifact.read(path_of(registry, target.artifact_hash), target.artifact_hash)
        client.set_model_version_tag(name, str(champion.version), _STAGE, f"{ROLLED_BACK}: {reason}".rstrip(": "))
        client.set_registered_model_alias(name, CHAMPION, str(target.version))
        client.set_registered_model_tag(name, _HISTORY, json.dumps(before))
        after = {one.version: one for one in _versions(client, name)}
        return after[champion.version], after[target.version]


def path_of(registry: ModelRegistry, artifact_hash: str) -> Path:
    """Where the file with that content is."""
    return registry.folder / artifact_hash[:2] / f"{artifact_hash}.skops"


def _refuse_unless_better(
    name: str, version: int, champion: ModelVersion, comparison: Comparison | None, candidate: ModelVersion
) -> None:
    if candidate.stage.startswith(ROLLED_BACK):
        raise ConfigurationError(
            f"{name}@{version} was rolled back.", component="train", remedy="Promote it with force, and say why."
        )
    if comparison is None:
        raise ConfigurationError(
            f"{name}@{version} has not been compared with the champion {champion.version}.", component="train",
            remedy="Compare them, or promote it with force, and say why.",
        )  # fmt: skip
    if comparison.name != name or comparison.challenger != version:
        raise ConfigurationError(f"the comparison is not about {name}@{version}.", component="train")
    if comparison.champion != champion.version:
        raise ConflictError(
            f"the champion of {name!r} is now {champion.version}; the comparison was with {comparison.champion}.",
            component="train",
            remedy="Compare again.",
        )
    if not comparison.better:
        raise ConfigurationError(comparison.verdict, component="train")


def _history(client: Any, name: str, champion: ModelVersion | None) -> list[dict[str, Any]]:
    """The champions one after the other, this one last. What a killed promotion wrote and did not do is left out."""
    kept = json.loads(client.get_registered_model(name).tags.get(_HISTORY, "[]"))
    if champion is None:
        return []
    places = [place for place, one in enumerate(kept) if one["version"] == champion.version]
    if not places:
        return [{"version": champion.version, "at": "", "reason": "by another tool"}]
    return list(kept[: places[-1] + 1])


def _versions(client: Any, name: str) -> tuple[ModelVersion, ...]:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        model = client.get_registered_model(name)
    except MlflowException:
        return ()
    by_version: dict[int, list[str]] = {}
    for alias, number in model.aliases.items():
        by_version.setdefault(int(number), []).append(alias)
    found = []
    for one in _all_versions(client, name):
        if _VERSION not in one.tags:
            continue  # of somebody else's making, in a database that is shared
        known = ModelVersion.model_validate_json(one.tags[_VERSION])
        number = int(one.version)
        aliases = tuple(sorted(by_version.get(number, ())))
        stage = one.tags.get(_STAGE, "")
        found.append(known.model_copy(update={"version": number, "aliases": aliases, "stage": stage}))
    return tuple(sorted(found, key=lambda one: -one.version))


def _all_versions(client: Any, name: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _create_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log_run(client: Any, version: ModelVersion) -> str:
    from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        try:
            experiment_id = client.create_experiment(EXPERIMENT)
        except MlflowException:  # another model's training was first
            experiment_id = client.get_experiment_by_name(EXPERIMENT).experiment_id
    else:
        experiment_id = experiment.experiment_id
    run = client.create_run(experiment_id, run_name=version.name)
    at = int(version.created_at.timestamp() * 1000)
    lineage = version.lineage
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, float(value), at, 0) for key, value in version.metrics.items()],
        params=[Param(key, json.dumps(value)[:_LONGEST_PARAMETER]) for key, value in version.parameters.items()],
        tags=[
            RunTag("lama.data_hash", version.data_hash),
            RunTag("lama.code_version", version.code_version),
            RunTag("lama.environment", json.dumps(version.environment)),
            RunTag("lama.artifact", version.artifact_hash),
            RunTag("lama.flow_run", lineage.flow_run if lineage is not None else ""),
        ],
    )
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; what is there with this address is never written again, unless it is damaged."""
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
