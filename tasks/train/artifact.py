"""A model as bytes and back: skops' format, in one canonical form, and never a pickle.

What is read comes from a disk that others may have written to. Before anything of it is built: its hash is the one in
the registry; it is a zip file of bounded size with `schema.json` and arrays and nothing else; no array holds objects;
every class and every loader that the schema names is on our list (`tasks.train.trusted`).

Written twice, a model gives the same bytes: skops names arrays after addresses in memory and stamps them with the time,
so the file is written anew with names by order and without times.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

from blocks.errors import LamaError
from tasks.train.trusted import LIBRARIES, LOADERS, OURS, PLAIN, TRUSTED

LARGEST_FILE = 1 << 30
LARGEST_CONTENT = 4 << 30
_MOST_ENTRIES = 200_000
_LARGEST_SCHEMA = 512 << 20
_MOST_RATIO = 200
_DEEPEST = 200
_ARRAY = re.compile(r"^[0-9]{1,24}\.npy$")
_MAGIC = b"\x93NUMPY"
_EPOCH = (1980, 1, 1, 0, 0, 0)


class ArtifactError(LamaError):
    """A stored model that is not what it should be. Nothing of it was loaded."""


def dump(model: Any) -> bytes:
    """The bytes of `model`: the same for the same model, on every run.

    Raises:
        ArtifactError: it holds something that could not be loaded again, such as a class that is not trusted.
    """
    import skops.io  # noqa: PLC0415

    try:
        content = _canonical(skops.io.dumps(model))
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"the model cannot be stored: {error}", component="train") from error
    check(content)
    return content


def hash_of(content: bytes) -> str:
    """What a stored model is addressed by."""
    return hashlib.sha256(content).hexdigest()


def load(content: bytes, expected_hash: str) -> Any:
    """The model that `content` holds.

    Raises:
        ArtifactError: it is not the content with that hash, or holds what is not trusted; nothing of it was built.
    """
    found = hash_of(content)
    if found != expected_hash:
        raise ArtifactError(
            f"its hash is {found[:12]}... and the registry says {expected_hash[:12]}...: it was changed or damaged.",
            component="artifact",
            remedy="Roll back to another version, or train again.",
        )
    check(content)
    import skops.io  # noqa: PLC0415

    trusted = sorted(OURS | LIBRARIES | PLAIN)
    try:
        return skops.io.loads(content, trusted=trusted)
    except Exception as error:  # skops has no common base for what a damaged file makes it raise
        raise ArtifactError(f"cannot be read: {type(error).__name__}: {error}", component="artifact") from error


def read(path: Path, expected_hash: str) -> Any:
    """The model in the file `path`; bounded before it is read.

    Raises:
        ArtifactError: as `load` does, or the file is not there or too large.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ArtifactError(f"{size} bytes are more than a model may have.", component=path.name)
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}.", component=str(path)) from error
    return load(content, expected_hash)


def check(content: bytes) -> None:
    """Look at everything that is in the file, and build nothing.

    Raises:
        ArtifactError: it is no stored model, or holds what must not be loaded.
    """
    if not content.startswith(b"PK\x03\x04"):
        raise ArtifactError("it is no stored model; a pickle is never loaded.", component="artifact")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_entries(archive)
            schema = json.loads(archive.read("schema.json"))
            files = {one.filename for one in archive.infolist()}
            _check_node(schema, files, 0)
            for entry in archive.infolist():
                if entry.filename != "schema.json":
                    _check_array(archive, entry)
    except ArtifactError:
        raise
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError, EOFError, OSError, NotImplementedError) as error:
        raise ArtifactError(f"it is damaged: {type(error).__name__}: {error}", component="artifact") from error


def _check_entries(archive: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    names = [one.filename for one in entries]
    if len(entries) > _MOST_ENTRIES or len(set(names)) != len(names):
        raise ArtifactError("it has too many entries, or one name twice.", component="artifact")
    for one in entries:
        if one.filename != "schema.json" and not _ARRAY.match(one.filename):
            raise ArtifactError(f"it holds {one.filename[:80]!r}, which is no array.", component="artifact")
        if one.flag_bits & 0x1:
            raise ArtifactError("it is encrypted.", component="artifact")
        if one.file_size > max(1, one.compress_size) * _MOST_RATIO and one.file_size > 1 << 20:
            raise ArtifactError(f"{one.filename} unpacks to {one.file_size} bytes: a zip bomb.", component="artifact")
    if sum(one.file_size for one in entries) > LARGEST_CONTENT:
        raise ArtifactError("it unpacks to more than a model may have.", component="artifact")
    if archive.getinfo("schema.json").file_size > _LARGEST_SCHEMA:
        raise ArtifactError("its schema is larger than a model's may be.", component="artifact")


def _check_node(node: Any, files: set[str], depth: int) -> None:
    if depth > _DEEPEST:
        raise ArtifactError("it is nested too deeply.", component="artifact")
    if isinstance(node, list):
        for one in node:
            _check_node(one, files, depth + 1)
        return
    if not isinstance(node, dict):
        return
    if "__loader__" in node or "__class__" in node:
        loader, name = node.get("__loader__"), f"{node.get('__module__')}.{node.get('__class__')}"
        if loader not in LOADERS:
            raise ArtifactError(f"it asks for the loader {str(loader)[:80]!r}: not trusted.", component="artifact")
        if loader != "CachedNode" and name not in TRUSTED:
            raise ArtifactError(f"it holds a {name[:120]}, which is not trusted.", component="artifact")
        if loader == "TypeNode" and name not in PLAIN:
            raise ArtifactError(f"it names the class {name[:120]} as a value.", component="artifact")
        if loader == "ObjectNode" and name in PLAIN:
            raise ArtifactError(f"it builds a {name[:120]} as an object.", component="artifact")
        if "file" in node and node["file"] not in files:
            raise ArtifactError("it names an array that it does not hold.", component="artifact")
    for value in node.values():
        _check_node(value, files, depth + 1)


def _check_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    import numpy as np  # noqa: PLC0415

    with archive.open(entry) as file:
        head = io.BytesIO(file.read(min(entry.file_size, 1 << 20)))
    if head.read(6) != _MAGIC:
        raise ArtifactError(f"{entry.filename} is no array.", component="artifact")
    head.seek(0)
    version = np.lib.format.read_magic(head)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(head)
    if dtype.hasobject:
        raise ArtifactError(f"{entry.filename} holds Python objects.", component="artifact")
    count = 1
    for side in shape:
        count *= side
    if count * dtype.itemsize + head.tell() != entry.file_size:
        raise ArtifactError(f"{entry.filename} says another size than it has.", component="artifact")


def _canonical(content: bytes) -> bytes:
    """The same file with ids and names by first appearance, without times, lightly compressed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read("schema.json"))
        places: dict[str, int] = {}
        _renumber(schema, places)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as written:
            _write(written, "schema.json", json.dumps(schema, separators=(",", ":")).encode())
            files = sorted(
                (places[name.removesuffix(".npy")], name) for name in archive.namelist() if _ARRAY.match(name)
            )
            for number, name in files:
                _write(written, f"{number}.npy", archive.read(name))
    return out.getvalue()


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    # what would pack like a zip bomb, such as an array of zeros, is stored as it is: the check refuses those
    tight = len(zlib.compress(content, 1)) * (_MOST_RATIO // 2) < len(content)
    entry.compress_type = zipfile.ZIP_STORED if tight else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    archive.writestr(entry, content, compresslevel=3)


def _renumber(node: Any, places: dict[str, int]) -> None:
    if isinstance(node, list):
        for one in node:
            _renumber(one, places)
    elif isinstance(node, dict):
        for key in ("__id__", "file"):
            if isinstance(node.get(key), int | str):
                old = str(node[key]).removesuffix(".npy")
                number = places.setdefault(old, len(places) + 1)
                node[key] = number if key == "__id__" else f"{number}.npy"
        for value in node.values():
            _renumber(value, places)
