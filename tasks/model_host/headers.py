"""Names, shapes and sizes of the tensors in a weight file, from its header alone. Strange files are refused.

Formats: https://huggingface.co/docs/safetensors (section "Format") and
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Every length that a file claims is compared with the file
before anything of that length is read.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tasks.model_host.errors import LoadError

SAFETENSORS_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
}  # fmt: skip

_MOST_HEADER = 25_000_000
"""Bytes of a safetensors header: 70 billion parameters need 0.1 million, and parsing takes fifty times its size."""
_MOST_CONFIG = 4_000_000
_MOST_GGUF_HEADER = 128_000_000
_MOST_STRING = 16_000_000
_MOST_KEPT = 4096
"""Numbers of an array of a GGUF that are kept: enough for one a layer; vocabularies are passed over."""
_MOST_DIMENSIONS = 8
_GGUF_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_GGUF_STRING, _GGUF_ARRAY = 8, 9
_SPLIT = re.compile(r"^(.*)-(\d{5})-of-(\d{5})\.gguf$", re.DOTALL)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file."""

    shape: tuple[int, ...]
    dtype: str
    """The file's own word, such as `BF16` or `Q4_1`."""
    bytes: int


@dataclass(frozen=True)
class Gguf:
    """The header of a GGUF file, or of all parts of one that is split."""

    fields: dict[str, Any]
    """Numbers, strings, and short arrays of numbers."""
    tensors: dict[str, Tensor]
    """Shapes with the outermost dimension first, as torch has them."""


def read_json(path: Path, *, most: int = _MOST_CONFIG) -> dict[str, Any]:
    """The object in a small JSON file.

    Raises:
        LoadError: it cannot be read, is absurdly large or no JSON object.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}.", component=str(path)) from error
    if len(content) > most:
        raise LoadError(f"is larger than {most:,} bytes.", component=str(path))
    return _json_object(content, path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name.

    Raises:
        LoadError: the file is cut off, or its header contradicts itself or the file.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            start = file.read(8)
            if len(start) < 8:
                raise _broken(path, f"it has {size} bytes, fewer than the length of its header takes")
            (length,) = struct.unpack("<Q", start)
            if length > min(_MOST_HEADER, size - 8):
                raise _broken(path, f"its header claims {length:,} bytes of the file's {size:,}")
            header = _json_object(file.read(length), path)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}.", component=str(path)) from error
    return _checked(header, size - 8 - length, path)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors by name of every safetensors file that belongs to the model in `folder`.

    Raises:
        LoadError: there is none, one that the index names is missing, or one is broken.
    """
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        for name, tensor in read_safetensors(path).items():
            if name in tensors:
                raise _broken(path, f"it has {name[:100]!r}, which another file of the model has, too")
            tensors[name] = tensor
    return tensors


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of the model in `folder`: what its index names, or else `model.safetensors`.

    Raises:
        LoadError: there is none, or the index leads out of the folder.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return (single,)
    if not index.is_file():
        others = any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth"))
        raise LoadError(
            "has weights as pickles only, which can run code." if others else "has no model.safetensors.",
            component=str(folder),
            remedy="Use a model that comes as safetensors or GGUF, or convert it.",
        )
    shards = read_json(index, most=_MOST_HEADER).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise _broken(index, "it has no weight_map")
    names = set()
    for name in shards.values():
        if not isinstance(name, str) or not name.endswith(".safetensors") or Path(name).name != name or "\0" in name:
            raise _broken(index, f"{str(name)[:100]!r} is no safetensors file beside it")
        names.add(name)
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing:
        raise LoadError(f"lacks {', '.join(missing[:3])}, which its index names.", component=str(folder))
    return tuple(folder / name for name in sorted(names))


def read_gguf(path: Path) -> Gguf:
    """The header of a GGUF file; of one that is split, of all its parts.

    Raises:
        LoadError: the file is cut off, or its header contradicts itself or the file.
    """
    first, *others = gguf_files(path)
    whole = _read_one_gguf(first)
    tensors = dict(whole.tensors)
    for part in others:
        more = _read_one_gguf(part).tensors
        if again := next((name for name in more if name in tensors), None):
            raise _broken(part, f"it has {again[:100]!r}, which another part has, too")
        tensors |= more
    return Gguf(whole.fields, tensors)


def gguf_files(path: Path) -> tuple[Path, ...]:
    """`path`, or all parts of the split file that it is one of.

    Raises:
        LoadError: a part is missing.
    """
    if not (parts := _SPLIT.match(path.name)):
        return (path,)
    count = int(parts[3])
    if not 1 <= count <= 1000:
        raise _broken(path, "its name claims an absurd number of parts")
    found = tuple(path.with_name(f"{parts[1]}-{number:05}-of-{parts[3]}.gguf") for number in range(1, count + 1))
    if missing := next((part for part in found if not part.is_file()), None):
        raise LoadError(f"lacks its part {missing.name}.", component=str(path))
    return found


def _checked(header: dict[str, Any], data: int, path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors header whose data has `data` bytes; they must fill it without gap or overlap."""
    tensors: dict[str, Tensor] = {}
    places: list[tuple[int, int]] = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shown = repr(name[:100])
        try:
            dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        except (TypeError, KeyError, ValueError, AttributeError):
            raise _broken(path, f"{shown} lacks dtype, shape or data_offsets") from None
        if not isinstance(dtype, str) or dtype not in SAFETENSORS_BYTES:
            raise _broken(path, f"{shown} is of the unknown type {str(dtype)[:20]!r}")
        if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(map(_is_count, shape)):
            raise _broken(path, f"{shown} has no proper shape")
        if not (_is_count(begin) and _is_count(end) and begin <= end <= data):
            raise _broken(path, f"{shown} lies outside of the file; it was cut off, or is damaged")
        if math.prod(shape) * SAFETENSORS_BYTES[dtype] != end - begin:
            raise _broken(path, f"{shown} has {end - begin:,} bytes, which its shape contradicts")
        tensors[name] = Tensor(tuple(shape), dtype, end - begin)
        places.append((begin, end))
    _without_overlap(places, path)
    if sum(end - begin for begin, end in places) != data:
        raise _broken(path, "there are bytes in it that belong to no tensor")
    return tensors


def _read_one_gguf(path: Path) -> Gguf:
    try:
        with path.open("rb") as file:
            return _Cursor(file, path).gguf()
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}.", component=str(path)) from error


class _Cursor:
    """Reads a GGUF header forwards."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file = file
        self.path = path
        self.size = path.stat().st_size
        self.at = 0

    def gguf(self) -> Gguf:
        if self.take(4) != b"GGUF":
            raise _broken(self.path, "it does not begin with GGUF")
        version = self.number("I")
        if version not in {2, 3}:
            raise _broken(self.path, f"version {version} of the format is not known (or is of the other byte order)")
        tensor_count, field_count = self.number("Q"), self.number("Q")
        # the least that a tensor and a field take: their lengths, types and offsets
        if tensor_count * 24 + field_count * 13 > min(self.size, _MOST_GGUF_HEADER):
            raise _broken(self.path, f"it claims {tensor_count:,} tensors and {field_count:,} fields")
        fields: dict[str, Any] = {}
        for _ in range(field_count):
            key = self.text()
            if key in fields:
                raise _broken(self.path, f"the field {key[:100]!r} is there twice")
            fields[key] = self.value(self.number("I"))
        return Gguf(fields, self.tensors(tensor_count, fields.get("general.alignment", 32)))

    def tensors(self, count: int, alignment: object) -> dict[str, Tensor]:
        if not _is_count(alignment) or alignment not in {1 << power for power in range(3, 17)}:
            raise _broken(self.path, "its alignment is no power of two")
        sizes = _ggml_sizes()
        found: dict[str, Tensor] = {}
        places: list[tuple[int, int]] = []
        for _ in range(count):
            name = self.text()
            dimensions = self.number("I")
            if dimensions > _MOST_DIMENSIONS:
                raise _broken(self.path, f"{name[:100]!r} has {dimensions:,} dimensions")
            shape = tuple(self.number("Q") for _ in range(dimensions))
            kind, offset = self.number("I"), self.number("Q")
            if kind not in sizes:
                raise _broken(self.path, f"{name[:100]!r} is of the unknown type {kind}")
            word, block, bytes_a_block = sizes[kind]
            elements = math.prod(shape)
            if shape and shape[0] % block:
                raise _broken(self.path, f"{name[:100]!r} does not divide into blocks of {block}")
            if name in found or offset % alignment:
                raise _broken(self.path, f"{name[:100]!r} is there twice or at no proper offset")
            found[name] = Tensor(tuple(reversed(shape)), word, elements // block * bytes_a_block)
            places.append((offset, offset + found[name].bytes))
        start = -(-self.at // alignment) * alignment
        if places and start + max(end for _, end in places) > self.size:
            raise _broken(self.path, "a tensor lies outside of the file; it was cut off, or is damaged")
        _without_overlap(places, self.path)
        return found

    def value(self, kind: int) -> Any:
        """A value of a field; of a long array, only None."""
        if kind == _GGUF_STRING:
            return self.text()
        if kind in _GGUF_SCALARS:
            return self.number(_GGUF_SCALARS[kind])
        if kind != _GGUF_ARRAY:
            raise _broken(self.path, f"a field is of the unknown type {kind}")
        inner, count = self.number("I"), self.number("Q")
        if inner == _GGUF_STRING:
            if count * 8 > self.left:
                raise _broken(self.path, f"an array claims {count:,} strings")
            for _ in range(count):
                self.take(self.length())
            return None
        if inner not in _GGUF_SCALARS:
            raise _broken(self.path, f"an array is of the type {inner}")
        form = _GGUF_SCALARS[inner]
        content = self.take(count * struct.calcsize(f"<{form}"))
        return struct.unpack(f"<{count}{form}", content) if count <= _MOST_KEPT else None

    def text(self) -> str:
        return self.take(self.length()).decode("utf-8", "replace")

    def length(self) -> int:
        length: int = self.number("Q")
        if length > _MOST_STRING:
            raise _broken(self.path, f"a string claims {length:,} bytes")
        return length

    def number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]

    @property
    def left(self) -> int:
        """Bytes that a header may still have."""
        return min(self.size, _MOST_GGUF_HEADER) - self.at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _broken(self.path, f"its header goes on after {self.at:,} bytes, where there are no more")
        content = self.file.read(count)
        if len(content) != count:
            raise _broken(self.path, "it became shorter while it was read")
        self.at += count
        return content


def _ggml_sizes() -> dict[int, tuple[str, int, int]]:
    """By the number of a type: its name, the weights in a block, and the bytes of a block."""
    from gguf.constants import GGML_QUANT_SIZES  # noqa: PLC0415 - numpy comes with it

    return {int(kind): (kind.name, block, size) for kind, (block, size) in GGML_QUANT_SIZES.items()}


def _json_object(content: bytes, path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key is there twice")
        return found

    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"its JSON cannot be read ({str(error)[:100]})") from None
    if not isinstance(value, dict):
        raise _broken(path, "its JSON is no object")
    return value


def _without_overlap(places: Iterable[tuple[int, int]], path: Path) -> None:
    reached = 0
    for begin, end in sorted(places):
        if begin < reached < end or (begin < reached and begin != end):
            raise _broken(path, "tensors in it overlap")
        reached = max(reached, end)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _broken(path: Path, why: str) -> LoadError:
    return LoadError(f"is damaged or no such file: {why}.", component=str(path), remedy="Fetch it again.")
