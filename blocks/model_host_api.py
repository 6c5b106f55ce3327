"""The calls of the model host that the command line makes, without importing Prefect."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from blocks.errors import LamaError, UnavailableError
from blocks.home import Home
from blocks.settings import Settings
from models.model_host import HostStatus, ModelStatus, Priority

_COMPONENT = "model host"


def key_of(settings: Settings) -> str:
    """The key of this node's model host."""
    given = settings.model_host_key
    return given.get_secret_value() if given is not None else Home(settings).secret("model_host.key")


class ModelHostApi:
    """A client of this node's model host. Use it as a context manager.

    Every method raises `UnavailableError` when it does not answer, and `LamaError` with its words when it refuses.
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
        """How things are."""
        return HostStatus.model_validate(self._call("GET", "/host/status"))

    def watch(self) -> Iterator[HostStatus]:
        """How things are, now and whenever that changes."""
        for event in self._events("GET", "/host/events", None):
            yield HostStatus.model_validate(event)

    def load(self, model: str, priority: Priority | None = None) -> ModelStatus:
        """Load a model, and wait for it."""
        headers = {} if priority is None else {"X-Lama-Priority": priority.name}
        return ModelStatus.model_validate(self._call("POST", f"/host/models/{_path(model)}/load", headers=headers))

    def unload(self, model: str) -> ModelStatus:
        """Unload a model, once nobody is served by it."""
        return ModelStatus.model_validate(self._call("POST", f"/host/models/{_path(model)}/unload"))

    def reserve(self, model: str, promised: Mapping[str, Any]) -> HostStatus:
        """Promise memory to a model."""
        return HostStatus.model_validate(self._call("PUT", f"/host/reserves/{_path(model)}", promised))

    def release(self, model: str) -> HostStatus:
        """Take a model's reserve back."""
        return HostStatus.model_validate(self._call("DELETE", f"/host/reserves/{_path(model)}"))

    def clean(self) -> int:
        """Give back memory that nobody needs; how many bytes."""
        return int(self._call("POST", "/host/clean")["freed_bytes"])

    def chat(self, model: str, messages: Sequence[Mapping[str, str]], **more: Any) -> Iterator[dict[str, Any]]:
        """The events of a streamed answer, as OpenAI's API has them; `more` are further parameters."""
        body = {"model": model, "messages": list(messages), "stream": True, "stream_options": {"include_usage": True}}
        headers = {"X-Lama-Use-Case": "chat"} if model == "auto" else {}
        yield from self._events("POST", "/v1/chat/completions", body | more, headers)

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        try:
            response = self._client.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise _away(error) from error
        if not response.is_success:
            raise _refused(response)
        return response.json()

    def _events(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str] | None = None
    ) -> Iterator[Any]:
        try:
            with self._client.stream(method, path, json=body, headers=headers) as response:
                if not response.is_success:
                    response.read()
                    raise _refused(response)
                for line in response.iter_lines():
                    data = line.removeprefix("data:").strip()
                    if not line.startswith("data:") or data == "[DONE]":
                        continue
                    event = json.loads(data)
                    if "error" in event:
                        raise LamaError(str(event["error"].get("message", "it failed.")), component=_COMPONENT)
                    yield event
        except httpx.HTTPError as error:
            raise _away(error) from error


def _path(model: str) -> str:
    return quote(model, safe="/:")


def _away(error: httpx.HTTPError) -> UnavailableError:
    return UnavailableError(
        f"it does not answer ({type(error).__name__}).", component=_COMPONENT, remedy="`lama up` starts it."
    )


def _refused(response: httpx.Response) -> LamaError:
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"it answered {response.status_code}."
    return LamaError(message, component=_COMPONENT)
