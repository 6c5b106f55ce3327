"""Manifests as bytes: a signed line, then gzip of JSON. Pure, and fast: hundreds of thousands of paths in a second.

What a manifest says is signed together with the vault, the device, the category and the counter, so that it stands for
nothing else. JSON holds the versions by kind, each a list; devices and vectors are numbered where they occur:

    {"devices": [...], "vectors": [[device, count, ...], ...],
     "files": [[path, BLAKE3, size, mode, vector, device, at], ...],
     "directories": [[path, mode, vector, device, at], ...],
     "links": [[path, target, vector, device, at], ...],
     "deleted": [[path, vector, device, at], ...]}
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise, repeat
from typing import Any, Final

import orjson
from blake3 import blake3

from models.sync_store import Manifest
from models.sync_versions import Content, Kind, Tree, Vector, Version
from tasks.collector import collector_paused
from tasks.sync.devices import Envelope, seal, unseal
from tasks.sync.identity import Identity
from tasks.sync.names import LONGEST_NAME, OWN, problem_of

LARGEST: Final = 1 << 30
"""Bytes of a manifest that are read."""
_LARGEST_UNPACKED = 1 << 31
_LARGEST_FACTOR = 200  # what gzip makes of a tree is a tenth; a bomb's factor is a thousand
_LARGEST_COUNT = 1 << 53
_MOST_DEVICES = 10_000
_LONGEST_TARGET = 4096
_GZIP = 16 + zlib.MAX_WBITS
_MOST_MODE = 0o10000
_TOGETHER = 1000
_SIGNS = ("//", "/./", "/../", "\x00", *(f"/{name}" for name in OWN))
"""What is in a path that has something wrong, with `/` around it."""
_ILL_LED = "it leads nowhere that a link can"

Column = Sequence[Any]
_content: Callable[[tuple[Any, ...]], Content] = partial(tuple.__new__, Content)
_version: Callable[[tuple[Any, ...]], Version] = partial(tuple.__new__, Version)
"""Without a call of Python's own for each."""


def encode(manifest: Manifest, vault: str, identity: Identity) -> bytes:
    """The signed bytes of a manifest, not encrypted yet."""
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    body = packer.compress(orjson.dumps(_columns(manifest.tree))) + packer.flush()
    value = {
        "vault": vault,
        "device": manifest.device,
        "category": manifest.category,
        "counter": manifest.counter,
        "body": blake3(body).hexdigest(),
    }
    return seal("manifest", value, identity) + b"\n" + body


def head(data: bytes, vault: str, device: str, category: str) -> tuple[Envelope, int, bytes]:
    """The signed line, the counter, and the body that it was signed for; whether the device signed is not checked yet.

    Raises:
        ValueError: it is no manifest of this device and category.
    """
    line, newline, body = data.partition(b"\n")
    if not newline or len(line) > 1 << 16:
        raise ValueError("it is cut off")
    envelope = unseal(line, "manifest", vault)
    value, counter = envelope.value, envelope.value.get("counter")
    if envelope.by != device or value.get("device") != device or value.get("category") != category:
        raise ValueError("it is that of another device or category")
    if type(counter) is not int or not 0 <= counter < _LARGEST_COUNT:
        raise ValueError("its counter is none")
    if value.get("body") != blake3(body).hexdigest():
        raise ValueError("it is cut off, or not what was signed")
    return envelope, counter, body


def decode(envelope: Envelope, counter: int, body: bytes) -> tuple[Manifest, list[str]]:
    """A manifest whose signature was checked, and what of it was dropped and why.

    Raises:
        ValueError: its bytes say nothing that could be one.
    """
    try:
        with collector_paused():
            tree, dropped = _tree(orjson.loads(_unpacked(body)))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"its entries are malformed: {error}") from error
    return dataclasses.replace(unread(envelope, counter), tree=tree), dropped


def unread(envelope: Envelope, counter: int) -> Manifest:
    """A manifest whose signature was checked, without its tree: the digest says which that would be."""
    value = envelope.value
    digest = blake3(orjson.dumps(dict(value), option=orjson.OPT_SORT_KEYS)).digest()
    return Manifest(envelope.by, str(value["category"]), counter, {}, digest)


def _columns(tree: Tree) -> dict[str, list[Any]]:
    devices: dict[str, int] = {}
    vectors: dict[Vector, int] = {}
    files: list[Any] = []
    directories: list[Any] = []
    links: list[Any] = []
    deleted: list[Any] = []
    for path, version in tree.items():
        vector, device, content = version.vector, version.device, version.content
        v = vectors.setdefault(vector, len(vectors))
        d = devices.setdefault(device, len(devices))
        if content is None:
            deleted.append((path, v, d, version.at))
        elif content.kind is Kind.file:
            files.append((path, content.digest.hex(), content.size, content.mode, v, d, version.at))
        elif content.kind is Kind.directory:
            directories.append((path, content.mode, v, d, version.at))
        else:
            links.append((path, content.target, v, d, version.at))
    numbered = [
        [part for name, count in one for part in (devices.setdefault(name, len(devices)), count)] for one in vectors
    ]
    return {
        "devices": list(devices),
        "vectors": numbered,
        "files": files,
        "directories": directories,
        "links": links,
        "deleted": deleted,
    }


def _unpacked(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    most = min(_LARGEST_UNPACKED, max(1 << 24, len(body) * _LARGEST_FACTOR))
    try:
        unpacked = unpacker.decompress(body, most)
    except zlib.error as error:
        raise ValueError("it cannot be unpacked") from error
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("it is cut off, or unpacks to more than a tree can be")
    return unpacked


def _tree(columns: Any) -> tuple[dict[str, Version], list[str]]:
    """Column by column, not row by row: so the loops are those of the interpreter, which are several times as fast."""
    devices = [_device(one) for one in columns["devices"]]
    vectors = _vectors(columns["vectors"], devices)
    tree: dict[str, Version] = {}

    def add(paths: Column, contents: Iterable[Content | None], vector: Column, device: Column, at: Column) -> None:
        if not (_whole(vector, len(vectors)) and _whole(device, len(devices)) and set(map(type, at)) <= {int}):
            raise ValueError("a number that cannot be")
        told = zip(contents, map(vectors.__getitem__, vector), map(devices.__getitem__, device), at, strict=True)
        tree.update(zip(paths, map(_version, told), strict=True))

    paths, hexadecimal, sizes, modes, *rest = _turned(columns["files"], 7)
    digests = list(map(bytes.fromhex, hexadecimal))
    if not (set(map(len, digests)) <= {32} and _whole(sizes, _LARGEST_COUNT) and _whole(modes, _MOST_MODE)):
        raise ValueError("a number or digest that cannot be")
    add(paths, map(_content, zip(repeat(Kind.file), digests, sizes, modes, repeat(""))), *rest)
    paths, modes, *rest = _turned(columns["directories"], 5)
    if not _whole(modes, _MOST_MODE):
        raise ValueError("permissions that cannot be")
    folders = {mode: Content(Kind.directory, mode=mode) for mode in set(modes)}
    add(paths, map(folders.__getitem__, modes), *rest)
    links, targets, *rest = _turned(columns["links"], 5)
    add(links, (Content(Kind.link, mode=0o777, target=target) for target in targets), *rest)
    paths, *rest = _turned(columns["deleted"], 4)
    add(paths, (None for _ in paths), *rest)
    if len(tree) != sum(len(columns[kind]) for kind in ("files", "directories", "links", "deleted")):
        raise ValueError("two things said of one path")
    wrong = {path: _ILL_LED for path, target in zip(links, targets, strict=True) if not _leads(target)}
    wrong |= {path: problem for batch in _batches(tree) if not _plain(batch)
              for path in batch if (problem := problem_of(path)) is not None}  # fmt: skip
    for path in wrong:
        del tree[path]
    return tree, [f"{path[:200]!r}: {problem}" for path, problem in wrong.items()]


def _turned(rows: Any, width: int) -> list[Column]:
    """The columns of rows that all have as many."""
    columns: list[Column] = list(zip(*rows, strict=True)) if rows else [()] * width
    if len(columns) != width:
        raise ValueError("a row of another length")
    return columns


def _whole(numbers: Column, below: int) -> bool:
    """Whether these are numbers from 0 up to `below`."""
    return not numbers or (set(map(type, numbers)) == {int} and min(numbers) >= 0 and max(numbers) < below)


def _batches(tree: Tree) -> Iterator[Sequence[str]]:
    paths = iter(tree)
    while batch := list(islice(paths, _TOGETHER)):
        yield batch


def _plain(paths: Sequence[str]) -> bool:
    """Whether nothing is wrong with any of these paths (see `problem_of`), told by a look at all at once."""
    between = "/\n/".join(paths)
    text = f"/{between}/"
    return (
        text.isascii()
        and max(map(len, paths)) <= LONGEST_NAME
        and text.count("\n") == len(paths) - 1
        and not any(sign in text for sign in _SIGNS)
    )


def _leads(target: Any) -> bool:
    """Whether a link can lead there."""
    return isinstance(target, str) and target != "" and "\x00" not in target and len(target.encode()) < _LONGEST_TARGET


def _device(value: Any) -> str:
    """A device's id; empty for a folder that nobody made, and that has to be for what lies in it (see `converge`)."""
    if not isinstance(value, str) or len(value) > 100:
        raise ValueError("a device without a name")
    return value


def _vectors(values: Any, devices: list[str]) -> list[Vector]:
    vectors: list[Vector] = []
    for value in values:
        length = len(value)
        if length % 2 or length > 2 * _MOST_DEVICES:
            raise ValueError("a vector that cannot be")
        for number in value:
            if type(number) is not int or not 0 <= number < _LARGEST_COUNT:
                raise ValueError("a number that cannot be")
        vector = tuple([(devices[value[i]], value[i + 1]) for i in range(0, length, 2)])
        if length > 2 and any(one[0] >= other[0] for one, other in pairwise(vector)):
            raise ValueError("a vector that cannot be")
        vectors.append(vector)
    return vectors
