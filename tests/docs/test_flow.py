"""The flow docs through a real Prefect server and a real database, and its command line."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from prefect.exceptions import ParameterTypeError

from blocks import settings as environment
from blocks.errors import ConfigurationError, StartError
from blocks.postgres import Postgres
from blocks.settings import CHECKOUT
from flows.docs import docs
from lama.cli import cli
from models.docs import DocsReport, Form
from models.report import Status
from models.report_kinds import read_report
from tasks.reports import store
from tests.bound import to_us
from tests.docs.packages import SHOP, Page, broken_links, site, write
from tests.flow_runs import artifacts_of
from tests.programs import require

# Prefect leaves the sockets of its clients to the garbage collector; nothing of ours can close them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def code(configured: Path) -> Path:
    """The configured checkout, with the shop in it, and a document that is not true."""
    root = configured.parent / "code"
    write(root, {**SHOP, "README.md": "# Shop\n\n`shop.orders.sum_up` adds up.\n"})
    configured.write_text(f'{configured.read_text()}\n[docs]\noutput = "{configured.parent / "sites"}"\n')
    return root


async def test_a_run_generates_checks_stores_and_shows(code: Path, configured: Path) -> None:
    name = configured.parent.name
    report = await docs(gate=1.0)
    (made,) = report.sites
    folder = Path(made.output)
    assert folder.parent == configured.parent / "sites"
    assert (made.modules, made.objects, made.documented) == (3, 10, 9)
    assert broken_links(folder / "html") == []
    kinds = {finding.key.partition(":")[0] for finding in report.findings}
    assert "docs.coverage" in kinds, "7 of 8, and all are wanted"
    assert any("shop.orders.sum_up" in finding.title for finding in report.findings), "a document that is not true"
    assert report.status is Status.degraded
    assert report.metrics["docs_coverage_ratio"] == pytest.approx(9 / 10)
    stored = store.load(Postgres.of(environment.settings()), report.run_id, DocsReport)
    assert stored == report
    assert isinstance(read_report(json.loads(report.model_dump_json())), DocsReport)
    shown = await artifacts_of(report.run_id)
    assert "Sites" in str(shown["docs"])
    assert float(str(shown["docs-progress"])) == 100.0

    again = await docs(gate=0.5)
    assert again.sites[0].written == 0
    assert f"docs.coverage:{name}" in again.changes.closed
    assert again.changes.since == report.run_id


async def test_what_cannot_be_read_makes_it_incomplete(code: Path) -> None:
    write(code, {"shop/broken.py": "def (:\n"})
    report = await docs(check=False, formats=[Form.json])
    assert report.status is Status.incomplete
    assert "shop/broken.py" in report.skipped[0].reason
    assert {name.partition("/")[0] for name in site(Path(report.sites[0].output))} == {"json"}


def put_sites(configured: Path, place: Path) -> None:
    """Have sites generated into `place`."""
    configured.write_text(configured.read_text().replace(str(configured.parent / "sites"), str(place)))


async def test_a_folder_that_cannot_hold_a_site_is_told_and_hides_nothing_else(code: Path, configured: Path) -> None:
    put_sites(configured, code / "shop")
    report = await docs(check=False)
    assert report.status is Status.incomplete
    assert "inside of the package shop" in report.skipped[0].reason
    assert report.sites == ()


async def test_what_cannot_be_done_is_refused(code: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing would be done"):
        await docs(formats=[], check=False)
    with pytest.raises(ParameterTypeError, match="less than or equal to 1"):
        await docs(gate=80)
    with pytest.raises(ConfigurationError, match="no id of a commit"):
        await docs(commit="main")


async def test_another_commit_than_the_one_of_a_push_is_no_all_clear(code: Path) -> None:
    report = await docs(check=False, commit="a" * 40)
    assert report.status is Status.incomplete
    assert "aaaaaaaaaaaa" in report.skipped[-1].reason


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The shop, and a home of its own."""
    monkeypatch.setenv("LAMA_HOME", str(tmp_path / "home"))
    environment.settings.cache_clear()
    yield write(tmp_path / "shop", SHOP)
    monkeypatch.undo()
    environment.settings.cache_clear()


def lama(*words: str) -> tuple[int, str]:
    """Exit code and output of a command."""
    result = CliRunner().invoke(cli, list(words), standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return int(result.return_value or 0), result.output


def test_the_command_builds_and_tells_what_it_did(shop: Path, tmp_path: Path) -> None:
    code, told = lama("docs", "build", str(shop), "--json", "--format", "html,json", "--output", str(tmp_path / "site"))
    made = json.loads(told)["site"]
    assert (code, made["modules"], made["objects"]) == (0, 3, 10)
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == [".lama-docs", "html", "json"]
    assert lama("docs", "build", str(shop), "--gate", "0.5")[0] == 0
    code, told = lama("docs", "build", str(shop), "--gate", "0.95")
    assert code == 1
    assert "95% are wanted" in told
    (shop / "shop/broken.py").write_bytes(b"\xff\xfe")
    assert lama("docs", "build", str(shop))[0] == 2


def test_checkouts_of_the_configuration_are_known_by_name(shop: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "lama.toml").write_text(
        f'[[checkouts]]\nname = "the shop"\npath = "{shop}"\n\n[docs]\nformats = ["json"]\n'
    )
    assert json.loads(lama("docs", "build", "the shop", "--json")[1])["site"]["checkout"] == "the shop"
    assert json.loads(lama("docs", "build", str(shop), "--json")[1])["site"]["written"] == 0, "it is the same checkout"
    other = write(tmp_path / "elsewhere" / "the shop", {"other.py": '"""Another."""\n'})
    made = json.loads(lama("docs", "build", str(other), "--json")[1])["site"]
    assert (made["removed"], made["checkout"]) == (0, "the shop"), "another folder of that name has a site of its own"
    (home / "lama.toml").write_text("[docs]\nformats = 3\n")
    with pytest.raises(ConfigurationError, match=r"lama\.toml:2: docs\.formats"):
        lama("docs", "build", str(shop))
    (home / "lama.toml").write_text("")
    with pytest.raises(ConfigurationError, match="no folder, and no checkout"):
        lama("docs", "build", "nowhere/at/all")


@pytest.mark.parametrize("command", ["check", "propose", "accept", "build", "serve"])
def test_a_checkout_whose_folder_is_gone_and_an_empty_path_are_refused(
    command: str, shop: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "lama.toml").write_text(f'[[checkouts]]\nname = "gone"\npath = "{tmp_path / "nowhere"}"\n')
    with pytest.raises(ConfigurationError, match=r"gone: .*nowhere cannot be read: No such file"):
        lama("docs", command, "gone")
    with pytest.raises(ConfigurationError, match="the path is empty"):
        lama("docs", command, "")


def test_nothing_is_accepted_where_there_are_no_documents(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="has no documents that could be accepted"):
        lama("docs", "accept", str(tmp_path / "empty"))
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_port_that_is_taken_is_said_before_anything_is_built(shop: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"port {port} cannot be listened on"):
            lama("docs", "serve", str(shop), "--port", str(port), "--output", str(tmp_path / "site"))
    assert not (tmp_path / "site").exists()


def test_one_of_something_is_no_plural(shop: Path, tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"single.py": '"""One."""\n'})
    _, told = lama("docs", "build", str(one), "--format", "json")
    assert "1 module read" in told
    assert "one: 1 module, " in told


def test_names_of_checkouts_are_completed(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "lama.toml").write_text(f'[[checkouts]]\nname = "bakery"\npath = "{shop}"\n')
    completing = ShellComplete(cli, {}, "lama", "_LAMA_COMPLETE")
    for command in ("build", "serve", "check", "propose", "accept"):
        assert "bakery" in [one.value for one in completing.get_completions(["docs", command], "ba")]
        assert "bakery" not in [one.value for one in completing.get_completions(["docs", command], "x")]


def test_a_build_without_changes_imports_little(shop: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from lama.cli import cli; "
        f"cli.main(['docs', 'build', {str(shop)!r}, '--output', {str(tmp_path / 'site')!r}], standalone_mode=False); "
        "print(sorted({'prefect', 'sqlalchemy', 'griffe', 'jinja2', 'graphlay', 'markdown_it'} & set(sys.modules)))"
    )
    for number in range(2):
        done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True)
        loaded = done.stdout.splitlines()[-1]
        assert "prefect" not in loaded
        assert "sqlalchemy" not in loaded
        assert number == 0 or loaded == "[]"


def fetched(url: str, host: str | None = None) -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode(), {key.lower(): value for key, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, "", {}


def test_a_served_site_follows_its_sources_and_shows_nothing_else(shop: Path, tmp_path: Path) -> None:
    require("python3")
    process = subprocess.Popen(
        [sys.executable, "-m", "lama.cli", "docs", "serve", str(shop), "--port", "0"],
        cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=to_us(),  # noqa: PLW1509 - it takes no locks
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = next(line for line in process.stdout if line.startswith("http")).split()[0]
        status, page, headers = fetched(f"{url}reference/shop.prices.html")
        assert status == 200
        assert "What things cost" in Page(page).text
        assert "script-src 'self'" in headers["content-security-policy"]
        assert fetched(url)[0] == 200
        (folder,) = (tmp_path / "home/docs").glob("shop-*-served/html")
        (folder / "leak").symlink_to(shop / "pyproject.toml")
        (folder / ".hidden").write_text("x")
        for path in ("leak", ".hidden", "../.lama-docs/manifest.json", "%2e%2e/.lama-docs/manifest.json", "nothing"):
            assert fetched(f"{url}{path}")[0] == 404, path
        assert fetched(url, host="evil.example")[0] == 400
        time.sleep(0.5)
        (shop / "shop/prices.py").write_text('"""What things are worth."""\n')
        until = time.monotonic() + 30
        while "are worth" not in fetched(f"{url}reference/shop.prices.html")[1]:
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
        process.stdout.close()
    assert code == 0
