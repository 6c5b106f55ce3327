"""TLS contexts that read their certificate authorities at the first connection instead of when they are made.

Prefect and httpx make a context for every client, also where the address is plain HTTP, and OpenSSL 3 takes 70 ms to
read the usual bundle. A run makes six clients before it is running. What is verified, and against which authorities,
is the same.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

_create = ssl.create_default_context


class _LateContext(ssl.SSLContext):
    """A client's context whose bundle has not been read yet."""

    _bundle: str | None = None

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        self._read()
        return super().wrap_socket(*args, **kwargs)

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        self._read()
        return super().wrap_bio(*args, **kwargs)

    def get_ca_certs(self, *args: Any, **kwargs: Any) -> Any:
        self._read()
        return super().get_ca_certs(*args, **kwargs)

    def cert_store_stats(self) -> dict[str, int]:
        self._read()
        return super().cert_store_stats()

    def _read(self) -> None:
        if self._bundle is not None:
            self.load_verify_locations(cafile=self._bundle)
            self._bundle = None


def read_authorities_late() -> None:
    """From now on, let `ssl.create_default_context(cafile=...)` of this process put off reading the file."""
    pattern = _create()

    def create(
        purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH,
        *,
        cafile: Any = None,
        capath: Any = None,
        cadata: Any = None,
    ) -> ssl.SSLContext:
        if purpose is not ssl.Purpose.SERVER_AUTH or cafile is None or capath or cadata:
            return _create(purpose, cafile=cafile, capath=capath, cadata=cadata)
        with Path(cafile).open("rb"):  # a bundle that is not there is told at once, as ever
            pass
        context = _LateContext(ssl.PROTOCOL_TLS_CLIENT)
        # What this Python's own function has set, so that it need not be repeated here.
        context.check_hostname = pattern.check_hostname
        context.verify_mode = pattern.verify_mode
        context.verify_flags = pattern.verify_flags
        context.options = pattern.options
        if pattern.keylog_filename:
            context.keylog_filename = pattern.keylog_filename
        context._bundle = str(cafile)  # noqa: SLF001 - our own class
        return context

    ssl.create_default_context = create
