"""Released versions come from registries on real sockets; what one does not tell is a gap and never an empty list."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from models.audit import AuditSettings
from tasks.advisories.package import ACTIONS, NPM, PYPI, Package
from tasks.audit.offered import offered, read_versions
from tests.audit.loopback import Loopback, Reply, Request

ALPHA, LEFT, SCOPED = Package(PYPI, "alpha"), Package(NPM, "left"), Package(NPM, "@team/left")
DOCUMENT = {
    "name": "left",
    "versions": {"1.10.0": {}, "1.9.0": {}, "2.0.0-rc.1": {}, "1.11.0": {"deprecated": "use 2"}, "not a version": {}},
}
PAGE = {
    "files": [
        {"filename": "alpha-1.9.tar.gz"},
        {"filename": "alpha-1.10-py3-none-any.whl"},
        {"filename": "alpha-1.11-py3-none-any.whl", "yanked": "broken"},
        {"filename": "alpha-2.0rc1.tar.gz"},
        {"filename": "alpha-3.0.tar.gz", "requires-python": ">=99"},
    ]
}


class Registries:
    def __init__(self) -> None:
        self.npm: Reply | None = Reply.of(DOCUMENT)
        self.pypi: Reply | None = Reply(200, json.dumps(PAGE).encode(), "application/vnd.pypi.simple.v1+json")
        self.server = Loopback(self.answer)

    def answer(self, request: Request) -> Reply | None:
        return self.pypi if request.path.startswith("/simple/") else self.npm

    @property
    def settings(self) -> AuditSettings:
        url = self.server.url
        return AuditSettings(index_url=f"{url}/simple", npm_registry_url=f"{url}/npm", timeout_s=2, budget_s=5)


@pytest.fixture
def registries() -> Iterator[Registries]:
    running = Registries()
    yield running
    running.server.close()


async def test_released_versions_come_oldest_first_without_early_and_withdrawn_ones(registries: Registries) -> None:
    wanted = [ALPHA, LEFT, SCOPED, Package(ACTIONS, "actions/checkout")]
    versions, gaps, yanked = await offered(wanted, registries.settings)
    assert versions == {ALPHA: ("1.9", "1.10"), LEFT: ("1.9.0", "1.10.0"), SCOPED: ("1.9.0", "1.10.0")}
    assert gaps == ()
    assert yanked == {ALPHA: ("1.11",)}
    asked = {request.path: request.headers for request in registries.server.requests}
    assert "/npm/@team%2Fleft" in asked
    assert "application/vnd.npm.install-v1+json" in asked["/npm/left"]["Accept"]


@pytest.mark.parametrize(
    "broken",
    [
        None,
        Reply.of({}, 500),
        Reply.of({}, 404),
        Reply(200, b"<html>log in</html>", "text/html"),
        Reply(200, b'{"versions": {"1.0'),
        Reply.of({"versions": []}),
        Reply.of({"versions": {"1.0.0": "x"}}),
    ],
)
async def test_a_registry_that_does_not_tell_is_a_gap_and_spoils_nothing_else(
    registries: Registries, broken: Reply | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.answers._AGAIN_AFTER_S", 0.01)
    registries.npm = broken
    versions, (gap,), _ = await offered([ALPHA, LEFT], registries.settings)
    assert set(versions) == {ALPHA}
    assert "left" in gap.reason
    assert gap.component == "npm registry"
    assert gap.hides == ("dependencies.range:",)


async def test_an_index_that_does_not_tell_is_a_gap_without_its_password() -> None:
    gone = AuditSettings(index_url="http://user:secret@127.0.0.1:9/simple", timeout_s=1, budget_s=2)
    versions, (gap,), _ = await offered([ALPHA], gone)
    assert not versions
    assert "alpha" in gap.reason
    assert "secret" not in f"{gap}"


def test_where_everything_is_deprecated_that_is_what_an_installation_gets() -> None:
    assert read_versions({"versions": {"1.0.0": {"deprecated": "x"}}}) == ("1.0.0",)
