"""A pull request is made once, from exactly what was patched, and nobody ever gets to see the token."""

from __future__ import annotations

import base64
import functools
import hashlib
import logging
import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr, ValidationError

from blocks.errors import ConfigurationError, LamaError, UnavailableError
from blocks.github import GitHub
from tasks.audit.describe import describe
from tasks.audit.patch import Patch, Untouched
from tasks.proposals import pull_request as module
from tasks.proposals.change import Change
from tasks.proposals.origin import read_address, repository_of
from tasks.proposals.pull_request import Proposal, ProposalError, Repository, State, branch_of, git_blob, propose
from tests.audit.loopback import Loopback, Reply, Request
from tests.audit.making import package
from tests.programs import require

TOKEN = "not-to-be-told-4711"
OLD, NEW = b"requests==2.19.0\n", b"requests==2.32.4\n"
_CONTEXT = functools.cache(ssl.create_default_context)
PATCH = Patch((Change("app/requirements.txt", OLD, NEW),))


class Host:
    """A repository in memory behind the endpoints that are needed of GitHub, with git's own rules."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.refs: dict[str, str] = {}
        self.pulls: list[dict[str, Any]] = []
        self.trouble: Callable[[Request], Reply | str | None] = lambda _request: None
        readme = self.put(b"hello\n")
        file = self.put(OLD)
        link = self.put(b"/etc/passwd")
        inner = self.put({"requirements.txt": ("100755", file), "link.txt": ("120000", link)})
        root = self.put({"README.md": ("100644", readme), "app": ("040000", inner)})
        self.refs["main"] = self.put({"tree": root, "parents": [], "message": "begin"})
        self.server = Loopback(self.answer)

    def put(self, thing: Any) -> str:
        sha = git_blob(thing) if isinstance(thing, bytes) else hashlib.sha1(repr(thing).encode()).hexdigest()
        self.objects[sha] = thing
        return sha

    def file(self, branch: str, path: str) -> tuple[str, bytes]:
        mode, sha = "040000", self.objects[self.refs[branch]]["tree"]
        for part in path.split("/"):
            mode, sha = self.objects[sha][part]
        return mode, self.objects[sha]

    def answer(self, request: Request) -> Reply | None:
        found = self.trouble(request)
        if found == "cut":
            return None
        if isinstance(found, Reply):
            return found
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Reply.of({"message": "Bad credentials"}, 401)
        url = urlsplit(request.path)
        if not url.path.startswith("/repos/team/web"):
            return Reply.of({"message": "Not Found"}, 404)
        reply = self._route(request, url.path.removeprefix("/repos/team/web"), parse_qs(url.query))
        return None if found == "lose" else reply

    def _route(self, request: Request, path: str, query: dict[str, list[str]]) -> Reply:  # noqa: PLR0911
        body = request.body
        if path in {"", "/"}:
            return Reply.of({"default_branch": "main"})
        if request.method == "GET" and path.startswith("/git/ref/heads/"):
            sha = self.refs.get(path.removeprefix("/git/ref/heads/"))
            return Reply.of({"object": {"sha": sha}}) if sha else Reply.of({"message": "Not Found"}, 404)
        if request.method == "GET" and path.startswith("/git/commits/"):
            return Reply.of({"tree": {"sha": self.objects[path.rpartition("/")[2]]["tree"]}})
        if request.method == "GET" and path.startswith("/git/trees/"):
            entries = self.objects[path.rpartition("/")[2]]
            kinds = {"040000": "tree"}
            told = [
                {"path": name, "mode": mode, "sha": sha, "type": kinds.get(mode, "blob")}
                for name, (mode, sha) in entries.items()
            ]
            return Reply.of({"tree": told, "truncated": False})
        if path == "/git/blobs":
            return Reply.of({"sha": self.put(base64.b64decode(body["content"]))}, 201)
        if path == "/git/trees":
            return Reply.of({"sha": self._grafted(body["base_tree"], body["tree"])}, 201)
        if path == "/git/commits":
            return Reply.of({"sha": self.put(body)}, 201)
        if path == "/git/refs":
            name = body["ref"].removeprefix("refs/heads/")
            if name in self.refs:
                return Reply.of({"message": "Reference already exists"}, 422)
            self.refs[name] = body["sha"]
            return Reply.of({"ref": body["ref"]}, 201)
        if path == "/pulls" and request.method == "GET":
            owner, _, branch = query["head"][0].partition(":")
            assert owner == "team"
            assert query["state"] == ["all"]
            return Reply.of([one for one in self.pulls if one["head"]["ref"] == branch])
        if path == "/pulls":
            assert body["head"] in self.refs
            if any(one["head"]["ref"] == body["head"] and one["state"] == "open" for one in self.pulls):
                return Reply.of({"message": "A pull request already exists"}, 422)
            number = len(self.pulls) + 1
            one = {"number": number, "state": "open", "merged_at": None, "head": {"ref": body["head"]}}
            self.pulls.append({**one, "html_url": f"https://github.com/team/web/pull/{number}", "told": body})
            return Reply.of(self.pulls[-1], 201)
        return Reply.of({"message": "Not Found"}, 404)

    def _grafted(self, base: str, entries: list[dict[str, str]]) -> str:
        tree = dict(self.objects[base])
        for entry in entries:
            name, slash, rest = entry["path"].partition("/")
            if slash:
                inner = self._grafted(tree[name][1], [{**entry, "path": rest}])
                tree[name] = ("040000", inner)
            else:
                assert entry["sha"] in self.objects
                tree[name] = (entry["mode"], entry["sha"])
        return self.put(tree)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(module, "_AGAIN_AFTER_S", 0.01)
    monkeypatch.setattr(ssl, "create_default_context", _CONTEXT)  # reading the certificates again takes 0.1 s
    running = Host()
    yield running
    running.server.close()


async def ask(host: Host, patch: Patch = PATCH, token: str = TOKEN, name: str = "web", **more: Any) -> Proposal:
    github = GitHub(url=host.server.url, token=SecretStr(token), timeout_s=5)
    assert token not in repr(github)
    repository = Repository(github.host, "team", name, folder=more.pop("folder", ""))
    return await propose(github, repository, patch.changes, title="Upgrade", body="Because.", **more)


async def test_a_pull_request_holds_the_patch_and_nothing_else(host: Host) -> None:
    made = await ask(host)
    assert made.state is State.opened
    assert made.url == "https://github.com/team/web/pull/1"
    assert re.fullmatch(r"lama/change-[0-9a-f]{16}", made.branch)
    assert host.file(made.branch, "app/requirements.txt") == ("100755", NEW)
    assert host.file(made.branch, "README.md") == ("100644", b"hello\n")
    commit = host.objects[host.refs[made.branch]]
    assert commit["parents"] == [host.refs["main"]]
    assert host.file("main", "app/requirements.txt")[1] == OLD
    assert host.pulls[0]["told"]["base"] == "main"


async def test_a_second_run_finds_the_first_ones_pull_request(host: Host) -> None:
    first = await ask(host)
    writes = [request for request in host.server.requests if request.method == "POST"]
    second = await ask(host)
    assert (second.state, second.number, second.branch) == (State.there, first.number, first.branch)
    assert writes == [request for request in host.server.requests if request.method == "POST"]


async def test_what_somebody_has_closed_is_not_opened_again_but_what_was_merged_and_undone_is(host: Host) -> None:
    first = await ask(host)
    host.pulls[0]["state"] = "closed"
    assert (await ask(host)).state is State.declined
    host.pulls[0]["merged_at"] = "2026-01-01T00:00:00Z"
    again = await ask(host)
    assert (again.state, again.number, again.branch) == (State.opened, 2, first.branch)


async def test_a_target_in_a_folder_of_its_repository_is_found(host: Host) -> None:
    made = await ask(host, Patch((Change("requirements.txt", OLD, NEW),)), folder="app")
    assert host.file(made.branch, "app/requirements.txt")[1] == NEW


@pytest.mark.parametrize("file", ["gone.txt", "app/link.txt", "README.md/x", "app"])
async def test_only_regular_files_that_are_there_are_changed(host: Host, file: str) -> None:
    with pytest.raises(ProposalError, match="is not in the repository"):
        await ask(host, Patch((Change(file, OLD, NEW),)))
    assert list(host.refs) == ["main"]


async def test_a_base_that_is_not_what_was_patched_is_refused_before_anything_is_written(host: Host) -> None:
    with pytest.raises(ProposalError, match="is not what was patched"):
        await ask(host, Patch((Change("app/requirements.txt", OLD + b"x", NEW),)))
    assert not [request for request in host.server.requests if request.method == "POST"]
    with pytest.raises(ProposalError, match="no branch 'other'"):
        await ask(host, base="other")
    with pytest.raises(ProposalError, match="nothing to propose"):
        await ask(host, Patch())


async def test_a_run_that_died_between_branch_and_pull_request_is_carried_on(host: Host) -> None:
    host.trouble = lambda request: (
        Reply.of({}, 500) if (request.method, request.path[-6:]) == ("POST", "/pulls") else None
    )
    with pytest.raises(UnavailableError):
        await ask(host)
    assert len(host.refs) == 2
    host.trouble = lambda _request: None
    assert (await ask(host)).state is State.opened


async def test_a_branch_that_holds_something_else_is_left_alone(host: Host) -> None:
    host.refs[branch_of(PATCH.changes, "main")] = host.refs["main"]
    with pytest.raises(ProposalError, match="holds something else"):
        await ask(host)
    assert not host.pulls


async def test_a_branch_that_another_run_made_meanwhile_is_used(host: Host) -> None:
    made = await ask(host)
    commit = host.refs.pop(made.branch)
    host.pulls.clear()

    def meanwhile(request: Request) -> None:
        if request.method == "POST" and request.path.endswith("/git/commits"):
            host.refs[made.branch] = commit

    host.trouble = meanwhile
    assert (await ask(host)).state is State.opened
    assert host.refs[made.branch] == commit


@pytest.mark.parametrize(
    ("where", "how"),
    [
        ("/git/blobs", "cut"),
        ("/git/trees", "500"),
        ("/git/commits", "html"),
        ("/git/refs", "lose"),
        ("/git/refs", "500"),
        ("/pulls", "cut"),
        ("/pulls", "lose"),
    ],
)
async def test_a_moment_of_trouble_passes_and_nothing_is_made_twice(host: Host, where: str, how: str) -> None:
    seen: list[str] = []

    def once(request: Request) -> Reply | str | None:
        if request.method != "POST" or not request.path.endswith(where) or seen:
            return None
        seen.append(where)
        return {"500": Reply.of({}, 502), "html": Reply(200, b"<html>", "text/html")}.get(how, how)

    host.trouble = once
    made = await ask(host)
    assert seen
    assert made.number == 1
    assert len(host.pulls) == 1
    assert host.file(made.branch, "app/requirements.txt")[1] == NEW


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (Reply.of({"message": "Bad credentials"}, 401), ConfigurationError, "token is not accepted"),
        (Reply.of({"message": "Resource not accessible"}, 403), ConfigurationError, "may not do that: Resource"),
        (Reply.of({}, 403, **{"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}), UnavailableError, "in 1 s"),
        (Reply.of({"message": "secondary rate limit"}, 403), UnavailableError, "no more requests for now"),
        (Reply.of({}, 429, **{"retry-after": "60"}), UnavailableError, "in 60 s"),
        (Reply.of({"message": "Git Repository is empty."}, 409), ProposalError, "Repository is empty"),
        (Reply.of({"message": "Moved"}, 301, location="http://elsewhere.invalid/"), ConfigurationError, "has moved"),
        (Reply.of({}, 500), UnavailableError, "answered 500"),
        (Reply(200, b"<html>", "text/html"), UnavailableError, "not JSON"),
        (Reply.of([]), UnavailableError, "another shape"),
        (Reply.of({"default_branch": 7}), UnavailableError, "another shape"),
        ("cut", UnavailableError, "cannot be reached"),
    ],
)
async def test_every_refusal_says_what_to_do_and_never_the_token(
    host: Host, reply: Reply | str, error: type[LamaError], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    host.trouble = lambda _request: reply
    with pytest.raises(error, match=re.escape(words)) as raised:
        await ask(host)
    assert TOKEN not in f"{raised.value!r} {raised.value} {raised.getrepr(style='long', showlocals=False)}"
    assert TOKEN not in caplog.text


async def test_a_repository_that_is_not_there_or_not_of_this_host_is_told(host: Host) -> None:
    with pytest.raises(ConfigurationError, match="no such repository"):
        await ask(host, name="other")
    with pytest.raises(ConfigurationError, match="token is not accepted"):
        await ask(host, token="another-one")
    github = GitHub(token=SecretStr(TOKEN))
    assert github.host == "github.com"
    with pytest.raises(ConfigurationError, match=r"on git\.example"):
        await propose(github, Repository("git.example", "team", "web"), PATCH.changes, title="x", body="y")


@pytest.mark.parametrize("token", ["", " ", "two words", "line\nend", "nul\0", "café"])
def test_a_token_that_cannot_be_sent_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ValidationError) as raised:
        GitHub(token=SecretStr(token))
    assert not token.strip() or token not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://github.com/team/web.git", ("github.com", "team", "web")),
        ("https://user:secret@GitHub.com/team/web", ("github.com", "team", "web")),
        ("git@github.com:team/web.git", ("github.com", "team", "web")),
        ("ssh://git@github.com:22/team/we.b", ("github.com", "team", "we.b")),
        ("/srv/git/web.git", None),
        ("https://github.com/team", None),
        ("https://github.com/../web", None),
        ("ext::sh -c evil", None),
        ("https://github.com/team/web/tree/main", None),
    ],
)
def test_addresses_of_repositories_are_understood(address: str, expected: tuple[str, str, str] | None) -> None:
    found = read_address(address)
    assert (found and (found.host, found.owner, found.name)) == expected


async def test_the_repository_of_a_checkout_is_its_origin_and_its_configuration_runs_nothing(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    inner = tmp_path / "web" / "app"
    inner.mkdir(parents=True)
    for command in (
        ["init", "-q"],
        ["remote", "add", "origin", "git@github.com:team/web.git"],
        ["config", "core.fsmonitor", f"touch {ran}"],
        ["config", "alias.remote", f"!touch {ran}"],
    ):
        require("git")
        subprocess.run(["git", *command], cwd=tmp_path / "web", check=True)  # noqa: ASYNC221 - done in a moment
    assert await repository_of(inner) == Repository("github.com", "team", "web", "app")
    assert not ran.exists()
    with pytest.raises(ConfigurationError, match="no `origin`"):
        await repository_of(tmp_path)


def test_the_text_of_a_pull_request_calls_nobody_and_says_what_is_left_to_do() -> None:
    left = Untouched("setup.cfg", package("beta"), "files of its kind are changed by people only.")
    patch = Patch(PATCH.changes, (left,), ("npm update x",))
    title, body = describe([], patch)
    assert title == "Upgrade dependencies"
    assert "`beta` in `setup.cfg`" in body
    assert "npm update x" in body
