"""A hub on loopback: what huggingface_hub asks for (model info, HEAD and ranges of files), and nothing else."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class LoopbackHub:
    """Serves `files` of one repository at one commit. `cut_after` breaks one answer off after so many bytes."""

    def __init__(self, repo: str, files: dict[str, bytes], commit: str = "c" * 40) -> None:
        self.repo, self.files, self.commit = repo, files, commit
        self.cut_after: int | None = None
        self.goes_down = False
        """Whether it answers nothing any more after one that was cut off."""
        self.tampers = False
        self._is_down = False
        self.asked: list[tuple[str, str, str]] = []
        """Method, file, range."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def fetched(self) -> set[str]:
        """Files of which a byte was asked for."""
        return {name for method, name, _ in self.asked if method == "GET"}

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        if path.startswith(f"/api/models/{self.repo}/revision/"):
            known = path.rpartition("/")[2] in {"main", self.commit}
            self._send(request, 200 if known else 404, json.dumps(self._info()).encode(), {}, body=body)
            return
        prefix = f"/{self.repo}/resolve/{self.commit}/"
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or name not in self.files:
            missing = {"X-Error-Code": "RepoNotFound" if not path.startswith(f"/{self.repo}") else "EntryNotFound"}
            self._send(request, 404, b"{}", missing, body=body)
            return
        if self._is_down and self.goes_down:
            self._send(request, 503, b"", {}, body=body)
            return
        content = self.files[name]
        wanted = request.headers.get("Range", "")
        self.asked.append(("GET" if body else "HEAD", name, wanted))
        head = {"ETag": f'"{self._digest(name)}"', "X-Repo-Commit": self.commit, "Accept-Ranges": "bytes"}
        if body and self.tampers and name.endswith((".safetensors", ".gguf")):
            content = b"\xff" * len(content)
        start = int(wanted.removeprefix("bytes=").rstrip("-").split("-")[0] or 0) if wanted else 0
        if start:
            head["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        part = content[start:]
        if body and self.cut_after is not None and len(part) > self.cut_after:
            request.send_response(206 if start else 200)
            for key, value in (head | {"Content-Length": str(len(part))}).items():
                request.send_header(key, value)
            request.end_headers()
            request.wfile.write(part[: self.cut_after])
            request.wfile.flush()
            request.close_connection = True
            request.connection.close()
            self._is_down = self.goes_down
            return
        self._send(request, 206 if start else 200, part, head, body=body)

    def _digest(self, name: str) -> str:
        return hashlib.sha256(self.files[name]).hexdigest()

    def _info(self) -> dict[str, object]:
        rows = []
        for name, content in self.files.items():
            row: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": self._digest(name)[:40]}
            if name.endswith((".safetensors", ".gguf", ".bin")):
                row["lfs"] = {"sha256": self._digest(name), "size": len(content), "pointerSize": 134}
            rows.append(row)
        return {"id": self.repo, "modelId": self.repo, "sha": self.commit, "siblings": rows, "private": False,
                "tags": [], "downloads": 0, "likes": 0}  # fmt: skip

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, content: bytes, head: dict[str, str], *, body: bool
    ) -> None:
        request.send_response(status)
        for key, value in (head | {"Content-Length": str(len(content))}).items():
            request.send_header(key, value)
        request.end_headers()
        if body:
            request.wfile.write(content)
