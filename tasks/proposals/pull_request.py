"""Changes of files as a pull request, made through GitHub's Git data API. Doing it again finds what was done before.

The branch is named after what it changes, so that two runs, or one that was killed half-way and its successor, meet at
the same branch and the same pull request. Base files that are not what was patched are never overwritten.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from blocks.errors import ConfigurationError, LamaError, UnavailableError
from tasks.proposals.change import Change

if TYPE_CHECKING:
    import httpx

    from blocks.github import GitHub

SOURCE = "github"
_TRIES = 3
_AGAIN_AFTER_S = 0.4
_LARGEST = 20_000_000
_MOST_BODY = 60_000  # characters; GitHub takes 65,536
_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
_PASSING = {500, 502, 503, 504}
_MOVED = ("the repository has moved", "Set the checkout's `origin` to where it is now.")
_MEANINGS = {
    301: _MOVED,
    302: _MOVED,
    307: _MOVED,
    308: _MOVED,
    401: ("the token is not accepted", "Set another one."),
    403: ("the token may not do that", "It has to be one that may write contents and pull requests of the repository."),
    404: (
        "there is no such repository, or the token may not see it",
        "Check the repository's name and what the token was issued for.",
    ),
}
"""What a status means, and what to do about it."""


class ProposalError(LamaError):
    """A pull request that was not made, and why."""


class State(StrEnum):
    """What became of a proposal."""

    opened = "opened"
    """A pull request was opened."""
    there = "there"
    """It is open since an earlier run."""
    declined = "declined"
    """Somebody has closed it without merging: it is not opened again."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on a host of code."""

    host: str
    owner: str
    name: str
    folder: str = ""
    """Where the target is in it; empty for its root."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.owner) or not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"{self.owner[:100]!r}/{self.name[:100]!r} is no repository.",
                component=SOURCE,
                remedy="Write it as `owner/name`.",
            )


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pull request."""

    state: State
    url: str
    number: int
    branch: str


def branch_of(changes: Sequence[Change], base: str, prefix: str = "lama/change-") -> str:
    """The name of the branch that brings `changes` to `base`: it follows from the contents before and after."""
    digest = hashlib.sha256(base.encode())
    for change in sorted(changes, key=lambda change: change.file):
        for part in (change.file.encode(), change.old, change.new):
            digest.update(len(part).to_bytes(8, "big") + part)
    return f"{prefix}{digest.hexdigest()[:16]}"


async def propose(
    github: GitHub,
    repository: Repository,
    changes: Sequence[Change],
    *,
    title: str,
    body: str,
    base: str | None = None,
    prefix: str = "lama/change-",
) -> Proposal:
    """Open a pull request with `changes`, or find the one that is there.

    Args:
        github: the API, with a token that may write to the repository.
        repository: where to.
        changes: what to change; files are relative to `repository.folder`.
        title: of the commit and the pull request.
        body: of the pull request, Markdown.
        base: the branch to change; the repository's default branch without one.
        prefix: what the name of the branch begins with.

    Raises:
        ConfigurationError: the token or the repository is not accepted.
        ProposalError: the base does not hold the files that were patched, or the branch holds something else.
        UnavailableError: GitHub cannot be reached, fails, or wants to be left alone for a while.
    """
    if not changes:
        raise ProposalError("there is nothing to propose: the patch changes no file.", component=SOURCE)
    if repository.host != github.host:
        raise ConfigurationError(
            f"the repository is on {repository.host}, and the API is that of {github.host}.",
            component=SOURCE,
            remedy="Set the API's address to that of the repository's host.",
        )
    async with github.get_client() as client:
        api = _Api(client, repository)
        base = base or await api.default_branch()
        branch = branch_of(changes, base, prefix)
        earlier = await api.pull_request(branch, base)
        if earlier is not None:
            return earlier
        head = await api.head(branch)
        if head is None:
            await _push(api, repository, changes, base=base, branch=branch, title=title)
        elif not await _holds(api, repository, changes, head):
            raise ProposalError(
                f"the branch {branch} is there and holds something else.", component=SOURCE, remedy="Delete it."
            )
        return await api.open(branch, base, title, body[:_MOST_BODY])


async def _push(
    api: _Api, repository: Repository, changes: Sequence[Change], *, base: str, branch: str, title: str
) -> None:
    """Make the branch: blobs, a tree, a commit, and only then the name, so that half of it is never seen."""
    parent = await api.head(base)
    if parent is None:
        raise ProposalError(f"there is no branch {base[:100]!r} to propose to.", component=SOURCE)
    root = await api.tree_of(parent)
    entries = []
    for change in changes:
        path = _path(repository, change)
        mode, sha = await api.entry(root, path)
        if sha != git_blob(change.old):
            raise ProposalError(
                f"{path} on {base} is not what was patched.",
                component=SOURCE,
                remedy="Bring the checkout up to date with it, look again, and propose then.",
            )
        entries.append({"path": path, "mode": mode, "type": "blob", "sha": await api.blob(change.new)})
    tree = await api.tree(root, entries)
    commit = await api.commit(title, tree, parent)
    if not await api.name(branch, commit) and not await _holds(api, repository, changes, await api.head(branch)):
        raise ProposalError(f"the branch {branch} came up meanwhile and holds something else.", component=SOURCE)


async def _holds(api: _Api, repository: Repository, changes: Sequence[Change], commit: str | None) -> bool:
    """Whether the files of `commit` are those that the patch makes."""
    if commit is None:
        return False
    root = await api.tree_of(commit)
    for change in changes:
        if (await api.entry(root, _path(repository, change)))[1] != git_blob(change.new):
            return False
    return True


def git_blob(content: bytes) -> str:
    """The name that git gives a content: SHA-1 over `blob`, its length, a NUL and itself."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def in_code(text: str) -> str:
    """`text` as code of Markdown: an `@` in it calls nobody."""
    return f"`{' '.join(text.replace('`', '').split())}`"


def _path(repository: Repository, change: Change) -> str:
    return str(PurePosixPath(repository.folder) / change.file) if repository.folder else change.file


class _Api:
    """The few endpoints that are needed of one repository."""

    def __init__(self, client: httpx.AsyncClient, repository: Repository) -> None:
        self._client = client
        self._owner = repository.owner
        self._at = f"repos/{repository.owner}/{repository.name}"
        self._folders: dict[str, dict[str, Mapping[str, Any]]] = {}

    async def default_branch(self) -> str:
        described = await self._json("GET", "")
        return _text(described, "default_branch")

    async def head(self, branch: str) -> str | None:
        """The commit of a branch; None when there is no such branch."""
        answer = await self._ask("GET", f"/git/ref/heads/{quote(branch)}", missing=True)
        if answer is None:
            return None
        return _text(_object(answer).get("object"), "sha")

    async def tree_of(self, commit: str) -> str:
        described = await self._json("GET", f"/git/commits/{quote(commit, safe='')}")
        return _text(described.get("tree"), "sha")

    async def entry(self, root: str, path: str) -> tuple[str, str]:
        """Mode and blob of a regular file below the tree `root`.

        Raises:
            ProposalError: there is no such file.
        """
        folder = root
        *above, name = PurePosixPath(path).parts
        for part in above:
            inner = (await self._folder(folder)).get(part)
            if inner is None or inner.get("type") != "tree":
                break
            folder = _text(inner, "sha")
        else:
            found = (await self._folder(folder)).get(name)
            if found is not None and found.get("mode") in {"100644", "100755"}:
                return str(found["mode"]), _text(found, "sha")
        raise ProposalError(
            f"{path} is not in the repository, or is no regular file.",
            component=SOURCE,
            remedy="Push what the checkout holds, and propose then.",
        )

    async def blob(self, content: bytes) -> str:
        data = {"content": base64.b64encode(content).decode(), "encoding": "base64"}
        return _text(await self._json("POST", "/git/blobs", data), "sha")

    async def tree(self, base: str, entries: Sequence[Mapping[str, Any]]) -> str:
        return _text(await self._json("POST", "/git/trees", {"base_tree": base, "tree": list(entries)}), "sha")

    async def commit(self, message: str, tree: str, parent: str) -> str:
        data = {"message": message, "tree": tree, "parents": [parent]}
        return _text(await self._json("POST", "/git/commits", data), "sha")

    async def name(self, branch: str, commit: str) -> bool:
        """Name a commit; False when the name is taken."""
        answer = await self._ask("POST", "/git/refs", {"ref": f"refs/heads/{branch}", "sha": commit}, taken=True)
        return answer is not None

    async def pull_request(self, branch: str, base: str) -> Proposal | None:
        """The pull request of `branch` that is open, or was closed without being merged."""
        query = f"?state=all&head={quote(f'{self._owner}:{branch}', safe='')}&base={quote(base, safe='')}&per_page=100"
        answer = await self._ask("GET", f"/pulls{query}")
        pulls = [one for one in answer if isinstance(one, dict)] if isinstance(answer, list) else None
        if pulls is None:
            raise _odd()
        mine = [one for one in pulls if isinstance(one.get("head"), dict) and one["head"].get("ref") == branch]
        if running := [one for one in mine if one.get("state") == "open"]:
            return _proposal(running[0], State.there, branch)
        if closed := [one for one in mine if one.get("state") == "closed" and not one.get("merged_at")]:
            return _proposal(closed[0], State.declined, branch)
        return None

    async def open(self, branch: str, base: str, title: str, body: str) -> Proposal:
        data = {"title": title, "body": body, "head": branch, "base": base, "maintainer_can_modify": True}
        answer = await self._ask("POST", "/pulls", data, taken=True)
        if answer is not None:
            return _proposal(_object(answer), State.opened, branch)
        found = await self.pull_request(branch, base)
        if found is None:
            raise ProposalError(
                f"GitHub refuses a pull request from {branch} to {base}, and shows none that is there.",
                component=SOURCE,
            )
        return found

    async def _folder(self, tree: str) -> dict[str, Mapping[str, Any]]:
        if tree not in self._folders:
            described = await self._json("GET", f"/git/trees/{quote(tree, safe='')}")
            entries = described.get("tree")
            if not isinstance(entries, list):
                raise _odd()
            self._folders[tree] = {str(one.get("path")): one for one in entries if isinstance(one, dict)}
        return self._folders[tree]

    async def _json(self, method: str, path: str, data: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        return _object(await self._ask(method, path, data))

    async def _ask(
        self,
        method: str,
        path: str,
        data: Mapping[str, Any] | None = None,
        *,
        missing: bool = False,
        taken: bool = False,
    ) -> Any:
        """The decoded answer; None for 404 where something may be `missing`, for 422 where a name may be `taken`.

        Asked again after a moment's trouble. That is safe: contents are named by what they are, and a name or a pull
        request that the lost answer spoke of is found to be there.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                status, headers, content = await self._once(method, path, data)
                if status < 300:
                    return _decoded(content)
            except UnavailableError:
                if attempt == _TRIES:
                    raise
            else:
                if (missing and status == 404) or (taken and status == 422):
                    return None
                if status not in _PASSING or attempt == _TRIES:
                    raise _refused(status, headers, content)
            await asyncio.sleep(_AGAIN_AFTER_S * attempt * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        raise AssertionError  # the last attempt has returned or raised

    async def _once(
        self, method: str, path: str, data: Mapping[str, Any] | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        import httpx  # noqa: PLC0415

        try:
            async with self._client.stream(method, self._at + path, json=data) as response:
                content = bytearray()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > _LARGEST:
                        raise UnavailableError(f"answered more than {_LARGEST} bytes.", component=SOURCE)
                return response.status_code, response.headers, bytes(content)
        except httpx.HTTPError as error:  # its text may tell of headers: only its kind is told
            raise UnavailableError(f"cannot be reached ({type(error).__name__}).", component=SOURCE) from None


def _refused(status: int, headers: Mapping[str, str], content: bytes) -> LamaError:
    said = _message(content)
    limited = headers.get("x-ratelimit-remaining") == "0" or "retry-after" in headers or "rate limit" in said
    if status == 429 or (status == 403 and limited):
        return UnavailableError(f"wants no more requests for now{_until(headers)}.", component=SOURCE)
    if status in _MEANINGS:
        what, remedy = _MEANINGS[status]
        return ConfigurationError(f"{what}{said}.", component=SOURCE, remedy=remedy)
    if status in {409, 422}:
        return ProposalError(f"GitHub refuses ({status}){said}.", component=SOURCE)
    return UnavailableError(f"answered {status}.", component=SOURCE)


def _until(headers: Mapping[str, str]) -> str:
    after, reset = headers.get("retry-after", ""), headers.get("x-ratelimit-reset", "")
    seconds = int(after) if after.isdigit() else int(reset) - int(time.time()) if reset.isdigit() else None
    return "" if seconds is None else f"; ask again in {max(seconds, 1)} s"


def _message(content: bytes) -> str:
    """What GitHub says, as one short line."""
    try:
        said = _decoded(content)
    except UnavailableError:
        return ""
    text = said.get("message") if isinstance(said, dict) else None
    return f": {' '.join(str(text).split())[:200].rstrip('.')}" if text else ""


def _decoded(content: bytes) -> Any:
    import orjson  # noqa: PLC0415

    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise UnavailableError("answered something that is not JSON.", component=SOURCE) from error


def _object(described: Any) -> Mapping[str, Any]:
    if not isinstance(described, dict):
        raise _odd()
    return described


def _text(described: Any, key: str) -> str:
    value = described.get(key) if isinstance(described, dict) else None
    if not isinstance(value, str) or not value:
        raise _odd()
    return value


def _proposal(described: Mapping[str, Any], state: State, branch: str) -> Proposal:
    number = described.get("number")
    if not isinstance(number, int):
        raise _odd()
    return Proposal(state, _text(described, "html_url"), number, branch)


def _odd() -> UnavailableError:
    return UnavailableError("answered JSON of another shape.", component=SOURCE)
