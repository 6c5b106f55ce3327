"""The model host's engine on a GPU, with random weights in the shapes of 8B, 32B and 70B models: nothing is downloaded.

Of each: bytes predicted beside bytes measured; tokens a second of the engine beside transformers' `generate` with the
same weights, and beside the bound that the memory sets: each token reads every weight but the table of embeddings.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import torch

from models.model_host import ModelKind, Quantisation
from tasks.model_host.engine import Ask, Sampling
from tasks.model_host.loading import measured, packs_nf4
from tasks.model_host.prediction import Step, predict
from tasks.model_host.transformers_engine import TransformersEngine
from tests.model_host import tiny
from tests.model_host.random_weights import SHAPES, architecture, made

WINDOW = 2048
MANY = 8
_PROMPT = tuple(range(5, 21))
_GIB = 1024**3


def main(*, quick: bool) -> None:
    """Measure and tell."""
    if not torch.cuda.is_available():
        told = "There is no GPU here that torch can use: nothing was measured."
        print(told)
        print(json.dumps(_result(None, {}, {}, {"skipped": told})))
        return
    card = torch.cuda.get_device_properties(0)
    bandwidth = _bandwidth("cuda")
    rows: dict[str, dict[str, Any]] = {}
    for name in ["8B"] if quick else SHAPES:
        need = _predicted(SHAPES[name], Quantisation.nf4, "cuda")
        if need.resident + (1 + MANY) * WINDOW * need.kv_per_token > 0.9 * card.total_memory:
            rows[name] = {"skipped": f"it takes {need.resident:,} bytes; {card.name} has {card.total_memory:,}"}
            continue
        rows[name] = asyncio.run(shown(SHAPES[name], Quantisation.nf4, "cuda", tokens=32 if quick else 128))
        rows[name]["bound_tokens_per_s"] = round(bandwidth / rows[name]["read_per_token"], 1)
        print(f"{name:5} {rows[name]}")
    done = {name: row for name, row in rows.items() if "skipped" not in row}
    largest = list(done)[-1] if done else None
    print(
        json.dumps(
            _result(
                done[largest]["engine_tokens_per_s"] if largest else None,
                {f"generate, {name}": row["generate_tokens_per_s"] for name, row in done.items()},
                {
                    f"generate, {name}": round(row["engine_tokens_per_s"] / row["generate_tokens_per_s"], 3)
                    for name, row in done.items()
                },
                {"card": card.name, "bytes_per_s": round(bandwidth), "models": rows},
            )
        )
    )


async def shown(shape: dict[str, Any], how: Quantisation, device: str, *, tokens: int) -> dict[str, Any]:
    """Figures of one model, which is gone afterwards."""
    told = _predicted(shape, how, device)
    before = _held(device)
    module = made(shape, how, device)
    weights = measured(module)
    held = _held(device) - before if device == "cuda" else weights
    embeddings = module.get_input_embeddings().weight.nbytes
    plain = _generate(module, tokens)
    engine = await TransformersEngine.start(module, tiny.byte_level(), name="shape", context_window=WINDOW)
    try:
        await _at_once(engine, 1, 4)
        one, many = await _at_once(engine, 1, tokens), await _at_once(engine, MANY, tokens)
        return {
            "weights_predicted": told.weights,
            "weights_measured": held,
            "tensors": weights,
            "kv_per_token_predicted": told.kv_per_token,
            "kv_per_token_engine": engine.footprint.kv_per_token,
            "workspace_predicted": told.workspace,
            "peak_beside_weights": _peak(device) - before - held if device == "cuda" else None,
            "read_per_token": weights - embeddings,
            "generate_tokens_per_s": plain,
            "engine_tokens_per_s": one,
            f"engine_tokens_per_s_of_{MANY}": many,
        }
    finally:
        await engine.close()
        del module


def _predicted(shape: dict[str, Any], how: Quantisation, device: str) -> Any:
    on: Any = device
    step = Step.of(ModelKind.generate, WINDOW)
    return predict(architecture(shape), how, device=on, step=step, packs_nf4=device == "cpu" and packs_nf4())


def _generate(module: Any, tokens: int) -> float:
    """Tokens a second of transformers' own loop."""
    given = torch.tensor([_PROMPT], device=module.device)
    module.generation_config.eos_token_id = None
    module.generation_config.pad_token_id = 0

    def run(count: int) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            answer = module.generate(
                given, attention_mask=torch.ones_like(given), max_new_tokens=count, do_sample=False
            )
        return float(answer.shape[1] - given.shape[1]) / (time.perf_counter() - started)

    run(4)
    return round(run(tokens), 2)


async def _at_once(engine: TransformersEngine, count: int, tokens: int) -> float:
    """Tokens a second of `count` requests together."""

    async def one(seed: int) -> int:
        asked = engine.prepare(Ask(prompt=_PROMPT, max_tokens=tokens, sampling=Sampling(seed=seed)))
        return sum([piece.tokens async for piece in engine.generate(asked)])

    started = time.perf_counter()
    came = sum(await asyncio.gather(*(one(seed) for seed in range(count))))
    return round(came / (time.perf_counter() - started), 2)


def _bandwidth(device: str) -> float:
    """Bytes a second that are read and written by a copy on the device."""
    source = torch.zeros(_GIB, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        target.copy_(source)
    torch.cuda.synchronize()
    speed = 20 * 2 * _GIB / (time.perf_counter() - started)
    del source, target
    torch.cuda.empty_cache()
    return speed


def _held(device: str) -> int:
    if device != "cuda":
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.memory_allocated())


def _peak(device: str) -> int:
    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else 0


def _result(ours: float | None, peers: dict[str, Any], ratio: dict[str, Any], detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "benchmark": "model_host on a GPU", "unit": "tokens/s, one at a time, of the largest model", "ours": ours,
        "peers": peers, "ratio": ratio, "detail": detail,
    }  # fmt: skip
