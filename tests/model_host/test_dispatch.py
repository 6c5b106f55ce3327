"""A divided model says what the undivided one says, dispatched by accelerate and with keys in two places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.model_host import EngineKind, ModelKind, ModelPath, Quantisation
from tasks.model_host.counting import Counted
from tasks.model_host.division import Division, divide
from tasks.model_host.errors import LoadError
from tasks.model_host.loading import device_map, load
from tasks.model_host.shapes import architecture_of

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from tasks.model_host.attention import IMPLEMENTATION, Span, Step  # noqa: E402 - needs torch
from tasks.model_host.compatible import adopt  # noqa: E402
from tests.model_host import tiny  # noqa: E402

_ROOM = 10**9
_KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True}),
    ("qwen2-mixed", {}),
    ("mistral", {}),
    ("gemma2", {}),
)


def divided(folder: Path, cards: int = 2) -> Division:
    files = ModelPath(folder=folder)
    architecture = architecture_of(files, ModelKind.generate, EngineKind.transformers)
    model = Counted("m", EngineKind.transformers, ModelKind.generate, architecture, Quantisation.stored, 512)
    return divide(model, [_ROOM] * cards)


@pytest.mark.parametrize(("kind", "more"), _KINDS, ids=str)
def test_accelerate_runs_the_division(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    """One part in memory, the other offloaded to the disk: what accelerate does between two cards, without cards."""
    whole = tiny.model(kind, **more)
    whole.save_pretrained(tmp_path / "m")
    tiny.byte_level().save_pretrained(tmp_path / "m")
    placed = device_map(whole, divided(tmp_path / "m"))
    assert set(placed.values()) == {0, 1}
    parts = {module: ("cpu", "disk")[card] for module, card in placed.items()}
    loaded = type(whole).from_pretrained(tmp_path / "m", device_map=parts, offload_folder=tmp_path / "off")
    on = {name: parameter.device.type for name, parameter in loaded.named_parameters()}
    assert set(on.values()) == {"cpu", "meta"}, "both parts are used"
    asked = torch.tensor([[5, 17, 300, 4, 250]])
    with torch.inference_mode():
        torch.testing.assert_close(loaded(asked).logits, whole(asked).logits)
    with pytest.raises(LoadError, match="devices of several kinds"):
        adopt(loaded, torch.device("cpu"))  # a part on the disk is not served


@pytest.mark.parametrize(("kind", "more"), _KINDS, ids=str)
def test_every_tensor_of_the_model_is_on_one_card_and_a_tied_head_with_its_embedding(
    tmp_path: Path, kind: str, more: dict[str, Any]
) -> None:
    whole = tiny.model(kind, **more)
    whole.save_pretrained(tmp_path / "m")
    placed = device_map(whole, divided(tmp_path / "m", 3))
    names = [name for name, _ in whole.named_parameters(remove_duplicate=False)]
    names += [name for name, _ in whole.named_buffers(remove_duplicate=False)]
    for name in names:
        assert sum(name.startswith(f"{module}.") for module in placed) == 1, name
    tied = whole.get_output_embeddings().weight is whole.get_input_embeddings().weight
    assert (placed["lm_head"] == placed["model.embed_tokens"]) == tied


@pytest.mark.parametrize("kind", ["llama", "qwen2-mixed"])
def test_keys_and_values_of_several_cards_give_the_same_logits(kind: str) -> None:
    """Layers 0 and 1 keep theirs in one tensor, layer 2 in another, as on two cards."""
    module = tiny.model(kind)
    cpu = torch.device("cpu")
    one = adopt(module, cpu)
    two = replace(one, cards=((cpu, 2), (cpu, 1)))
    assert module.config._attn_implementation == IMPLEMENTATION
    assert [part.shape[0] for part in two.allocate(4)] == [2, 1]
    tokens = [5, 17, 300, 4, 250, *range(60, 100)]
    said = []
    for geometry in (one, two):
        kv, past = geometry.allocate(len(tokens)), 0
        logits = []
        for count in (20, 24, 1):  # a chunk, one that looks back (and over the window), and a single token
            with torch.inference_mode():
                output = module(
                    input_ids=torch.tensor([tokens[past : past + count]]),
                    position_ids=torch.arange(past, past + count)[None],
                    use_cache=False,
                    logits_to_keep=geometry.places([count - 1]),
                    ragged=Step([Span(kv, past, count)]),
                )
            logits.append(output.logits)
            past += count
        said.append(torch.cat(logits))
    torch.testing.assert_close(said[0], said[1])


def test_a_card_that_is_missing_is_said_before_any_memory_is_taken(tmp_path: Path) -> None:
    tiny.model("llama").save_pretrained(tmp_path / "m")
    files = ModelPath(folder=tmp_path / "m")
    with pytest.raises(LoadError, match="divided over 2 GPUs; this process sees 0"):
        load(files, Quantisation.stored, "cpu", division=divided(tmp_path / "m"))
