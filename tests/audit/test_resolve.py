"""Whether upgrades fit together is what pip's resolver says of a real index, and `fits` is never a guess."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from blocks.package_index import PackageIndex
from models.severity import Severity
from tasks.audit.component import Origin, Scope
from tasks.audit.remedies import Upgrade
from tasks.audit.resolve import Fit, Trial, resolve, trials_of
from tests.audit.loopback import Loopback, Reply, Request
from tests.audit.making import component, constraint, inventory, locked, package


def wheel(name: str, version: str, *requires: str) -> bytes:
    content = io.BytesIO()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    folder = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{folder}/METADATA", metadata)
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
    return content.getvalue()


FILES = {
    "alpha-1.0-py3-none-any.whl": wheel("alpha", "1.0"),
    "alpha-2.0-py3-none-any.whl": wheel("alpha", "2.0"),
    "beta-1.0-py3-none-any.whl": wheel("beta", "1.0", "alpha<2"),
    "gamma-1.0.tar.gz": b"no archive: it would be an error to open it",
}


@pytest.fixture(scope="module")
def index() -> Iterator[PackageIndex]:
    def route(request: Request) -> Reply | None:
        name = request.path.strip("/").rpartition("/")[2]
        if name in FILES:
            return Reply(200, FILES[name], "application/octet-stream")
        links = "".join(f'<a href="/files/{file}">{file}</a>' for file in FILES if file.startswith(f"{name}-"))
        return (
            Reply(200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")
            if links
            else Reply(404, b"", "text/html")
        )

    server = Loopback(route)
    yield PackageIndex(url=SecretStr(f"{server.url}/simple"), timeout_s=5)
    server.close()


@pytest.mark.parametrize(
    ("requirements", "constraints", "fit", "words"),
    [
        (("beta==1.0", "alpha>=1.0"), (), Fit.fits, ""),
        (("beta==1.0",), ("alpha>=2.0",), Fit.conflicts, "beta 1.0 depends on alpha<2"),
        (("gamma==1.0",), (), Fit.not_checked, "No matching distribution found for gamma"),  # its build is never run
        ((), (), Fit.not_checked, "no requirement"),
    ],
)
async def test_pip_says_whether_they_fit(
    index: PackageIndex, requirements: tuple[str, ...], constraints: tuple[str, ...], fit: Fit, words: str
) -> None:
    told = await resolve(Trial(requirements, constraints), index, timeout_s=60, python="3.12")
    assert told.fit is fit, told.reason
    assert words in told.reason
    if fit is Fit.fits:
        assert told.versions == {"alpha": "1.0", "beta": "1.0"}


async def test_an_index_that_is_not_there_means_not_checked() -> None:
    gone = PackageIndex(url=SecretStr("http://user:secret@127.0.0.1:9/simple"), timeout_s=2)
    told = await resolve(Trial(("alpha==1.0",)), gone, timeout_s=60)
    assert told.fit is Fit.not_checked
    assert "secret" not in told.reason
    short = await resolve(Trial(("alpha==1.0",)), gone, timeout_s=0.05)
    assert (short.fit, "longer than" in short.reason) == (Fit.not_checked, True)


def step(name: str, away: str, to: str, file: str = "app/uv.lock") -> Upgrade:
    place = locked(name, away, file=file)
    return Upgrade("web", package(name), (away,), to, ("CVE-1",), (), Severity.high, True, (), (), (place,))


def test_a_trial_holds_what_the_project_asks_for_after_the_upgrades() -> None:
    taken = inventory(
        component(
            "alpha", requirement=">=1,<2", file="app/pyproject.toml", extras=("fast",), marker="os_name == 'posix'"
        ),
        component("beta", "1.0", requirement="==1.0", file="app/pyproject.toml"),
        component("wheel", requirement=">=1", file="app/pyproject.toml", scope=Scope.build),
        component("fork", file="app/pyproject.toml", origin=Origin.repository),
        constraint("deep", "0.9", requirement="==0.9", file="constraints.txt"),
        component("other", "1.0", file="elsewhere/requirements.txt"),
    )
    (trial,) = trials_of(taken, [step("alpha", "1.5", "2.1"), step("deep", "0.9", "1.1")])
    assert trial.requirements == ('alpha[fast]<3,>=2.1; os_name == "posix"', "beta==1.0")
    assert trial.constraints == ("deep==1.1", "deep>=1.1")
    assert trial.left_out == ("fork",)
