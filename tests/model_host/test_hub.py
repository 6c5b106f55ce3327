"""A model of the hub is looked at before a byte of its weights is fetched, resumed, checked, found without network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result

from blocks.errors import ConfigurationError
from blocks.settings import settings
from lama.cli import cli
from models.model_host import CatalogueEntry, ModelKind
from tasks.model_host.errors import LoadError
from tasks.model_host.hub import Fetch, Place, found, look, pull
from tasks.model_host.shapes import of_config
from tasks.model_host.sources import locate
from tests.conftest import free_port
from tests.model_host.files import LLAMA, LLAMA_TENSORS, gguf, safetensors
from tests.model_host.loopback_hub import LoopbackHub
from tests.model_host.test_shapes import TINY

REPO = "acme/tiny"


def repository() -> dict[str, bytes]:
    config = TINY | {"vocab_size": 20_000}
    tensors = {}
    for weight in of_config(config, ModelKind.generate).weights:
        count = 1
        for dimension in weight.shape:
            count *= dimension
        tensors[weight.name] = ("F32", list(weight.shape), count * 4)
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": safetensors(tensors),
        "tokenizer.json": b"{}",
        "1_Pooling/config.json": b"{}",
        "pytorch_model.bin": b"pickle",
        "evil.py": b"raise SystemExit",
        "onnx/model.onnx": b"x",
        "model.fp16.safetensors": b"x" * 100,
        "README.md": b"x",
    }


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    one = LoopbackHub(REPO, repository())
    yield one
    one.close()


def entry(source: str = f"hub:{REPO}", **more: object) -> CatalogueEntry:
    return CatalogueEntry.model_validate({"name": "m", "source": source} | more)


def seen(hub: LoopbackHub, cache: Path, one: CatalogueEntry | None = None, memory: int | None = None):  # type: ignore[no-untyped-def]
    return look(one or entry(), cache, device="cpu", memory_bytes=memory, endpoint=hub.url)


def test_looking_fetches_nothing_of_the_weights_and_says_what_would_be(hub: LoopbackHub, tmp_path: Path) -> None:
    fetch = seen(hub, tmp_path / "models")
    assert [one.name for one in fetch.files] == [
        "1_Pooling/config.json", "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert fetch.left_bytes == fetch.total_bytes == sum(one.bytes for one in fetch.files)
    assert hub.fetched == {"config.json"}
    assert fetch.takes_bytes > len(hub.files["model.safetensors"])
    assert found(fetch.place, tmp_path / "models") is None


def test_what_there_is_no_room_for_is_not_fetched(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LoadError, match=r"bytes of memory as stored; models may use 1,000,000 here"):
        seen(hub, tmp_path, memory=1_000_000)
    monkeypatch.setattr("tasks.model_host.hub._SPARE", 1 << 60)
    with pytest.raises(LoadError, match="of the disk are free"):
        seen(hub, tmp_path)
    assert hub.fetched == {"config.json"}


def test_a_gguf_file_beside_a_gpu_has_the_memory_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = LoopbackHub(REPO, {"a.Q4.gguf": gguf(LLAMA_TENSORS, **LLAMA)})

    def seen_on_cuda(**more: Any) -> Fetch:
        return look(entry(**more), tmp_path, device="cuda", memory_bytes=100, endpoint=hub.url)

    try:
        assert seen_on_cuda().takes_bytes > 100
        with pytest.raises(LoadError, match="models may use 100 here"):
            seen_on_cuda(engine="transformers")
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=90))
        with pytest.raises(LoadError, match="models may use 90 here"):
            seen_on_cuda()
    finally:
        hub.close()


def test_it_is_fetched_checked_and_found_without_the_hub(hub: LoopbackHub, tmp_path: Path) -> None:
    told: dict[str, int] = {}

    def heard(name: str, more: int) -> None:
        told[name] = told.get(name, 0) + more

    fetch = seen(hub, tmp_path)
    files = pull(fetch, tmp_path, heard=heard, endpoint=hub.url)
    assert told["model.safetensors"] == len(hub.files["model.safetensors"])
    assert files.folder.name == hub.commit
    assert (files.folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    assert not (files.folder / "evil.py").exists()
    hub.asked.clear()
    again = seen(hub, tmp_path)
    assert again.left_bytes == 0
    hub.close()
    assert found(Place.of(REPO, "m"), tmp_path) == files
    (files.folder / "tokenizer.json").unlink()
    assert found(Place.of(REPO, "m"), tmp_path) is None, "a part of it is gone"


def test_what_was_cut_off_goes_on_where_it_stopped(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    fetch = seen(hub, tmp_path)
    hub.cut_after, hub.goes_down = 2_000_000, True
    with pytest.raises(LoadError, match=r"could not be fetched|cannot be reached") as refused:
        pull(fetch, tmp_path, endpoint=hub.url)
    assert "goes on where it stopped" in refused.value.remedy
    assert found(fetch.place, tmp_path) is None, "not before it is whole"
    hub.cut_after, hub.goes_down = None, False
    again = seen(hub, tmp_path)
    assert 0 < again.left_bytes <= fetch.left_bytes - 1_900_000, "what is here already needs no room"
    hub.asked.clear()
    files = pull(fetch, tmp_path, endpoint=hub.url)
    starts = [wanted for method, name, wanted in hub.asked if method == "GET" and name == "model.safetensors"]
    assert len(starts) == 1
    assert int(starts[0].removeprefix("bytes=").split("-")[0]) >= 1_900_000, "from where it stopped"
    assert (files.folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_what_is_not_what_the_hub_says_is_removed(hub: LoopbackHub, tmp_path: Path) -> None:
    fetch = seen(hub, tmp_path)
    hub.tampers = True
    with pytest.raises(LoadError, match=r"model\.safetensors is not what the hub says"):
        pull(fetch, tmp_path, endpoint=hub.url)
    assert found(fetch.place, tmp_path) is None
    hub.tampers = False
    assert pull(fetch, tmp_path, endpoint=hub.url)


def test_of_several_gguf_files_one_is_named(tmp_path: Path) -> None:
    content = gguf(LLAMA_TENSORS, **LLAMA)
    hub = LoopbackHub(REPO, {"a.Q4.gguf": content, "a.Q8.gguf": content, "README.md": b""})
    try:
        with pytest.raises(LoadError, match="has 2 models as GGUF"):
            seen(hub, tmp_path)
        one = entry(f"hub:{REPO}/a.Q8.gguf")
        files = pull(seen(hub, tmp_path, one), tmp_path, endpoint=hub.url)
        assert files.gguf is not None
        assert files.gguf.name == "a.Q8.gguf"
        assert hub.fetched == {"a.Q8.gguf"}
    finally:
        hub.close()


def test_gguf_files_in_folders_are_named_with_them(tmp_path: Path) -> None:
    content = gguf(LLAMA_TENSORS, **LLAMA)
    parts = [f"Q8/big-0000{n}-of-00002.gguf" for n in (1, 2)]
    hub = LoopbackHub(REPO, {"Q4/a.gguf": content, parts[0]: content, parts[1]: b"rest", "../x.gguf": b"x"})
    try:
        with pytest.raises(LoadError, match="has 2 models as GGUF") as refused:
            seen(hub, tmp_path)
        assert "Name one: hub:acme/tiny/Q4/a.gguf" in refused.value.remedy
        one = entry(f"hub:{REPO}/{parts[0]}")
        files = pull(seen(hub, tmp_path, one), tmp_path, endpoint=hub.url)
        assert files.gguf == files.folder / parts[0]
        assert files == found(Place.of(one.place[1], "m"), tmp_path)
        assert hub.fetched == set(parts)
        for bad in ("../x.gguf", "Q4/../../x.gguf", ".git/x.gguf", "Q4//a.gguf", "/etc/x.gguf"):
            with pytest.raises(ConfigurationError, match="names no repository"):
                seen(hub, tmp_path, entry(f"hub:{REPO}/{bad}"))
    finally:
        hub.close()


def test_a_file_that_is_too_large_for_the_hub_is_refused_before_it_is_fetched(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", 1_000_000)
    with pytest.raises(LoadError, match=r"model\.safetensors has .* above 1,000,000 the hub") as refused:
        seen(hub, tmp_path)
    assert "in parts" in refused.value.remedy


def test_what_the_hub_does_not_have_or_nobody_answers_is_said(hub: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"is not there, or may not be seen|could not be fetched"):
        seen(hub, tmp_path, entry("hub:acme/other"))
    with pytest.raises(LoadError, match=r"is not there|could not be fetched"):
        seen(hub, tmp_path, entry(f"hub:{REPO}@v9"))
    with pytest.raises(ConfigurationError, match="names no repository"):
        seen(hub, tmp_path, entry("hub:acme/../x"))
    hub.url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(LoadError, match=r"cannot be reached|could not be fetched"):
        seen(hub, tmp_path)


def test_the_command_pulls_into_the_home(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)  # what HF_ENDPOINT sets, which is read at the import
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setenv("LAMA_HOME", str(tmp_path))
    (tmp_path / "lama.toml").write_text(
        f'[[model_host.models]]\nname = "m"\nsource = "hub:{REPO}"\n\n'
        f'[[model_host.models]]\nname = "local"\nsource = "path:/x"\n'
    )
    settings.cache_clear()
    try:
        dry = lama("m", "--dry-run")
        assert "would be fetched" in dry.output
        assert "model.safetensors" in dry.output
        assert hub.fetched == {"config.json"}
        done = lama("m", "--json")
        assert json.loads(done.output)["commit"] == hub.commit
        assert locate(entry()) == found(Place.of(REPO, "m"), tmp_path / "models")
        assert "0 B of" in lama("m").output
        for name, why in (("local", "nothing to fetch"), ("other", "no model 'other'")):
            assert why in str(lama(name).exception)
    finally:
        settings.cache_clear()


def lama(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(cli, ["models", "pull", *words], standalone_mode=False)
