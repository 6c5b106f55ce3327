"""Many answers at a time are the answers that each would have got alone."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.model_host.batch import Batch, Limits, share
from tasks.model_host.compatible import adopt
from tasks.model_host.detokenise import Detokeniser, StopStrings
from tasks.model_host.engine import Piece, Sampling, TokenLogprob
from tasks.model_host.errors import EngineError
from tasks.model_host.sampling import Draws
from tasks.model_host.sequence import Answering
from tasks.model_host.sequence import Sequence as Running
from tests.model_host import tiny

_CPU = torch.device("cpu")
_GREEDY = Sampling(temperature=0)
_SMALL = Limits(reads_alone=16, reads_beside=8)


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(2)


def _numbers(tokens: Sequence[int]) -> str:
    return "".join(f"{token} " for token in tokens)


class Asked:
    """A request whose answer's text is its tokens' numbers."""

    def __init__(self, prompt: Sequence[int], new: int, sampling: Sampling = _GREEDY, seed: int = 0) -> None:
        self.items: list[Piece | EngineError | None] = []
        self.over = threading.Event()
        self.begun = threading.Event()
        self.running = Running(
            prompt=tuple(prompt),
            most_new=new,
            sampling=sampling,
            draws=Draws(seed),
            answering=Answering(Detokeniser(_numbers), StopStrings(()), str, frozenset()),
            deliver=self._deliver,
        )

    def _deliver(self, item: Piece | EngineError | None) -> None:
        self.items.append(item)
        self.begun.set()
        if not isinstance(item, Piece) or item.finish:
            self.over.set()

    def wait(self) -> list[int]:
        assert self.over.wait(60)
        assert isinstance(self.items[-1], Piece), self.items[-1]
        return [int(word) for piece in self.items if isinstance(piece, Piece) for word in piece.text.split()]

    def logprobs(self) -> list[TokenLogprob]:
        return [told for piece in self.items if isinstance(piece, Piece) for told in piece.logprobs]


class Served:
    def __init__(self, module: Any, limits: Limits = _SMALL) -> None:
        self.module = module
        self.geometry = adopt(module, _CPU)
        self.batch = Batch(module, self.geometry, limits, name="model test")

    def ask(self, *given: Any, **more: Any) -> Asked:
        asked = Asked(*given, **more)
        self.batch.submit(asked.running)
        return asked


@pytest.fixture
def llama() -> Iterator[Served]:
    served = Served(tiny.model("llama"))
    yield served
    served.batch.close()


def _prompt(length: int, seed: int = 3) -> list[int]:
    return torch.randint(0, tiny.VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def _alone(module: Any, prompt: Sequence[int], new: int) -> list[int]:
    with torch.inference_mode():
        answer = module.generate(
            torch.tensor([list(prompt)]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=new,
            do_sample=False,
        )
    return [int(token) for token in answer[0, len(prompt) :]]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen2-mixed", "mistral"])
def test_greedy_answers_are_those_of_transformers_own_generate(kind: str) -> None:
    """Prompts shorter and longer than a chunk and than a window, which come and go at different times."""
    lengths = [(1, 30), (5, 12), (17, 40), (70, 20), (130, 25), (16, 3), (33, 30), (8, 1)]
    reference = tiny.model(kind)
    served = Served(tiny.model(kind))
    try:
        asked = []
        for at, (length, new) in enumerate(lengths):
            asked.append(served.ask(_prompt(length, at), new))
            if at % 3 == 2:
                asked[0].begun.wait(60)
                time.sleep(0.02)
        leaving = served.ask(_prompt(90, 77), 400)
        served.batch.cancel(leaving.running)
        answers = [one.wait() for one in asked]
        assert leaving.over.wait(60)
        assert leaving.items[-1] is None
    finally:
        served.batch.close()
    assert answers == [_alone(reference, _prompt(length, at), new) for at, (length, new) in enumerate(lengths)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.5)], ids=["fp32", "bf16"])
def test_logprobs_are_those_of_one_pass_over_everything(dtype: torch.dtype, tolerance: float) -> None:
    reference = tiny.model("llama")
    served = Served(tiny.model("llama", dtype=dtype))
    prompt = _prompt(40)
    try:
        asked = served.ask(prompt, 20, Sampling(temperature=1.0, logprobs=3), seed=4)
        answer = asked.wait()
    finally:
        served.batch.close()
    with torch.inference_mode():
        logits = reference(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    logs = torch.log_softmax(logits, -1)
    told = asked.logprobs()
    assert [int(one.token) for one in told] == answer
    assert [one.logprob for one in told] == pytest.approx(
        [float(logs[at, token]) for at, token in enumerate(answer)], abs=tolerance
    )
    best = [max(log for _, log in one.top) for one in told]
    assert best == pytest.approx(logs.max(-1).values.tolist(), abs=tolerance)
    assert all(len(one.top) == 3 for one in told)


def test_a_seed_gives_the_same_answer_whoever_is_beside_it(llama: Served) -> None:
    sampling = Sampling(temperature=1.0, top_p=0.9)
    alone = llama.ask(_prompt(20), 30, sampling, seed=42).wait()
    mates = [llama.ask(_prompt(9 + at, at), 50, Sampling(temperature=1.3), seed=at) for at in range(5)]
    assert llama.ask(_prompt(20), 30, sampling, seed=42).wait() == alone
    assert llama.ask(_prompt(20), 30, sampling, seed=43).wait() != alone
    for mate in mates:
        mate.wait()


def test_memory_is_free_once_an_answer_is_over_or_was_cancelled(llama: Served) -> None:
    finishing, leaving = llama.ask(_prompt(20), 5), llama.ask(_prompt(20), 900)
    assert leaving.begun.wait(60)
    assert leaving.running.kv is not None
    assert sum(part.nbytes for part in leaving.running.kv) == llama.geometry.bytes_per_token * 920
    held = weakref.ref(leaving.running.kv[0])
    finishing.wait()
    assert finishing.running.kv is None
    llama.batch.cancel(leaving.running)
    assert leaving.over.wait(60)
    assert leaving.running.kv is None
    assert held() is None, "no view of it is left either"


def test_a_long_prompt_stalls_nobody(llama: Served) -> None:
    talking = llama.ask(_prompt(4), 200)
    assert talking.begun.wait(60)
    before = len(talking.items)
    reading = llama.ask(_prompt(400, 5), 1)
    reading.wait()
    assert len(talking.items) - before >= 400 // _SMALL.reads_beside - 1, "a token came with every chunk"
    talking.wait()


def test_a_short_prompt_is_not_kept_behind_a_long_one(llama: Served) -> None:
    llama.ask(_prompt(4), 1).wait()
    long, short = llama.ask(_prompt(600, 5), 1), llama.ask(_prompt(6), 1)
    short.wait()
    assert not long.over.is_set()
    long.wait()


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=70), st.integers(1, 600))
def test_shares_use_the_budget_and_leave_nobody_out(unread: list[int], budget: int) -> None:
    shares = share(unread, budget)
    assert all(1 <= got <= wanted for got, wanted in zip(shares, unread, strict=True))
    assert sum(shares) == min(sum(unread), max(budget, len(unread)))
    less = [got for got, wanted in zip(shares, unread, strict=True) if got < wanted]
    assert not less or max(shares) - min(less) <= 1, "who gets less than asked gets as much as anybody"


def _failing_once(module: Any, error: Exception, *, after: int) -> None:
    forward, passes = module.forward, 0

    def fail(*given: Any, **more: Any) -> Any:
        nonlocal passes
        passes += 1
        if passes == after:
            raise error
        return forward(*given, **more)

    module.forward = fail


def test_a_step_that_fails_fails_its_requests_and_the_next_ones_are_answered(llama: Served) -> None:
    right = llama.ask(_prompt(10), 8).wait()
    _failing_once(llama.module, RuntimeError("a kernel broke"), after=3)
    asked = [llama.ask(_prompt(10), 50), llama.ask(_prompt(30), 50)]
    for one in asked:
        assert one.over.wait(60)
        assert isinstance(one.items[-1], EngineError)
        assert "a kernel broke" in str(one.items[-1])
        assert one.running.kv is None
    assert llama.ask(_prompt(10), 8).wait() == right


def test_out_of_memory_costs_the_newest_only(llama: Served) -> None:
    right = llama.ask(_prompt(10), 60).wait()
    _failing_once(llama.module, torch.OutOfMemoryError("CUDA out of memory"), after=5)
    first = llama.ask(_prompt(10), 60)
    assert first.begun.wait(60)
    newest = llama.ask(_prompt(300), 500)
    assert newest.over.wait(60)
    assert isinstance(newest.items[-1], EngineError)
    assert first.wait() == right


def test_a_request_for_more_memory_than_there_is_fails_alone(llama: Served) -> None:
    other = llama.ask(_prompt(10), 40)
    huge = llama.ask(_prompt(10), 10**13)
    assert huge.over.wait(60)
    assert "no memory" in str(huge.items[-1])
    other.wait()


def test_text_that_fails_fails_alone(llama: Served) -> None:
    def broken(_: Sequence[int]) -> str:
        raise ValueError("no such token")

    other = llama.ask(_prompt(10), 40)
    asked = Asked(_prompt(10), 40)
    asked.running.answering = Answering(Detokeniser(broken), StopStrings(()), str, frozenset())
    llama.batch.submit(asked.running)
    assert asked.over.wait(60)
    assert "no such token" in str(asked.items[-1])
    other.wait()


def test_closing_tells_everybody_and_takes_nobody_any_more() -> None:
    served = Served(tiny.model("llama"), Limits(most_running=1))
    asked, waiting = served.ask(_prompt(10), 900), served.ask(_prompt(10), 900)
    assert asked.begun.wait(60)
    served.batch.close()
    served.batch.close()
    assert isinstance(asked.items[-1], EngineError)
    assert isinstance(waiting.items[-1], EngineError)
    with pytest.raises(EngineError):
        served.ask(_prompt(10), 1)
    with pytest.raises(EngineError):
        served.batch.call(lambda: None).result(1)


def test_more_than_run_at_a_time_wait_for_their_turn() -> None:
    served = Served(tiny.model("llama"), Limits(most_running=2))
    try:
        answers = [served.ask(_prompt(10), 12) for _ in range(7)]
        assert len({tuple(one.wait()) for one in answers}) == 1
    finally:
        served.batch.close()


def test_work_between_steps_runs_in_the_thread_of_the_model(llama: Served) -> None:
    assert llama.batch.call(lambda: threading.current_thread().name).result(60) == "model test"
    with pytest.raises(ZeroDivisionError):
        llama.batch.call(lambda: 1 // 0).result(60)
