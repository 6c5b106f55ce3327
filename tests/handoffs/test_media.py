"""Files that people sent by WhatsApp: each once, whole, and only from where they may come."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from blocks.errors import UnavailableError
from models.handoff import Delivered
from tasks.handoffs.media import Fetched, fetch_media
from tests.handoffs.cloud_api import RunningCloudApi, running
from tests.handoffs.making import Bench, Recorder, make_message, make_route

ROUTE = make_route(name="pictures")


@pytest.fixture
def api() -> Iterator[RunningCloudApi]:
    with running() as number:
        number.files = {"11": b"a picture", "12": b"another", "13": b"a picture"}
        yield number


async def fetch(bench: Bench, api: RunningCloudApi, **block: Any) -> Fetched:
    made = api.block.model_copy(update={"media_hosts": ("127.0.0.1",)} | block)
    async with await bench.connect() as connection:
        return await fetch_media(connection, "pictures", made)


async def came(bench: Bench, *media: dict[str, Any] | None) -> None:
    """Messages with these files came and were handed on."""
    await bench.store(ROUTE, *(make_message(n, f"c{n}", media=one) for n, one in enumerate(media, start=1)))
    await bench.drain(ROUTE, Recorder(lambda effect: Delivered(effect.message_id)))


async def problems(bench: Bench) -> list[str | None]:
    found = await bench.rows("SELECT attributes -> 'media' ->> 'problem' FROM handoff_message ORDER BY seq")
    return [row[0] for row in found]


async def test_files_are_fetched_once_and_the_same_content_is_kept_once(bench: Bench, api: RunningCloudApi) -> None:
    await came(bench, {"id": "11"}, {"id": "12", "filename": "plan.jpg"}, {"id": "13"}, None)
    assert await fetch(bench, api) == Fetched(files=3)
    assert await fetch(bench, api) == Fetched()
    assert api.fetched == 3
    assert await bench.rows(
        "SELECT message_id, place, name, content_type, content FROM mail_attachment JOIN mail_file USING (digest) "
        "ORDER BY message_id"
    ) == [
        ("m1", 0, "11.jpg", "image/jpeg", b"a picture"),
        ("m2", 0, "plan.jpg", "image/jpeg", b"another"),
        ("m3", 0, "13.jpg", "image/jpeg", b"a picture"),
    ]
    assert await bench.rows("SELECT count(*) FROM mail_file") == [(2,)]


@pytest.mark.parametrize(
    ("told", "block", "problem"),
    [
        ({"sha256": "00" * 32}, {}, "its SHA-256 is not the one that WhatsApp says"),
        ({"file_size": 8}, {}, "it is not as large as WhatsApp says"),
        ({"file_size": 200 * 2**20}, {}, "it is larger than 100 MiB"),
        ({}, {"largest_media_mib": 8 / 2**20}, "it is larger than 7.62939e-06 MiB"),
        ({"url": "https://evil.example/file/11"}, {}, "it is not on one of the hosts that the block names"),
        ({"url": "http://lookaside.fbsbx.com/file/11"}, {"media_hosts": ("lookaside.fbsbx.com",)},
         "it is not on one of the hosts that the block names"),
        ({"url": "https://127.0.0.1/file/11"}, {"media_hosts": ("lookaside.fbsbx.com",)},
         "it is not on one of the hosts that the block names"),
    ],
)  # fmt: skip
async def test_what_is_not_what_was_told_is_given_up_and_its_message_says_why(
    bench: Bench, api: RunningCloudApi, told: dict[str, Any], block: dict[str, Any], problem: str
) -> None:
    api.told["11"] = told
    await came(bench, {"id": "11"})
    assert await fetch(bench, api, **block) == Fetched(given_up=1)
    assert await problems(bench) == [problem]
    assert await fetch(bench, api, **block) == Fetched()
    assert await bench.rows("SELECT count(*) FROM mail_file") == [(0,)]


async def test_what_is_gone_is_given_up_and_does_not_hold_the_rest(bench: Bench, api: RunningCloudApi) -> None:
    await came(bench, {"id": "99"}, {"id": "../me"}, {"id": "12"})
    assert await fetch(bench, api) == Fetched(files=1, given_up=2)
    gone = "WhatsApp answered 400: it is not there any more"
    assert await problems(bench) == [gone, "its id is no number", None]


async def test_a_digest_may_be_written_as_webhooks_write_it(bench: Bench, api: RunningCloudApi) -> None:
    api.told["11"] = {"sha256": base64.b64encode(hashlib.sha256(b"a picture").digest()).decode()}
    await came(bench, {"id": "11"})
    assert await fetch(bench, api) == Fetched(files=1)


async def test_a_whatsapp_that_is_away_is_asked_again(bench: Bench, api: RunningCloudApi) -> None:
    await came(bench, {"id": "11"})
    asked, api.server.route = api.server.route, lambda _path, _body: (503, "text/plain", b"")
    with pytest.raises(UnavailableError, match="503"):
        await fetch(bench, api)
    api.server.route = asked
    assert await fetch(bench, api) == Fetched(files=1)


async def test_a_message_that_was_emptied_gets_no_file(bench: Bench, api: RunningCloudApi) -> None:
    await came(bench, {"id": "11"})
    await bench.rows("UPDATE handoff_message SET raw = ''")
    assert await fetch(bench, api) == Fetched()
    assert api.fetched == 0
