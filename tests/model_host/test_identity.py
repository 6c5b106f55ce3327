"""Models of the same bytes share one copy in memory, whatever their sources are called; others never do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from blocks.settings import settings
from models.model_host import CatalogueEntry
from tasks.model_host.accounts import accounts_of
from tasks.model_host.errors import LoadError
from tasks.model_host.hub import Place
from tasks.model_host.identity import one_source_each
from tasks.model_host.sources import locate
from tests.model_host.files import safetensors, write


def folder(path: Path, content: bytes = b"") -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    write(path / "model.safetensors", safetensors({"a": ("F32", [1_000_000], 4_000_000)}) + content)
    return path


def entry(name: str, path: Path, **more: object) -> CatalogueEntry:
    return CatalogueEntry.model_validate({"name": name, "source": f"path:{path}"} | more)


def shared(*entries: CatalogueEntry) -> bool:
    accounts = accounts_of(one_source_each(entries))
    return len({accounts[one.name].key for one in entries}) == 1


def test_the_same_bytes_under_two_names_are_one_copy(tmp_path: Path) -> None:
    one = folder(tmp_path / "a")
    shutil.copytree(one, tmp_path / "b")
    (tmp_path / "c").mkdir()
    for file in one.iterdir():
        (tmp_path / "c" / file.name).hardlink_to(file)
    (tmp_path / "d").symlink_to(one)
    for other in "bcd":
        assert shared(entry("x", one), entry("y", tmp_path / other)), other
    assert not shared(entry("x", one), entry("y", tmp_path / "b", quantisation="nf4")), "held otherwise"
    file, copy = write(tmp_path / "m.gguf", b"GGUF" + b"x" * 5_000_000), write(tmp_path / "n.gguf", b"")
    shutil.copy(file, copy)
    assert shared(entry("x", file), entry("y", copy))


@pytest.mark.parametrize("changed", ["config.json", "model.safetensors", "tokenizer.json"])
def test_one_byte_makes_them_two(tmp_path: Path, changed: str) -> None:
    one, other = folder(tmp_path / "a"), folder(tmp_path / "b")
    for place in (one, other):
        (place / "tokenizer.json").write_text("{}")
    assert shared(entry("x", one), entry("y", other))
    content = bytearray((other / changed).read_bytes())
    content[len(content) // 2] ^= 1  # far from both ends: the size and the ends are alike
    (other / changed).write_bytes(content)
    assert not shared(entry("x", one), entry("y", other))


def test_what_is_pulled_again_changes_nothing_for_who_did_not_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMA_HOME", str(tmp_path))
    settings.cache_clear()
    cache = tmp_path / "models"
    old, new = "a" * 40, "b" * 40

    def pulled(revision: str, commit: str, content: bytes = b"") -> CatalogueEntry:
        place = Place.of(f"acme/tiny@{revision}", "x")
        files = place.folder(cache) / "snapshots" / commit
        if not files.exists():
            folder(files, content)
        place.mark(cache).parent.mkdir(exist_ok=True)
        told = {"commit": commit, "gguf": "", "files": {one.name: one.stat().st_size for one in files.iterdir()}}
        place.mark(cache).write_text(json.dumps(told))
        return CatalogueEntry(name=revision, source=f"hub:acme/tiny@{revision}")

    try:
        moving, pinned = one_source_each([pulled("main", old), pulled(old, old)])
        assert accounts_of([moving, pinned])["main"].names == ("main", old)
        pulled("main", new, b"other weights")
        assert locate(pinned).folder.name == locate(moving).folder.name == old
        moving, pinned = one_source_each([pulled("main", new), pulled(old, old)])
        assert (locate(moving).folder.name, locate(pinned).folder.name) == (new, old)
        assert accounts_of([moving, pinned])["main"].names == ("main",)
    finally:
        settings.cache_clear()


def test_what_cannot_be_read_keeps_its_source(tmp_path: Path) -> None:
    gone = [entry("x", tmp_path / "nowhere"), entry("y", tmp_path / "elsewhere")]
    assert list(one_source_each(gone)) == gone


def test_an_adapter_is_refused_with_what_to_do(tmp_path: Path) -> None:
    place = folder(tmp_path / "lora")
    (place / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x"}))
    with pytest.raises(LoadError, match="is an adapter") as refused:
        locate(entry("lora", place))
    assert "Merge it" in refused.value.remedy
