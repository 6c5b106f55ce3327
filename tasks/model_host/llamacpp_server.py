"""llama.cpp's own server inside this process: how it is set up, what it is asked, and how it ends.

It cannot be had without a listener of its own. That listener is a UNIX socket in a folder of ours (mode 0700) and asks
for a key that is made for it; it has what the bindings lack, the tokeniser and the template of chats.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import http.client
import json
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson

from tasks.model_host.errors import EngineError, LoadError, RequestError
from tasks.model_host.prediction import LLAMACPP_BATCH

_PAD: Final = 256
"""llama.cpp makes the context of a slot a multiple of this."""
_SILENT: Final = -1
_ASKED_S: Final = 30.0


class LlamaServer:
    """One loaded model. Its methods block, and are for threads; `close` waits for none of them.

    Args:
        file: the GGUF file.
        context_window: tokens of one slot.
        slots: requests that are computed at a time.
        threads: computing threads.
        embeds: whether it makes vectors instead of text.
        gpu_layers: layers that are computed on a GPU; 0 without one.

    Raises:
        LoadError: llama.cpp does not take the file.
    """

    def __init__(
        self, file: Path, *, context_window: int, slots: int, threads: int, embeds: bool = False, gpu_layers: int = 0
    ) -> None:
        import xllamacpp  # noqa: PLC0415 - the library is large, and only there with the extra `models`

        self._folder = Path(tempfile.mkdtemp(prefix="lama-"))  # 0700; short, since paths of sockets are
        self._address = str(self._folder / "s.sock")
        self._key = secrets.token_urlsafe(16)
        self._idle: list[_OverSocket] = []
        self.slot_tokens = -(-context_window // _PAD) * _PAD
        """Tokens of context that one slot has memory for."""
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.model_alias = {"m"}  # it is in every message, and its path would be otherwise
        params.n_ctx = self.slot_tokens * slots
        params.n_parallel = slots
        params.kv_unified = False
        params.cont_batching = True
        params.cache_prompt = True
        params.cpuparams.n_threads = threads
        params.cpuparams.poll = 0  # threads that spin while they wait take the cores from whoever they wait for
        params.n_gpu_layers = gpu_layers
        params.n_batch = params.n_ubatch = self.slot_tokens if embeds else LLAMACPP_BATCH  # a text is one batch there
        params.embedding = embeds
        # Memory beyond the footprint: prompts in host memory (8 GiB by default), checkpoints of recurrent states.
        params.cache_ram_mib = 0
        params.cache_idle_slots = False
        params.n_ctx_checkpoints = 0
        params.fit_params = False
        params.ui = False
        params.endpoint_slots = False
        params.endpoint_props = False
        params.endpoint_metrics = False
        params.cors_origins = ""
        params.offline = True
        params.n_threads_http = 2
        params.hostnames = [self._address]
        params.api_keys = [self._key]
        params.verbosity = _SILENT
        if embeds and not _pools(file):
            params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        try:
            self._server: Any = xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise LoadError(f"llama.cpp cannot load {file.name}.", component="model host") from error
        meta = self.ask("GET", "/v1/models")["data"][0]["meta"]
        self.vocabulary = int(meta["n_vocab"])
        self.trained_window = int(meta["n_ctx_train"])
        self.tensor_bytes = int(meta["size"])

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One call over the socket.

        Raises:
            RequestError: it is refused.
            EngineError: the server failed, or is gone.
        """
        content = None if body is None else orjson.dumps(body)
        kept = self._idle.pop() if self._idle else None
        try:
            status, answer = self._ask(kept or _OverSocket(self._address), method, path, content)
        except (OSError, http.client.HTTPException):
            if kept is None:
                raise EngineError("llama.cpp does not answer.", component="model host") from None
            self._idle.clear()  # it closes those that were idle for seconds
            return self.ask(method, path, body)
        if status != http.HTTPStatus.OK:
            raise failure(answer)
        return answer

    def _ask(self, connection: _OverSocket, method: str, path: str, content: bytes | None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            answer = response.read()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return response.status, decoded(answer)

    def complete(self, body: bytes, heard: Callable[[bytes], bool]) -> None:
        """Generate, and tell `heard` each message; it returns True to stop."""
        self._server.handle_completions(body, heard)

    def embed(self, body: bytes) -> Any:
        """Answer a request for vectors.

        Raises:
            RequestError: it is refused.
            EngineError: the server failed.
        """
        answer = decoded(self._server.handle_embeddings(body))
        if "error" in answer:
            raise failure(answer)
        return answer

    def close(self) -> None:
        """Give all memory back. Nobody may be using it."""
        while self._idle:
            self._idle.pop().close()
        self._server = None
        gc.collect()
        shutil.rmtree(self._folder, ignore_errors=True)
        trim()


class _OverSocket(http.client.HTTPConnection):
    """A connection to a UNIX socket."""

    def __init__(self, address: str) -> None:
        super().__init__("localhost", timeout=_ASKED_S)
        self._address = address

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ASKED_S)
        self.sock.connect(self._address)


def decoded(content: bytes) -> Any:
    """A message of the server; tokens that are no UTF-8 may stand in it."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return json.loads(content.decode("utf-8", "replace"))


def failure(answer: Any) -> RequestError | EngineError:
    """What an error of the server means."""
    error = answer.get("error", {}) if isinstance(answer, dict) else {}
    said = str(error.get("message", "it gives no reason"))[:300]
    if error.get("type") == "exceed_context_size_error":
        return RequestError(f"The prompt is too long: {said}.", code="context_length_exceeded")
    if error.get("type") == "invalid_request_error" or error.get("code") == http.HTTPStatus.BAD_REQUEST:
        return RequestError(f"The model does not take this: {said}.")
    return EngineError(f"llama.cpp failed: {said}.", component="model host")


def trim() -> None:
    """Give what the C library holds for later back to the system."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _pools(file: Path) -> bool:
    """Whether the header says how vectors of tokens become one; those of models that generate do not."""
    with file.open("rb") as opened:
        return b".pooling_type" in opened.read(1 << 16)
