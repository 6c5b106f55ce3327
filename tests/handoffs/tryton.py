"""A real Tryton on loopback, with an environment of its own: `tests.handoffs.tryton.running(folder)`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from blocks.tryton import Tryton
from tests.conftest import free_port
from tests.environments import environment

PACKAGES = ("trytond==8.2.1", "trytond_sale_opportunity==8.2.0", "proteus==8.2.0")
PASSWORD = "a password for tests"
_SETUP = """
import sys
from proteus import Model, config
config.set_trytond("sqlite:///crm", config_file=sys.argv[1])
currency = Model.get("currency.currency")(name="Euro", symbol="E", code="EUR")
currency.save()
party = Model.get("party.party")(name="Lama")
party.save()
company = Model.get("company.company")()
company.party, company.currency = party, currency
company.save()
user = Model.get("res.user")(1)
user.companies.append(company)
user.company = company
user.save()
"""


@dataclass
class RunningTryton:
    """The server; it may be killed and started again, with the same database."""

    environment: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def block(self) -> Tryton:
        url = f"http://127.0.0.1:{self.port}"
        return Tryton(url=url, database="crm", user="admin", password=SecretStr(PASSWORD))

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            command = [str(self.environment / "bin" / "trytond"), "-c", "trytond.conf", "-d", "crm"]
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(self.block.url, timeout=5, trust_env=False)
                return
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[RunningTryton]:
    """A Tryton with a database of its own in `folder`, with one company."""
    server = RunningTryton(environment("tryton", PACKAGES), folder, free_port())
    (folder / "trytond.conf").write_text(
        f"[database]\nuri = sqlite://\npath = {folder}\n[web]\nlisten = 127.0.0.1:{server.port}\n"
    )
    (folder / "crm.sqlite").touch()
    (folder / "password").write_text(PASSWORD)
    (folder / "setup.py").write_text(_SETUP)
    bin_ = server.environment / "bin"
    subprocess.run(
        [str(bin_ / "trytond-admin"), "-c", "trytond.conf", "-d", "crm", "-u", "sale_opportunity",
         "--activate-dependencies", "--email", "admin@example.com"],
        cwd=folder, env=os.environ | {"TRYTONPASSFILE": str(folder / "password")}, check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(
        [str(bin_ / "python"), "setup.py", str(folder / "trytond.conf")], cwd=folder, check=True, capture_output=True
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()
