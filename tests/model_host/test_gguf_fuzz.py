"""Whatever stands in the header of a GGUF file: it is loaded or refused, and this process lives."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from blocks.errors import LamaError
from models.model_host import CatalogueEntry
from tasks.model_host.engine import Ask
from tasks.model_host.errors import LoadError
from tasks.model_host.opening import Machine, open_engine, predict_entry
from tests.model_host.small_gguf import write_model

pytest.importorskip("xllamacpp")

_MACHINE = Machine("cpu", 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_model(tmp_path_factory.mktemp("gguf") / "whole.gguf").read_bytes()


def judged(place: Path, content: bytes) -> str:
    """What becomes of a file."""
    place.write_bytes(content)
    entry = CatalogueEntry(name="x", source=f"path:{place}", context_window=64, concurrency=1)
    try:
        predict_entry(entry, _MACHINE)
    except LamaError:
        return "refused by its header"

    async def answered() -> str:
        engine = await open_engine(entry, _MACHINE)
        try:
            asked = engine.prepare(Ask(prompt=(1, 5, 6), max_tokens=2))
            return "answers" if [piece async for piece in engine.generate(asked)] else "is silent"
        finally:
            await engine.close()

    try:
        return asyncio.run(answered())
    except LoadError:
        return "refused by its trial"
    except LamaError:
        return "refuses the request"


def test_a_right_file_answers(tmp_path: Path, whole: bytes) -> None:
    assert judged(tmp_path / "m.gguf", whole) == "answers"


def test_a_file_that_llama_cpp_does_not_survive_is_refused(tmp_path: Path, whole: bytes) -> None:
    harmful = whole.replace(b"<0x79>", b"<0x7\x00>").replace(b"<0xCA>", b"<0xBA>")
    assert judged(tmp_path / "m.gguf", harmful) == "refused by its trial"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from([0, 1, 2, 4, 8, 9, 127, 128, 255]) | st.integers(0, 255)),
        min_size=1,
        max_size=3,
    )
)
@example(changes=[(0.0, 0)])
def test_no_header_kills_the_process(tmp_path: Path, whole: bytes, changes: list[tuple[float, int]]) -> None:
    end = whole.index(b"blk.1.ffn_norm.weight") + 60
    content = bytearray(whole)
    for where, value in changes:
        content[4 + round(where * (end - 5))] = value
    event(judged(tmp_path / "m.gguf", bytes(content)))
