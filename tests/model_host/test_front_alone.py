"""What the one address passes on and tells of its devices: the hosts here answer what a test says, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.home import Home
from blocks.settings import Settings
from models.model_host import HostStatus, ModelDone, Priority
from services.model_host.app import CLIENT_KEY, KEY
from services.model_host.asked import claimed
from services.model_host.front.app import create_front
from services.model_host.front.devices import Devices
from services.model_host.problems import RefusedError
from tests.model_host.several import MIB

Answering = Callable[[httpx.Request], httpx.Response]


class Front:
    """The address, with a device for each of `hosts`; None: one that does not answer."""

    def __init__(self, home: Path, *hosts: Answering | None) -> None:
        settings = Settings(home=home)
        self.home = Home(settings)
        self.home.prepare()
        self.devices = Devices([("cpu", f"http://device-{number}") for number in range(len(hosts))], "key")
        for device, host in zip(self.devices.all, hosts, strict=True):
            if host is not None:
                device.client = httpx.AsyncClient(
                    transport=httpx.MockTransport(host), base_url=f"http://device-{device.number}"
                )
                device.heard(status())
        self._app = create_front(settings, self.devices, [])

    def http(self, key: str = KEY) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self._app), base_url="http://localhost",
            headers={"Authorization": f"Bearer {self.home.secret(key)}"},
        )  # fmt: skip


def status(**more: Any) -> dict[str, Any]:
    held = {"capacity_bytes": 600 * MIB, "used_bytes": 0, "leased_bytes": 0, "reserved_bytes": 0}
    return HostStatus.model_validate({"device": "cpu", **held, **more}).model_dump(mode="json")


async def test_a_host_is_told_the_priority_that_was_judged_and_no_other(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def host(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get_list("x-lama-priority"))
        return httpx.Response(200, json={})

    async with Front(tmp_path, host).http(CLIENT_KEY) as http:

        async def asked(*words: str) -> int:
            headers = [("X-Lama-Priority", word) for word in words]
            answer = await http.post("/v1/completions", json={"model": "one", "prompt": "x"}, headers=headers)
            return answer.status_code

        assert [await asked(), await asked("low"), await asked(" Normal ")] == [200, 200, 200]
        assert seen == [[], ["low"], ["normal"]]
        assert await asked("high") == 403
        assert await asked("low", "high") == await asked("high", "low") == 400
        assert len(seen) == 3


def test_a_priority_that_is_said_twice_is_refused_whatever_it_is() -> None:
    assert claimed([], Priority.normal, lesser=True) is None
    assert claimed(["high"], Priority.normal, lesser=False) is Priority.high
    with pytest.raises(RefusedError, match="more than once"):
        claimed(["low", "low"], Priority.high, lesser=False)


def ready(request: httpx.Request) -> httpx.Response:
    assert (request.method, request.url.path) == ("GET", "/ready")
    return httpx.Response(200, json={"status": "ok"})


def unready(_: httpx.Request) -> httpx.Response:
    return httpx.Response(503, json={"error": {"message": "The reserve of one cannot be made."}})


def silent(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("", request=request)


async def test_it_is_ready_when_a_host_is_and_says_which_are_not_and_why(tmp_path: Path) -> None:
    async with Front(tmp_path, unready, ready, None, silent).http() as http:
        answer = await http.get("/ready")
    assert answer.status_code == 200
    reasons = {one["device"]: one["reason"] for one in answer.json()["incomplete"]}
    assert reasons == {
        "0": "The reserve of one cannot be made.", "2": "Its host has not answered yet.",
        "3": "Its host does not answer (ReadTimeout).",
    }  # fmt: skip


async def test_it_is_not_ready_when_no_host_is(tmp_path: Path) -> None:
    async with Front(tmp_path, unready, None).http() as http:
        answer = await http.get("/ready")
    assert answer.status_code == 503
    assert "Device 0: The reserve of one cannot be made." in answer.json()["error"]["message"]
    async with Front(tmp_path, None).http() as http:
        assert (await http.get("/ready")).json()["error"]["code"] == "no_device"


MODEL = {
    "name": "one", "state": "absent", "kind": "generate", "engine": "llamacpp", "quantisation": "stored",
    "priority": 2, "context_window": 64,
}  # fmt: skip


def obeys(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"ended": True} if request.url.path.startswith("/host/jobs/") else MODEL)


def knows_nothing_of_it(_: httpx.Request) -> httpx.Response:
    return httpx.Response(404, json={"error": {"message": "This run has no lease.", "code": "not_found"}})


@pytest.mark.parametrize(("where", "gone"), [("", ["1"]), ("?device=all", ["1"]), ("?device=0", [])])
async def test_who_was_meant_and_was_not_reached_is_told(tmp_path: Path, where: str, gone: list[str]) -> None:
    async with Front(tmp_path, obeys, None).http() as http:
        for what in ("unload", "load"):
            told = ModelDone.model_validate((await http.post(f"/host/models/one/{what}{where}")).json())
            meant = gone if where or what == "unload" else []
            assert ([one.device for one in told.incomplete], told.state) == (meant, "absent"), what


async def test_the_end_of_a_run_is_not_known_while_its_device_may_be_away(tmp_path: Path) -> None:
    for hosts, status, code in (
        ((knows_nothing_of_it, None), 503, "device_away"),
        ((knows_nothing_of_it, silent), 503, "device_away"),
        ((knows_nothing_of_it, knows_nothing_of_it), 404, "not_found"),
        ((obeys, None), 200, None),
        ((silent, obeys), 200, None),
    ):
        async with Front(tmp_path, *hosts).http() as http:
            answer = await http.delete("/host/jobs/run-1")
            assert (answer.status_code, answer.json().get("error", {}).get("code")) == (status, code), hosts


async def test_a_device_is_chosen_by_all_that_the_request_needs(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def host(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/host/select":
            return httpx.Response(200, json={})
        seen.append(json.loads(request.content))
        if seen[-1]["context_tokens"] > 1_000:
            return httpx.Response(404, json={"error": {"message": "No model has room for it."}})
        return httpx.Response(200, json={"model": "one", "score": 1.0, "reasons": []})

    schema = {"type": "json_object"}
    chat = {"messages": [{"role": "user", "content": "x" * 400}], "max_tokens": 50, "response_format": schema}
    async with Front(tmp_path, host).http() as http:

        async def asked(where: str, **more: Any) -> int:
            answer = await http.post(f"/v1/{where}", json={"model": "auto", **more}, headers={"X-Lama-Use-Case": "c"})
            return answer.status_code

        assert await asked("chat/completions", **chat) == 200
        assert await asked("embeddings", input=["y" * 400]) == 200
        assert await asked("completions", prompt="x", max_tokens=5_000) == 200
        assert await asked("completions", prompt="x", max_tokens=-1) == 400
    kinds = [(one["kind"], one["use_case"], one["structured"]) for one in seen]
    assert kinds == [("generate", "c", True), ("embed", "c", False), *[("generate", "c", False)] * 2]
    assert [one["context_tokens"] for one in seen] == [158, 100, 5_008, 0]
