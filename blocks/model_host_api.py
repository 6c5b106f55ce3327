"""The calls of the model host that the command line makes, without importing Prefect."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from blocks.errors import LamaError, UnavailableError
from blocks.home import Home
from blocks.settings import Settings
from models.model_host import HostStatus, ModelDone, Priority

_Event = dict[str, Any]
_COMPONENT = "model host"
_TOO_LONG = frozenset({"context_length_exceeded", "request_too_large"})


class TooLongError(LamaError):
    """What was asked is longer than the model's context window, or than a request may be."""


def sendable(text: str) -> str:
    """`text` as JSON, templates and PostgreSQL take it: without NUL and halves of surrogate pairs."""
    return "".join("\ufffd" if letter == "\0" or "\ud800" <= letter <= "\udfff" else letter for letter in text)


class Events:
    """Server-sent events out of the bytes of a stream.

    Lines end in a line feed and in nothing else: an answer may hold U+2028 and U+0085.
    """

    def __init__(self) -> None:
        self._rest = b""
        self.done = False
        """Whether the stream has said that this is all."""

    def of(self, part: bytes) -> list[Any]:
        """The events that end in `part`.

        Raises:
            LamaError: it is told that the work failed.
            TooLongError: it is told that the request is too long.
        """
        *lines, self._rest = (self._rest + part).split(b"\n")
        found = []
        for line in lines:
            data = line.removeprefix(b"data:").strip()
            if not line.startswith(b"data:"):
                continue
            if data == b"[DONE]":
                self.done = True
                continue
            event = json.loads(data)
            if "error" in event:
                raise _told(event["error"], "it failed.", UnavailableError)
            found.append(event)
        return found


def refused(response: httpx.Response) -> LamaError:
    """What an answer that is none says: `UnavailableError` where to ask again may help."""
    try:
        told = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        told = {}
    again = response.status_code in {408, 409, 429} or response.status_code >= 500
    again = again and response.headers.get("x-should-retry") != "false"
    return _told(told, f"it answered {response.status_code}.", UnavailableError if again else LamaError, _sum(response))


def away(error: httpx.HTTPError) -> UnavailableError:
    """It does not answer."""
    return UnavailableError(
        f"it does not answer ({type(error).__name__}).",
        component=_COMPONENT,
        remedy="`lama up` starts it, and does not wait for it: `lama status` says whether it is ready.",
    )


def broken_off() -> UnavailableError:
    """A stream that ended too early."""
    return UnavailableError("its answer broke off.", component=_COMPONENT)


def _told(error: Any, otherwise: str, kind: type[LamaError], more: str = "") -> LamaError:
    told = error if isinstance(error, dict) else {}
    if told.get("code") in _TOO_LONG:
        kind = TooLongError
    return kind(str(told.get("message") or otherwise), component=_COMPONENT, remedy=more)


def _sum(response: httpx.Response) -> str:
    """The arithmetic of a refusal, where there is one: `(weights 102,000,000; workspace 3,000)`."""
    try:
        rows = response.json()["lama"]["refusal"]["arithmetic"]
        told = "; ".join(f"{words} {size:,}" for words, size in rows)
    except (ValueError, KeyError, TypeError):
        return ""
    return f"({told})" if told else ""


def key_of(settings: Settings) -> str:
    """The key of this node's model host."""
    given = settings.model_host_key
    return given.get_secret_value() if given is not None else Home(settings).secret("model_host.key")


class ModelHostApi:
    """A client of this node's model host. Use it as a context manager.

    Every method raises `UnavailableError` when it does not answer, `TooLongError` when it is asked too much at once,
    and `LamaError` with its words when it refuses.
    """

    def __init__(self, settings: Settings, *, timeout_s: float = 600.0) -> None:
        self._client = httpx.Client(
            base_url=settings.model_host_url,
            headers={"Authorization": f"Bearer {key_of(settings)}", "User-Agent": "lama"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def status(self) -> HostStatus:
        """How things are, on all devices."""
        return HostStatus.model_validate(self._call("GET", "/host/status"))

    def watch(self) -> Iterator[HostStatus]:
        """How things are, now and whenever that changes."""
        for event in self._events("GET", "/host/events", None, ends=False):
            yield HostStatus.model_validate(event)

    def load(self, model: str, priority: Priority | None = None, device: str | None = None) -> ModelDone:
        """Load a model, and wait for it. `device`: a number, a UUID or `all`; by default where it fits best."""
        headers = {} if priority is None else {"X-Lama-Priority": priority.name}
        path = f"/host/models/{path_of(model)}/load{self._at(device)}"
        return ModelDone.model_validate(self._call("POST", path, headers=headers))

    def unload(self, model: str, device: str | None = None) -> ModelDone:
        """Unload a model, once nobody is served by it; by default everywhere."""
        path = f"/host/models/{path_of(model)}/unload{self._at(device)}"
        return ModelDone.model_validate(self._call("POST", path))

    def reserve(self, model: str, promised: Mapping[str, Any], device: str | None = None) -> HostStatus:
        """Promise memory to a model; by default so much of every device."""
        path = f"/host/reserves/{path_of(model)}{self._at(device)}"
        return HostStatus.model_validate(self._call("PUT", path, promised))

    def release(self, model: str, device: str | None = None) -> HostStatus:
        """Take a model's reserve back; by default everywhere."""
        path = f"/host/reserves/{path_of(model)}{self._at(device)}"
        return HostStatus.model_validate(self._call("DELETE", path))

    def clean(self) -> int:
        """Give back memory that nobody needs; how many bytes."""
        return int(self._call("POST", "/host/clean")["freed_bytes"])

    def chat(self, model: str, messages: Sequence[Mapping[str, str]], **more: Any) -> Generator[_Event, None, None]:
        """The events of a streamed answer, as OpenAI's API has them; `more` are further parameters."""
        said = [{name: sendable(text) for name, text in message.items()} for message in messages]
        body = {"model": model, "messages": said, "stream": True, "stream_options": {"include_usage": True}}
        headers = {"X-Lama-Use-Case": "chat"} if model == "auto" else {}
        yield from self._events("POST", "/v1/chat/completions", body | more, headers)

    def _at(self, device: str | None) -> str:
        """The part of an address that says which device is meant.

        Raises:
            LamaError: the host is that of one device, and this is another one.
        """
        if device is None:
            return ""
        status = self.status()
        if not (status.devices or status.incomplete) and device not in {"0", "all", status.device_uuid or "0"}:
            there = f"0 ({status.device_uuid or status.device})"
            raise LamaError(f"there is no device {device[:100]!r}; there is {there}.", component=_COMPONENT)
        return f"?device={quote(device, safe='')}"

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        try:
            response = self._client.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise away(error) from error
        if not response.is_success:
            raise refused(response)
        return response.json()

    def _events(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None = None,
        *,
        ends: bool = True,
    ) -> Iterator[Any]:
        events = Events()
        try:
            with self._client.stream(method, path, json=body, headers=headers) as response:
                if not response.is_success:
                    response.read()
                    raise refused(response)
                for part in response.iter_bytes():
                    yield from events.of(part)
        except httpx.HTTPError as error:
            raise away(error) from error
        if ends and not events.done:
            raise broken_off()


def path_of(model: str) -> str:
    """A model's name as part of an address."""
    return quote(model, safe="/:")
