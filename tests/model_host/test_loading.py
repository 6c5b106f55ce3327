"""What a model takes was known before it was loaded; what cannot be loaded is refused, and takes nothing."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.model_host import EngineKind, ModelKind, ModelPath, Quantisation
from tasks.model_host.errors import LoadError
from tasks.model_host.loading import load, measured, packs_nf4, refuse
from tasks.model_host.measuring import taken_by
from tasks.model_host.prediction import BYTES, Step, Storage, kv_of, predict
from tasks.model_host.shapes import architecture_of, of_config
from tests.model_host.files import safetensors, write
from tests.model_host.smollm2 import minilm, packaged, unpacked
from tests.model_host.test_shapes import TINY

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # several would wait for each other on a busy machine

_READ = 4
"""Tokens that are really read: int8 is slow on a CPU."""
_HELD = (Quantisation.fp32, Quantisation.bf16, Quantisation.int8, Quantisation.nf4, Quantisation.nf4_dq)
_TABLE: list[tuple[str, ...]] = []


@pytest.fixture(scope="module", autouse=True)
def _shown(request: pytest.FixtureRequest) -> Iterator[None]:
    """The table of `docs/models.md`, with `pytest -s`."""
    yield
    for row in _TABLE:
        print("| " + " | ".join(row) + " |")


def large_tensors() -> int:
    """Bytes of tensors of more than a megabyte that are alive."""
    gc.collect()
    sizes = {}
    for one in gc.get_objects():
        if not issubclass(type(one), torch.Tensor):  # isinstance asks lazy modules for their class, which imports them
            continue
        if one.device.type != "meta" and one.numel() * one.element_size() > 1_000_000:
            sizes[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
    return sum(sizes.values())


@pytest.mark.parametrize("how", _HELD, ids=lambda how: how.value)
def test_smollm2_takes_what_was_predicted(how: Quantisation) -> None:
    architecture = architecture_of(unpacked(), ModelKind.generate, EngineKind.transformers)
    told = predict(
        architecture, how, device="cpu", step=Step.of(ModelKind.generate, architecture.context), packs_nf4=packs_nf4()
    )
    loaded = load(unpacked(), how, "cpu")
    with torch.inference_mode():
        answer = loaded.model(torch.full((1, _READ), 7), use_cache=True, logits_to_keep=1)
    whole = architecture.context
    layers = answer.past_key_values.layers
    for layer in layers:  # and the cache filled up to the whole context
        layer.update(
            *(torch.zeros_like(part[:, :, :1]).repeat(1, 1, whole - _READ, 1) for part in (layer.keys, layer.values))
        )
    kept = sum(part.untyped_storage().nbytes() for layer in layers for part in (layer.keys, layer.values))
    width = BYTES[Storage.of(architecture, how).dtype]
    # bitsandbytes may hold NF4 in another form from the first use on
    most = max(loaded.bytes, measured(loaded.model))
    assert told.weights == pytest.approx(most, rel=0.01)
    assert told.weights >= most
    assert taken_by(loaded.model) == pytest.approx(measured(loaded.model), rel=0.01), "the system says so, too"
    assert kv_of(architecture, whole, width) == pytest.approx(kept, rel=0.03)
    assert told.kv_per_token * whole == pytest.approx(kept, rel=0.03)
    _TABLE.append(
        ("SmolLM2", how.value, f"{told.weights:,}", f"{most:,}", f"{told.kv_per_token * whole:,}", f"{kept:,}")
    )


@pytest.mark.parametrize("how", _HELD, ids=lambda how: how.value)
def test_minilm_takes_what_was_predicted(how: Quantisation) -> None:
    architecture = architecture_of(minilm(), ModelKind.embed, EngineKind.transformers)
    told = predict(architecture, how, device="cpu", step=Step.of(ModelKind.embed, 256), packs_nf4=packs_nf4())
    loaded = load(minilm(), how, "cpu", kind=ModelKind.embed)
    with torch.inference_mode():
        loaded.model(torch.full((1, 16), 7))
    most = max(loaded.bytes, measured(loaded.model))
    assert told.weights == pytest.approx(most, rel=0.01)
    assert told.weights >= most
    assert taken_by(loaded.model) == pytest.approx(measured(loaded.model), rel=0.01)
    assert told.kv_per_token == 0
    _TABLE.append(("MiniLM", how.value, f"{told.weights:,}", f"{most:,}", "0", "0"))


def test_a_gguf_file_is_unpacked_and_quantised_anew(capfd: pytest.CaptureFixture[str]) -> None:
    loaded = load(packaged(), Quantisation.int8, "cpu")
    assert capfd.readouterr() == ("", ""), "neither bars nor warnings"
    told = predict(loaded.architecture, Quantisation.int8, device="cpu", step=Step.of(ModelKind.generate, 64))
    assert told.weights == pytest.approx(loaded.bytes, rel=0.01)
    asked = loaded.tokenizer("The capital of France is", return_tensors="pt")
    with torch.inference_mode():
        answer = loaded.model(**asked).logits[0, -1].argmax()
    assert loaded.tokenizer.decode(answer).strip() == "Paris"


def tiny(place: Path, **changes: Any) -> ModelPath:
    """A small model whose weights fit its configuration, but for `changes` to it."""
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(TINY | {"vocab_size": 20_000} | changes))
    made = of_config(TINY | {"vocab_size": 20_000}, ModelKind.generate)
    tensors = {}
    for weight in made.weights:
        count = 1
        for dimension in weight.shape:
            count *= dimension
        tensors[weight.name] = ("F32", list(weight.shape), count * 4)
    write(place / "model.safetensors", safetensors(tensors))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(unpacked().folder / name, place)
    return ModelPath(folder=place)


def test_a_small_model_loads(tmp_path: Path) -> None:
    assert load(tiny(tmp_path / "m"), Quantisation.stored, "cpu").bytes > 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"num_hidden_layers": 3}, "lacks the weights"),
        ({"intermediate_size": 256}, "could not be loaded|another shape"),
    ],
)
def test_a_load_that_fails_leaves_nothing_behind(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    files = tiny(tmp_path / "m", **changes)
    before = large_tensors()
    with pytest.raises(LoadError, match=why) as refused:
        load(files, Quantisation.fp32, "cpu", component="tiny")
    assert large_tensors() == before, "even while the error is held"
    assert refused.value.component == "tiny"


def test_what_is_broken_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    files = tiny(tmp_path / "m")
    (files.folder / "tokenizer.json").write_text("{")
    with pytest.raises(LoadError, match="could not be loaded"):
        load(files, Quantisation.fp32, "cpu")
    weights = files.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(LoadError, match="cut off"):
        load(files, Quantisation.fp32, "cpu")
    weights.rename(files.folder / "pytorch_model.bin")
    with pytest.raises(LoadError, match="pickles"):
        load(files, Quantisation.fp32, "cpu")


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    files = tiny(tmp_path / "m", auto_map={"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"})
    (files.folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    load(files, Quantisation.fp32, "cpu")
    files = tiny(tmp_path / "m", auto_map={"AutoConfig": "evil.Config"}, model_type="evil")
    with pytest.raises(LoadError, match="code that comes with weights is not run"):
        load(files, Quantisation.fp32, "cpu")
    assert not ran.exists()


def test_what_the_device_cannot_do_is_refused_first() -> None:
    architecture = architecture_of(minilm(), ModelKind.embed, EngineKind.transformers)
    if not torch.cuda.is_available():
        with pytest.raises(LoadError, match="no GPU"):
            refuse(architecture, Quantisation.fp32, "cuda:0")
    refuse(architecture, Quantisation.nf4, "cpu")
    odd = of_config(TINY | {"intermediate_size": 130}, ModelKind.generate)
    if packs_nf4():
        with pytest.raises(LoadError, match="multiples of 32 rows"):
            refuse(odd, Quantisation.nf4, "cpu")
    refuse(odd, Quantisation.int8, "cpu")
