"""While a target is away its messages wait; a message that alone fails becomes a dead letter all the same."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from models.handoff import Again, Delivered, Effect, Outcome
from tasks.handoffs.http_target import HttpTarget
from tests.handoffs.making import Bench, Recorder, make_message, make_route

QUICK = {"tries": 2, "first_s": 0.01, "longest_s": 0.02, "timeout_s": 0.2}


async def test_a_single_try_is_not_used_up_by_an_outage(bench: Bench) -> None:
    route = make_route(retry=QUICK | {"tries": 1})
    await bench.store(route, make_message(0))
    back_at = time.monotonic() + 0.4
    target = Recorder(lambda _: Delivered("x") if time.monotonic() > back_at else Again("gone", outage=True))
    await bench.drain(route, target, patience_s=2.0)
    assert len(target.calls) > 2
    assert (await bench.effects())["m0"][0] == "delivered"


@contextlib.contextmanager
def answering(status: int, times: int) -> Iterator[str]:
    """An address that answers with `status` for some `times`, 0: hangs up without a word, and then is well."""
    left = [status] * times

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer = left.pop() if left else 201
            if answer:
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [0, 401, 429, 502, 503, 504])
async def test_what_says_that_the_whole_target_is_away_uses_up_no_tries(bench: Bench, status: int) -> None:
    route = make_route(retry=QUICK)
    await bench.store(route, *(make_message(n, f"c{n}") for n in range(3)))
    with answering(status, times=7) as url:
        target = HttpTarget(httpx.AsyncClient(trust_env=False), url)
        drain = await bench.drain(route, target, patience_s=3.0, at_once=2)
        await target.close()
    assert {state for state, _, _ in (await bench.effects()).values()} == {"delivered"}
    assert drain.figures.dead == 0


async def test_a_message_that_alone_is_not_answered_becomes_a_dead_letter_while_others_get_through(
    bench: Bench,
) -> None:
    route = make_route(retry=QUICK)
    await bench.store(route, *(make_message(n, "bad" if n == 0 else f"c{n % 3}") for n in range(200)))

    def answer(effect: Effect) -> Outcome:
        return Again("answered 503", unclear=True) if effect.message_id == "m0" else Delivered("x")

    target = Recorder(answer, takes_s=0.002)
    drain = await bench.drain(route, target, linger_s=0.5)
    effects = await bench.effects()
    assert effects.pop("m0") == ("dead", 2, "answered 503")
    assert {state for state, _, _ in effects.values()} == {"delivered"}
    assert drain.figures.outage == ""
