"""`lama models plan` does the sum before anybody buys, rents or loads anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from blocks.gpus import Gpu
from blocks.settings import settings
from lama.cli import cli
from models.model_host import EngineKind, ModelKind, Quantisation
from tasks.model_host.counting import Counted, count_path
from tasks.model_host.plan import DEVICES, Device, Plan, make_plan, size_of, takes
from tests.model_host.smollm2 import packaged
from tests.model_host.test_prediction import architectures
from tests.model_host.test_shapes import CONFIGS

GIB = 1024**3


def run(*words: str, standalone: bool = False) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(cli, ["models", "plan", *words], standalone_mode=standalone)


def seed(how: Quantisation) -> Plan:
    """The three models that Lama was first drawn up for, with the reserves and contexts that were drawn up for them."""
    wanted = (("llama3.1-70b", 40, 128_000), ("qwen2.5-32b", 20, 32_768), ("mistral-large-123b", 70, 128_000))
    models = [
        count_path(CONFIGS / name / "config.json", how, context=context, reserve_bytes=reserve * GIB)
        for name, reserve, context in wanted
    ]
    return make_plan(models, DEVICES["h200"])


def test_the_first_drawing_does_not_fit_and_the_plan_says_by_how_much() -> None:
    plain, double = seed(Quantisation.nf4), seed(Quantisation.nf4_dq)
    llama, qwen, mistral = plain.items
    assert not plain.fits
    assert plain.lacks_bytes > 100 * 10**9
    assert llama.footprint.weights == pytest.approx(42.7e9, rel=0.01)
    assert llama.footprint.resident > 40 * GIB > llama.footprint.weights, "not even without a context"
    assert (llama.longest_context, qwen.longest_context > 0, mistral.longest_context > 8000) == (0, True, True)
    assert double.items[0].footprint.weights == pytest.approx(39.5e9, rel=0.01)
    assert 8000 < double.items[0].longest_context < 9000
    offered = {other.quantisation: other.longest_context for other in llama.alternatives}
    assert offered[Quantisation.nf4_dq] == double.items[0].longest_context
    assert offered[Quantisation.int8] == 0
    assert llama.kv_bytes == 128_000 * 327_680


@given(architectures(), st.integers(16, 8192), st.integers(1, 10**10), st.sampled_from(list(Quantisation)))
def test_the_longest_context_fits_and_one_token_more_does_not(
    architecture: object, context: int, reserve: int, how: Quantisation
) -> None:
    model = Counted("m", EngineKind.transformers, ModelKind.generate, architecture, how, context, 1, reserve)  # type: ignore[arg-type]
    (item,) = make_plan([model], DEVICES["h100"]).items
    assert item.fits == (item.longest_context == context)
    if item.longest_context:
        longest = item.longest_context
        assert takes(model.footprint("cuda", context=longest), longest) <= reserve
    if item.longest_context < context:
        more = item.longest_context + 1
        assert takes(model.footprint("cuda", context=more), more) > reserve


def test_reserves_are_kept_whether_they_are_used_or_not() -> None:
    model = count_path(
        CONFIGS / "qwen2.5-32b" / "config.json", Quantisation.nf4_dq, context=4096, reserve_bytes=90 * GIB
    )
    room = Device(name="d", memory_bytes=100 * 10**9, usable_bytes=100 * 10**9)
    assert make_plan([model], room).fits
    assert make_plan([model, model], room).lacks_bytes == 180 * GIB - 100 * 10**9


def test_sizes_are_read_as_they_are_written() -> None:
    assert [size_of(text) for text in ("40GiB", "40 GB", "1.5kb", "7", "0.5 TiB")] == [
        40 * GIB, 40 * 10**9, 1500, 7, 512 * GIB,
    ]  # fmt: skip
    for text in ("", "GB", "-1", "1e9", "40 Gb/s", "9" * 40, "1.2.3", "4 GB x"):
        with pytest.raises(ValueError, match="no size"):
            size_of(text)


def test_the_command_prints_the_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = str(CONFIGS / "llama3.1-70b" / "config.json")
    shown = run(
        "--device", "h200", "--config", config, "--quantisation", "nf4", "--reserve", "40GiB", "--context", "8192"
    )
    assert shown.return_value == 1
    assert "42.71 GB" in shown.output
    assert "As nf4-dq it fits with its whole context." in shown.output
    made = run("--memory", "80GB", "--config", config, "--quantisation", "nf4-dq", "--context", "8192", "--json")
    told = json.loads(made.output)
    assert told["fits"] is True
    assert told["items"][0]["kv_bytes"] == 8192 * 327_680
    assert "h200" in run("--device", "list").output
    monkeypatch.setenv("LAMA_CONFIG", str(tmp_path / "lama.toml"))
    settings.cache_clear()
    (tmp_path / "lama.toml").write_text(
        f'[[model_host.models]]\nname = "small"\nsource = "path:{packaged().gguf}"\nreserve_bytes = 1000\n'
    )
    catalogue = run()
    settings.cache_clear()
    assert "small" in catalogue.output
    assert "Its weights alone are" in catalogue.output


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--device", "abacus"), "is not known; there are"),
        (("--device", "h100", "--memory", "1GB"), "not both"),
        (("--memory", "plenty"), "no size"),
        (("--reserve", "1GB"), "each --config"),
        (("--config", "a", "--config", "b", "--config", "c", "--reserve", "1GB", "--reserve", "2GB"), "2 times"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], why: str) -> None:
    assert why in run(*words, standalone=True).output


def test_help_and_the_modules_for_counting_import_no_torch() -> None:
    modules = ["headers", "shapes", "sources", "prediction", "counting", "plan", "loading"]
    code = "; ".join(["import sys, lama.commands.models", *(f"import tasks.model_host.{name}" for name in modules)])
    code += (
        "; sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'bitsandbytes', 'gguf', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_plan_of_a_machine_with_gpus_is_that_of_the_smallest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each has the whole catalogue."""
    cards = (Gpu(0, "GPU-0", "H200", 141 * 10**9), Gpu(1, "GPU-1", "A10", 24 * 10**9))
    monkeypatch.setattr("blocks.gpus.gpus", lambda: cards)
    monkeypatch.setenv("LAMA_CONFIG", str(tmp_path / "lama.toml"))
    (tmp_path / "lama.toml").write_text("")
    settings.cache_clear()
    told = CliRunner().invoke(cli, ["models", "plan", "--json"], standalone_mode=False)
    settings.cache_clear()
    device = json.loads(told.output)["device"]
    assert device["name"] == "A10, the smallest of 2 GPUs"
    assert (device["usable_bytes"], device["kind"]) == (21_600_000_000, "cuda")
