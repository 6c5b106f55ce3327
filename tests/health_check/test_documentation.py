"""The documentation module on real checkouts: what it finds, and what it leaves alone."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from blocks.settings import CHECKOUT, Settings
from models.configuration import Configuration
from models.health_check import Checkout, DocumentationSettings
from models.report import Report, Status
from tasks.health_check.documentation.look import look
from tasks.health_check.documentation.survey import survey
from tasks.health_check.documentation.surveyed import Request
from tasks.target import Target

# The steps run without a flow around them here, and Prefect leaves the sockets of its clients to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Logger 'prefect.task_runs' attempted:UserWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

_APP = '''"""An application."""
from prefect import flow
from pydantic_settings import BaseSettings
from pydantic import BaseModel, Field

class Base:
    """A base."""

    def run(self):
        """Run it."""

class Child(Base):
    """Inherits its word about run."""

    def run(self): ...

class Settings(BaseSettings):
    """Settings."""

    told: str = Field(default="", description="Told.")
    untold: str = ""
    noted: str = ""
    """Noted here."""

@flow(name="ship")
def ship(where: str, how: str = "fast"):
    """Ship it.

    Args:
        where: The place.
    """
    emit("acme.parcel.sent")

def bare(): ...

def _private(): ...
'''


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    (root / "acme").mkdir(parents=True)
    (root / "acme" / "__init__.py").write_text("")
    (root / "acme" / "app.py").write_text(_APP)
    (root / "docs").mkdir()
    (root / "pyproject.toml").write_text('[project]\nname = "acme"\n[project.scripts]\nacme = "acme.app:bare"\n')
    (root / "Makefile").write_text("run:\n\techo\n")
    (root / "README.md").write_text("# Acme\n")
    return root


def _target(*checkouts: Checkout, **limits: object) -> Target:
    configuration = Configuration(checkouts=checkouts, documentation=DocumentationSettings.model_validate(limits))
    return Target(Settings(), configuration, checkouts, "run", socket.gethostname())


async def _look(root: Path, **limits: object) -> Report:
    return await look(_target(Checkout(name="shop", path=root), **limits))


def _broken(root: Path, text: str) -> list[tuple[str, str]]:
    (root / "README.md").write_text(text)
    found = survey(Request(root=root, packages=(), exclude=(), documents=("README.md",)))
    return [(broken.kind, broken.text) for broken in found.broken]


async def test_documents_that_nobody_can_read_are_counted(checkout: Path, prefect_server: Settings) -> None:
    for name in ("docs/index.rst", "docs/deep/more.adoc", "docs/picture.png", "docs/guide.md"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("text\n")
    report = await _look(checkout)
    assert report.status is Status.incomplete
    assert "2 documents are not Markdown (.adoc, .rst)" in report.skipped[0].reason
    left_out = await look(_target(Checkout(name="shop", path=checkout, exclude=("docs/index.rst", "docs/deep"))))
    assert left_out.skipped == ()


async def test_gaps_become_findings(checkout: Path, prefect_server: Settings) -> None:
    (checkout / "README.md").write_text("See `acme.app.gone`, [guide](docs/guide.md) and `acme.app.ship`.\n")
    report = await _look(checkout, docstring_coverage=0.9)
    assert {finding.key for finding in report.findings} == {
        "documentation.coverage:shop/acme",
        "documentation.flow:shop/acme.app.ship",
        "documentation.settings:shop/acme.app.Settings",
        "documentation.name:shop/README.md#acme.app.gone",
        "documentation.link:shop/README.md#docs/guide.md",
    }
    by_key = {finding.key: finding for finding in report.findings}
    assert by_key["documentation.flow:shop/acme.app.ship"].evidence == {"parameters": ["how"]}
    assert by_key["documentation.settings:shop/acme.app.Settings"].evidence == {"fields": ["untold"]}
    # app, Base, Base.run, Child, Child.run (says its base), Settings, ship; not bare.
    assert by_key["documentation.coverage:shop/acme"].evidence["documented"] == 7
    assert by_key["documentation.coverage:shop/acme"].evidence["total"] == 8
    assert report.metrics["broken_references_total"] == 2
    assert report.status is Status.ok, "gaps in the documentation endanger nothing"


@pytest.mark.parametrize(
    "text",
    [
        "`acme.app`", "`acme.app.ship()`", "`acme.app:bare`", "`acme.app.Settings.anything`", "`acme.app.flow`",
        "`acme/app.py`", "`acme/app.py:12`", "`./acme/`", "`acme/NAME.py`", "`acme/<name>.py`", "`acme/*.py`",
        "`acme/docs`", "`acme.toml`", "`acme.parcel.sent`", "`other.thing.else`", "`numpy.array`",
        "`acme bare`", "`make run`", "`acme --help`", "`python -m acme.app`", "`e.g. this`", "`make sure it works`",
        "```\nacme.app.gone docs/gone.md\n```", "    `acme.app.gone`", "<!-- `acme.app.gone` -->",
        "[x](https://example.com/gone)", "[x](#part)", "[x](mailto:a@b)", "[x](../../issues)", "[x](acme/app.py#L3)",
        "acme.app.gone is only a word here", "![x](https://example.com/x.png)",
    ],
)  # fmt: skip
def test_what_is_right_or_not_ours_is_left_alone(checkout: Path, text: str) -> None:
    assert [found for found in _broken(checkout, text) if found != ("command", "make sure")] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`acme.gone`", ("name", "acme.gone")),
        ("`acme.app.gone()`", ("name", "acme.app.gone")),
        ("`acme.app:gone`", ("name", "acme.app.gone")),
        ("`acme.app.Base.gone`", ("name", "acme.app.Base.gone")),
        ("`acme/gone.py`", ("path", "acme/gone.py")),
        ("`acme/gone.py:12`", ("path", "acme/gone.py")),
        ("`docs/gone/`", ("path", "docs/gone/")),
        ("`acme fly --now`", ("command", "acme fly")),
        ("`make gone`", ("command", "make gone")),
        ("`python -m acme.gone`", ("name", "acme.gone")),
        ("[x](gone.md)", ("link", "gone.md")),
        ("[x][r]\n\n[r]: docs/gone%20.md", ("link", "docs/gone .md")),
        ("![x](docs/gone.png)", ("link", "docs/gone.png")),
        ("| a |\n|---|\n| `acme.gone` |", ("name", "acme.gone")),
    ],
)
def test_what_leads_nowhere_is_found(checkout: Path, text: str, found: tuple[str, str]) -> None:
    assert _broken(checkout, text) == [found]


async def test_a_checkout_that_is_not_there_is_a_skip(tmp_path: Path, prefect_server: Settings) -> None:
    report = await _look(tmp_path / "nowhere")
    assert report.status is Status.incomplete
    assert "nowhere" in report.skipped[0].reason
    assert report.skipped[0].may_hide("documentation.name:shop/README.md#a.b")
    assert not report.skipped[0].may_hide("documentation.name:other/README.md#a.b")


async def test_code_that_does_not_parse_is_not_called_documented(checkout: Path, prefect_server: Settings) -> None:
    (checkout / "acme" / "torn.py").write_text("def (:\n")
    (checkout / "README.md").write_text("`acme.torn.thing` `acme.gone`\n")
    report = await _look(checkout)
    assert report.status is Status.incomplete
    assert "acme/torn.py" in report.skipped[0].reason
    names = [finding.key for finding in report.findings if finding.key.startswith("documentation.name:")]
    assert names == ["documentation.name:shop/README.md#acme.gone"], "what a torn file defines cannot be known"


async def test_a_package_that_is_configured_and_absent_is_a_skip(checkout: Path, prefect_server: Settings) -> None:
    report = await look(_target(Checkout(name="shop", path=checkout, packages=("acme", "gone"))))
    assert report.status is Status.incomplete
    assert "gone" in report.skipped[0].reason


def test_no_document_leads_out_of_the_checkout(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("`acme.gone`")
    (checkout / "docs" / "out.md").symlink_to(tmp_path / "secret.md")
    (checkout / "docs" / "endless.md").symlink_to("/dev/zero")
    found = survey(Request(root=checkout, packages=(), exclude=(), documents=("docs",)))
    assert found.broken == ()
    assert {unread.place for unread in found.unread} == {"docs/out.md", "docs/endless.md"}


def test_nothing_of_the_checkout_is_executed(checkout: Path) -> None:
    marker = checkout / "executed"
    (checkout / "acme" / "trap.py").write_text(f"open({str(marker)!r}, 'w')\nraise SystemExit\n")
    (checkout / "acme" / "__init__.py").write_text("from acme import trap\n")
    found = survey(Request(root=checkout, packages=(), exclude=(), documents=()))
    assert found.code.packages == ("acme",)
    assert not marker.exists()


def test_what_is_excluded_is_not_read(checkout: Path) -> None:
    (checkout / "acme" / "torn.py").write_text("def (:\n")
    found = survey(Request(root=checkout, packages=(), exclude=("acme/torn.py", "docs"), documents=("docs",)))
    assert found.unread == ()
    assert found.documents_total == 0


def test_every_setting_and_flow_parameter_of_lama_is_described() -> None:
    found = survey(Request(root=CHECKOUT, packages=(), exclude=(), documents=("README.md", "docs")))
    assert found.code.flows == ()
    assert found.code.settings == ()
    assert found.broken == ()
    assert found.unread == ()
