"""The engine for transformers' models, from a request to its text."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BitsAndBytesConfig, LlamaForCausalLM

from blocks.settings import CHECKOUT
from tasks.model_host.batch import Limits
from tasks.model_host.engine import Ask, Piece, Sampling
from tasks.model_host.errors import EngineError, LoadError, RequestError
from tasks.model_host.footprint import weight_bytes
from tasks.model_host.transformers_engine import TransformersEngine
from tests.model_host import tiny

_GREEDY = Sampling(temperature=0)
_SMALL = Limits(reads_alone=16, reads_beside=8)
_USER = ({"role": "user", "content": "a house with a garden"},)

Start = Callable[..., Awaitable[TransformersEngine]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    torch.set_num_threads(2)
    engines = []

    async def start(
        module: Any = None, tokenizer: Any = None, *, limits: Limits = _SMALL, **more: Any
    ) -> TransformersEngine:
        module = module or tiny.model("llama")
        engine = await TransformersEngine.start(
            module, tokenizer or tiny.byte_level(), name="tiny", limits=limits, entropy=iter(range(99)).__next__, **more
        )
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        await engine.close()


@dataclass
class Answer:
    pieces: list[Piece]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def tokens(self) -> int:
        return sum(piece.tokens for piece in self.pieces)


async def _answer(engine: TransformersEngine, **ask: Any) -> Answer:
    return Answer([piece async for piece in engine.generate(engine.prepare(Ask(**ask)))])


def _alone(tokens: list[int], new: int) -> list[int]:
    with torch.inference_mode():
        answer = tiny.model("llama").generate(
            torch.tensor([tokens]), attention_mask=torch.ones(1, len(tokens)), max_new_tokens=new, do_sample=False
        )
    return [int(token) for token in answer[0, len(tokens) :]]


def _decode(tokens: list[int]) -> str:
    return str(tiny.byte_level().decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


async def test_messages_are_answered_as_by_generate_up_to_the_end_of_a_turn(start: Start) -> None:
    tokenizer = tiny.byte_level()
    text = tokenizer.apply_chat_template(list(_USER), add_generation_prompt=True, tokenize=False)
    expected = _alone(tokenizer(text)["input_ids"], 60)
    module = tiny.model("llama")
    assert (await _answer(await start(module), messages=_USER, max_tokens=60, sampling=_GREEDY)).text == _decode(
        expected
    )
    ending = tiny.model("llama")
    at = 20
    ending.generation_config.eos_token_id = [expected[at], 399]
    first = expected.index(expected[at])
    answer = await _answer(await start(ending), messages=_USER, max_tokens=60, sampling=_GREEDY)
    assert answer.text == _decode(expected[:first])
    assert answer.pieces[-1].finish == "stop"
    assert answer.tokens == first + 1, "the end itself was generated, too"


async def test_the_templates_end_of_turn_ends_an_answer(start: Start) -> None:
    engine = await start()
    tokenizer = tiny.byte_level()
    assert {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|end|>")} <= engine._ends
    assert tokenizer.convert_tokens_to_ids("<|turn|>") not in engine._ends


async def test_a_stop_string_cuts_the_text_and_what_was_generated_behind_it(start: Start) -> None:
    engine = await start()
    whole = (await _answer(engine, prompt="a house", max_tokens=80, sampling=_GREEDY)).text
    stop = whole[len(whole) // 2 - 2 : len(whole) // 2 + 3]
    cut = await _answer(
        engine, prompt="a house", max_tokens=80, sampling=Sampling(temperature=0, logprobs=2), stop=(stop, "never")
    )
    assert cut.text == whole[: whole.index(stop)]
    assert cut.pieces[-1].finish == "stop"
    assert cut.tokens < 80
    told = "".join(one.token for piece in cut.pieces for one in piece.logprobs)
    assert len(told) <= len(cut.text) + 12, "tokens of the stop string itself are not told"


async def test_the_last_piece_says_that_the_limit_was_reached(start: Start) -> None:
    answer = await _answer(await start(), prompt="a house", max_tokens=7, sampling=_GREEDY)
    assert [piece.finish for piece in answer.pieces if piece.finish] == ["length"]
    assert answer.tokens == 7


async def test_without_a_limit_an_answer_fills_the_context_window(start: Start) -> None:
    engine = await start(context_window=64)
    prepared = engine.prepare(Ask(prompt="a house"))
    assert prepared.most_tokens == 64
    answer = await _answer(engine, prompt="a house", sampling=_GREEDY)
    assert answer.tokens == 64 - prepared.prompt_tokens


async def test_text_parts_are_joined_and_the_developer_speaks_as_the_system(start: Start) -> None:
    engine = await start()
    parts = [{"type": "text", "text": "a house "}, {"type": "text", "text": "with a garden"}]
    one = engine.prepare(Ask(messages=({"role": "user", "content": parts},)))
    assert one.payload == engine.prepare(Ask(messages=_USER)).payload
    said = [engine.prepare(Ask(messages=({"role": role, "content": "be kind"}, *_USER))) for role in _SYSTEM]
    assert said[0].payload == said[1].payload


_SYSTEM = ("system", "developer")
_IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]


@pytest.mark.parametrize(
    ("ask", "parameter"),
    [
        ({}, "prompt"),
        ({"prompt": "a", "messages": _USER}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": (1, 400)}, "prompt"),
        ({"prompt": (-1,)}, "prompt"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "stop": ("",)}, "stop"),
        ({"prompt": "a", "stop": ("a",) * 5}, "stop"),
        ({"prompt": "a", "sampling": Sampling(top_p=0)}, "top_p"),
        ({"messages": ()}, "messages"),
        ({"messages": ("a",)}, "messages"),
        ({"messages": ({"role": "owner", "content": "a"},)}, "messages[0].role"),
        ({"messages": ({"role": "user", "content": 5},)}, "messages[0].content"),
        ({"messages": (*_USER, {"role": "user", "content": _IMAGE})}, "messages[1].content[0]"),
        ({"messages": ({"role": "tool", "content": "a"},)}, "messages"),
    ],
)
async def test_what_can_never_be_answered_is_refused_by_its_parameter(
    start: Start, ask: dict[str, Any], parameter: str
) -> None:
    engine = await start()
    with pytest.raises(RequestError) as error:
        engine.prepare(Ask(**ask))
    assert error.value.parameter == parameter


@pytest.mark.parametrize(
    "ask", [{"prompt": "fox " * 5000}, {"prompt": "fox " * 100}, {"prompt": "a", "max_tokens": 64}]
)
async def test_what_does_not_fit_the_context_window_is_refused(start: Start, ask: dict[str, Any]) -> None:
    engine = await start(context_window=64)
    with pytest.raises(RequestError) as error:
        engine.prepare(Ask(**ask))
    assert error.value.code == "context_length_exceeded"


async def test_messages_need_a_template(start: Start) -> None:
    engine = await start(tokenizer=tiny.sentencepiece())
    with pytest.raises(RequestError, match="template"):
        engine.prepare(Ask(messages=_USER))
    assert (await _answer(engine, prompt="a house", max_tokens=5)).tokens == 5


async def test_an_answer_that_nobody_wants_any_more_gives_its_memory_back(start: Start) -> None:
    engine = await start()
    answer = engine.generate(engine.prepare(Ask(prompt="a house", max_tokens=900, sampling=_GREEDY)))
    await anext(answer)
    held = weakref.ref(engine._batch._running[0].kv[0])
    await answer.aclose()
    assert held() is None
    waiting = asyncio.create_task(_answer(engine, prompt="a house", max_tokens=900))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert engine._batch._running == []


async def test_a_closed_engine_holds_nothing_and_answers_nobody(start: Start) -> None:
    module = tiny.model("llama")
    held = [weakref.ref(module), weakref.ref(module.lm_head.weight)]
    engine = await start(module)
    prepared = engine.prepare(Ask(prompt="a house", max_tokens=900))
    speaking = engine.generate(prepared)
    await anext(speaking)
    del module
    await engine.close()
    await engine.close()
    with pytest.raises(EngineError):
        _ = [piece async for piece in speaking]
    with pytest.raises(EngineError):
        await anext(engine.generate(prepared))
    gc.collect()
    assert [reference() for reference in held] == [None, None]


async def test_on_a_cpu_parking_changes_nothing(start: Start) -> None:
    engine = await start()
    before = await _answer(engine, prompt="a house", max_tokens=9, sampling=_GREEDY)
    await engine.park()
    await engine.wake()
    assert (await _answer(engine, prompt="a house", max_tokens=9, sampling=_GREEDY)).text == before.text


async def test_requests_without_a_seed_differ_and_with_one_they_do_not(start: Start) -> None:
    engine = await start()
    free = [await _answer(engine, prompt="a house", max_tokens=20) for _ in range(2)]
    assert free[0].text != free[1].text
    seeded = [await _answer(engine, prompt="a house", max_tokens=20, sampling=Sampling(seed=-3)) for _ in range(2)]
    assert seeded[0].text == seeded[1].text


async def test_the_footprint_counts_weights_once_and_keys_and_values_by_the_token(start: Start) -> None:
    module = tiny.model("llama", tie_word_embeddings=True, dtype=torch.bfloat16)
    weights = sum({weight.data_ptr(): weight.nbytes for weight in module.parameters()}.values())
    buffers = sum(buffer.nbytes for buffer in module.buffers())
    engine = await start(module)
    assert engine.footprint.weights == weights + buffers
    assert engine.footprint.kv_per_token == 2 * 3 * 2 * 16 * 2  # keys and values, layers, heads, width, bytes
    assert engine.footprint.workspace > 0


@pytest.mark.parametrize(
    ("kind", "more", "why"),
    [
        ("gemma2", {}, "softcap"),
        ("gpt-oss", {}, "s_aux"),
        ("mamba", {}, "tiny"),
        ("llama", {"context_window": 2000}, "1024"),
    ],
)
async def test_a_model_that_would_not_be_served_truly_is_refused(
    start: Start, kind: str, more: dict[str, Any], why: str
) -> None:
    with pytest.raises(LoadError, match=why):
        await start(tiny.model(kind), **more)


async def test_a_model_whose_attention_does_something_else_is_refused(start: Start) -> None:
    """Found by running it both ways, whatever the reason is."""
    module = tiny.model("llama")
    layer = module.model.layers[1]
    forward = layer.forward

    def leaky(hidden: torch.Tensor, *given: Any, **more: Any) -> Any:
        return forward(hidden + hidden.mean(dim=1, keepdim=True), *given, **more)

    layer.forward = leaky
    with pytest.raises(LoadError, match="differ in a batch"):
        await start(module)


async def test_rotary_embeddings_that_depend_on_the_longest_of_a_batch_end_where_they_would(start: Start) -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0, "original_max_position_embeddings": 256}
    engine = await start(tiny.model("llama", rope_parameters=rope))
    assert engine.context_window == 256


@pytest.mark.parametrize(
    ("configuration", "byte_per_weight"),
    [
        # Scales are of 2 bytes where bitsandbytes packs for bf16 instructions, and of 4 elsewhere.
        (BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"), 0.5 + 2 / 64),
        (BitsAndBytesConfig(load_in_8bit=True), 1.0),
    ],
    ids=["nf4", "int8"],
)
async def test_quantised_weights_answer_and_are_counted_with_their_scales(
    start: Start, tmp_path: Path, configuration: BitsAndBytesConfig, byte_per_weight: float
) -> None:
    tiny.model("llama", intermediate_size=128, head_dim=32).save_pretrained(tmp_path)
    module = LlamaForCausalLM.from_pretrained(tmp_path, quantization_config=configuration, dtype=torch.bfloat16)
    engine = await start(module)
    answers = await asyncio.gather(
        *(_answer(engine, prompt="a house " * (at + 1), max_tokens=12, sampling=_GREEDY) for at in range(4))
    )
    assert all(0 < answer.tokens <= 12 and answer.pieces[-1].finish for answer in answers)
    linear = 3 * (64 * 128 * 2 + 64 * 64 * 2 + 64 * 128 * 3)
    least = linear * byte_per_weight + 2 * tiny.VOCABULARY * 64 * 2
    assert least < engine.footprint.weights == weight_bytes(module) < least + linear * 0.1


def test_who_asks_for_values_only_does_not_wait_for_torch() -> None:
    asked = "import sys, tasks.model_host.engine, tasks.model_host.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False, cwd=CHECKOUT).returncode == 0


async def test_it_does_not_embed(start: Start) -> None:
    engine = await start()
    with pytest.raises(RequestError):
        await engine.embed(["a"])
