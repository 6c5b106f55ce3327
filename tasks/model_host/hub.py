"""Models of the Hugging Face hub, fetched into the Lama home: looked at first, resumed after a break, checked.

A host never fetches by itself: what it loads was pulled before, at one commit, and stays at it until it is pulled
again. The layout below `models/` of the home is that of the hub's own cache, without its links. Beside it, a mark says
what was fetched completely. The hub's client keeps nothing of a file that was broken off; what was fetched of it is
kept here, so its transfer is ours and its HTTP the client's.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from blocks.errors import ConfigurationError
from models.model_host import CatalogueEntry, EngineKind, ModelPath, Quantisation
from tasks.model_host.counting import Counted, window_of
from tasks.model_host.errors import ADAPTER, MERGE, LoadError
from tasks.model_host.headers import read_json
from tasks.model_host.prediction import DeviceKind
from tasks.model_host.shapes import of_config

_PLACE = re.compile(
    r"^(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:/(?P<file>(?:(?!\.)[\w.-]{1,60}/){0,3}(?!\.)[\w.-]{1,200}\.gguf))?"
    r"(?:@(?P<revision>[\w./-]{1,100}))?$",
    re.ASCII,
)
_BESIDE_WEIGHTS = re.compile(
    r"^(?:[\w.-]+\.json|tokenizer\.model|spiece\.model|vocab\.txt|merges\.txt|[\w.-]+\.jinja|1_Pooling/config\.json)$"
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
_LARGEST_CONFIG = 4 * 1024**2
_SPARE = 64 * 1024**2
"""Bytes of the disk that are left to others."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Place:
    """`OWNER/NAME[/[FOLDER/]FILE.gguf][@REVISION]`."""

    repo: str
    file: str | None
    revision: str

    @classmethod
    def of(cls, place: str, component: str) -> Place:
        """Read it.

        Raises:
            ConfigurationError: it names no repository.
        """
        found = _place(place)
        if not found:
            raise ConfigurationError(
                f"hub:{place[:100]} names no repository.",
                component=component,
                remedy="Write hub:OWNER/NAME[@REVISION], or hub:OWNER/NAME/[FOLDER/]FILE.gguf[@REVISION].",
            )
        return cls(found["repo"], found["file"], found["revision"] or "main")

    def mark(self, cache: Path) -> Path:
        """Where it is written that all of it is here."""
        words = "~".join(quote(word, safe="") for word in (self.revision, self.file or ""))
        return self.folder(cache) / "lama" / f"{words}.json"

    def folder(self, cache: Path) -> Path:
        """Where the hub's client keeps the repository."""
        return cache / f"models--{self.repo.replace('/', '--')}"


def _place(place: str) -> re.Match[str] | None:
    return None if ".." in place else _PLACE.match(place)


@dataclass(frozen=True)
class File:
    """A file of a repository that is wanted."""

    name: str
    bytes: int
    sha256: str | None
    """None: it is small and lies in the repository itself."""
    fetched: bool
    have: int
    """Bytes of it that are here, also those of an attempt that was broken off."""


@dataclass(frozen=True)
class Fetch:
    """What pulling a model means."""

    place: Place
    commit: str
    files: tuple[File, ...]
    takes_bytes: int
    """Memory of it with one context, as far as its configuration says; of a GGUF file, that of its weights."""
    free_bytes: int
    """Of the disk."""

    @property
    def total_bytes(self) -> int:
        """Of all files."""
        return sum(one.bytes for one in self.files)

    @property
    def left_bytes(self) -> int:
        """Of all files, those that are not here yet."""
        return sum(one.bytes - one.have for one in self.files)


def found(place: Place, cache: Path) -> ModelPath | None:
    """The files of a model that was pulled; None: it was not, or not all of it is there any more."""
    try:
        told = json.loads(place.mark(cache).read_text(encoding="utf-8"))
        folder = place.folder(cache) / "snapshots" / str(told["commit"])
        whole = all((folder / name).stat().st_size == size for name, size in told["files"].items())
        first = told["gguf"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not whole:
        return None
    return ModelPath(folder=folder, gguf=folder / first if first else None)


def look(
    entry: CatalogueEntry, cache: Path, *, device: DeviceKind, memory_bytes: int | None, endpoint: str | None = None
) -> Fetch:
    """What pulling `entry` would fetch. Nothing of its weights is.

    Args:
        entry: of the catalogue, with a source `hub:...`.
        cache: the folder for models.
        device: what it is to run on.
        memory_bytes: what models may use there; None: that is not looked at. What llama.cpp runs beside a GPU has the
            machine's memory instead.
        endpoint: the hub's address; by default what HF_ENDPOINT says.

    Raises:
        ConfigurationError: its source names no repository.
        LoadError: the hub cannot be asked, has no such model, or there is no room for it, on the disk or in memory.
    """
    place = Place.of(entry.place[1], entry.name)
    with _told(place, entry.name):
        from huggingface_hub import HfApi, constants  # noqa: PLC0415 - it brings an HTTP client

        info: Any = HfApi(endpoint=endpoint).model_info(place.repo, revision=place.revision, files_metadata=True)
        listed = {one.rfilename: one for one in info.siblings or ()}
        commit = str(info.sha)
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise LoadError("the hub does not say its commit.", component=entry.name)
    snapshot = place.folder(cache) / "snapshots" / commit
    files = []
    for name in _wanted(place, sorted(listed), entry):
        size, lfs = listed[name].size, listed[name].lfs
        if not isinstance(size, int) or size < 0:
            raise LoadError(f"the hub does not say how large {name} is.", component=entry.name)
        there = (snapshot / name).is_file() and (snapshot / name).stat().st_size == size
        have = size if there else _begun(snapshot / name, size)
        if size > constants.MAX_HTTP_DOWNLOAD_SIZE and not there:
            raise LoadError(
                f"{name} has {size:,} bytes; above {constants.MAX_HTTP_DOWNLOAD_SIZE:,} the hub gives none this way.",
                component=entry.name,
                remedy="Choose a repository that has it in parts, or fetch it with the hub's own tool and write path:.",
            )
        files.append(File(name, size, lfs.sha256 if lfs else None, there, have))
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    takes = _takes(entry, place, commit, files, device, endpoint)
    fetch = Fetch(place, commit, tuple(files), takes, shutil.disk_usage(cache).free)
    if fetch.left_bytes + _SPARE > fetch.free_bytes:
        raise LoadError(
            f"{fetch.left_bytes:,} bytes are to be fetched; {fetch.free_bytes:,} of the disk are free.",
            component=entry.name,
            remedy=f"Make room in {cache}, or move LAMA_HOME.",
        )
    room = memory_bytes
    beside = device == "cuda" and entry.engine is not EngineKind.transformers  # then it runs on the CPU
    if memory_bytes is not None and beside and any(one.name.endswith(".gguf") for one in files):
        room = int(psutil.virtual_memory().total)
    if room is not None and takes > room:
        raise LoadError(
            f"it takes {takes:,} bytes of memory as {entry.quantisation.value}; models may use {room:,} here.",
            component=entry.name,
            remedy="Choose a smaller form (`quantisation`), a narrower `context_window`, or another model.",
        )
    return fetch


def _begun(path: Path, size: int) -> int:
    """Bytes of a file that an attempt has left which was broken off: of more than it has, nothing can be used."""
    part = _part(path)
    have = part.stat().st_size if part.is_file() else 0
    return have if have <= size else 0


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def pull(
    fetch: Fetch, cache: Path, *, heard: Callable[[str, int], None] = lambda _name, _bytes: None,
    endpoint: str | None = None, component: str = "",
) -> ModelPath:  # fmt: skip
    """Fetch what is missing of it, check all of it, and mark it as there. Called again, it goes on where it stopped.

    Args:
        fetch: as `look` has found it.
        cache: the folder for models.
        heard: is told a file's name and how many bytes more of it are here, also those of an earlier attempt.
        endpoint: the hub's address; by default what HF_ENDPOINT says.
        component: what messages call the model.

    Raises:
        LoadError: it could not be fetched, or is not what the hub says that it is.
    """
    snapshot = fetch.place.folder(cache) / "snapshots" / fetch.commit
    for file in fetch.files:
        path = snapshot / file.name
        if path.is_file() and path.stat().st_size == file.bytes:
            continue
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = _part(path)
        with _told(fetch.place, component):
            _transfer(fetch, file, part, heard, endpoint)
        if part.stat().st_size != file.bytes or (file.sha256 and _digest(part) != file.sha256):
            part.unlink()
            raise LoadError(
                f"{file.name} is not what the hub says that it is; it was removed.",
                component=component,
                remedy="Pull it again.",
            )
        part.replace(path)
    weights = sorted(file.name for file in fetch.files if file.name.endswith(".gguf"))
    mark = fetch.place.mark(cache)
    mark.parent.mkdir(parents=True, exist_ok=True)
    told = {"commit": fetch.commit, "gguf": weights[0] if weights else "",
            "files": {file.name: file.bytes for file in fetch.files}}  # fmt: skip
    begun = mark.with_suffix(".new")
    begun.write_text(json.dumps(told), encoding="utf-8")
    begun.replace(mark)
    there = found(fetch.place, cache)
    assert there is not None  # noqa: S101 - each file has just been looked at
    return there


def _transfer(fetch: Fetch, file: File, part: Path, heard: Callable[[str, int], None], endpoint: str | None) -> None:
    from huggingface_hub import hf_hub_url  # noqa: PLC0415
    from huggingface_hub.file_download import http_get  # noqa: PLC0415
    from huggingface_hub.utils._headers import build_hf_headers  # noqa: PLC0415

    url = hf_hub_url(fetch.place.repo, file.name, revision=fetch.commit, endpoint=endpoint)
    with part.open("ab") as opened:
        if opened.tell() > file.bytes:
            opened.truncate(0)
        http_get(
            url, opened, resume_size=opened.tell(), headers=build_hf_headers(), expected_size=file.bytes,
            displayed_filename=file.name, tqdm_class=_bar(file.name, heard),
        )  # fmt: skip


def _wanted(place: Place, names: list[str], entry: CatalogueEntry) -> list[str]:
    """Neither pickles nor code, nor the same weights in another form."""
    if place.file is not None:
        stem = _SHARD.sub("", place.file)
        parts = [name for name in names if name == place.file or (stem != place.file and _SHARD.sub("", name) == stem)]
        if parts:
            return parts
        raise LoadError(f"{place.repo} has no {place.file}.", component=entry.name)
    if "adapter_config.json" in names:
        raise LoadError(f"{place.repo} {ADAPTER}", component=entry.name, remedy=MERGE)
    if "model.safetensors.index.json" in names:
        weights = [name for name in names if re.fullmatch(r"model-\d{5}-of-\d{5}\.safetensors", name)]
    else:
        weights = [name for name in names if name == "model.safetensors"]
    if weights and "config.json" in names:
        return sorted({*weights, *(name for name in names if _BESIDE_WEIGHTS.match(name))})
    known = [name for name in names if name.endswith(".gguf") and _place(f"{place.repo}/{name}")]
    files = [name for name in known if "/" not in name] or known
    sets = {_SHARD.sub("", name) for name in files}
    if len(sets) == 1:
        return files
    raise LoadError(
        f"{place.repo} has {len(sets)} models as GGUF." if sets else f"{place.repo} has neither safetensors nor GGUF.",
        component=entry.name,
        remedy=f"Name one: hub:{place.repo}/{files[0]}" if sets else "Choose another repository; pickles are refused.",
    )


def _takes(
    entry: CatalogueEntry, place: Place, commit: str, files: list[File], device: DeviceKind, endpoint: str | None
) -> int:
    """Memory that the model will take. Its configuration is fetched for that, and thrown away."""
    config = next((one for one in files if one.name == "config.json"), None)
    if config is None:
        return sum(one.bytes for one in files)
    if config.bytes > _LARGEST_CONFIG:
        raise LoadError("its config.json is larger than any.", component=entry.name)
    with tempfile.TemporaryDirectory(prefix="lama-hub-") as folder:
        with _told(place, entry.name):
            from huggingface_hub import hf_hub_download  # noqa: PLC0415

            path = hf_hub_download(place.repo, config.name, revision=commit, local_dir=folder, endpoint=endpoint)
        architecture = of_config(read_json(Path(path)), entry.kind, component=entry.name)
    counted = Counted(
        name=entry.name, engine=EngineKind.transformers, kind=entry.kind, architecture=architecture,
        quantisation=entry.quantisation, context_window=window_of(entry, architecture),
    )  # fmt: skip
    footprint = counted.footprint(device)
    if entry.quantisation is Quantisation.stored:  # the files say better than the configuration in what they are
        stored = sum(one.bytes for one in files if one.name.endswith(".safetensors"))
        footprint = footprint.model_copy(update={"weights": stored})
    return footprint.resident + footprint.kv_per_token * counted.context_window


def _digest(path: Path) -> str:
    made = hashlib.sha256()
    with path.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            made.update(chunk)
    return made.hexdigest()


def _bar(name: str, heard: Callable[[str, int], None]) -> Any:
    """What the hub's client tells its progress to; it draws nothing."""
    from huggingface_hub.utils.tqdm import tqdm  # noqa: PLC0415

    base: Any = tqdm

    class Bar(base):  # type: ignore[misc]
        def __init__(self, *given: Any, **more: Any) -> None:
            more.pop("name", None)
            super().__init__(*given, **(more | {"disable": True}))
            heard(name, int(more.get("initial") or 0))

        def update(self, n: float | None = 1) -> Any:
            heard(name, int(n or 0))
            return super().update(n)

    return Bar


class _told:  # noqa: N801 - it is read as a word of a `with`
    """Turns what the hub's client, its HTTP and the disk raise into an error that says what to do."""

    def __init__(self, place: Place, component: str) -> None:
        self._place = place
        self._component = component

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if error is None or isinstance(error, LoadError | ConfigurationError) or not isinstance(error, Exception):
            return
        what, remedy = f"could not be fetched ({type(error).__name__})", "Pull it again; it goes on where it stopped."
        if isinstance(error, ImportError):
            what, remedy = "needs huggingface_hub, which is not installed", "Install the extra `models`."
        elif type(error).__name__ in {"OfflineModeIsEnabled", "ConnectError", "ConnectTimeout"}:
            what = "cannot be reached: there is no network, or HF_HUB_OFFLINE is set"
            remedy = "Pull it where there is a network, and copy `models/` of that Lama home into this one."
        elif type(error).__name__ in {"RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError"}:
            what, remedy = "is not there, or may not be seen", "Correct its source, or set HF_TOKEN."
        elif type(error).__name__ == "GatedRepoError":
            what, remedy = "is given to those only who have agreed to its terms", "Agree there, and set HF_TOKEN."
        raise LoadError(f"hub:{self._place.repo} {what}.", component=self._component, remedy=remedy) from None
