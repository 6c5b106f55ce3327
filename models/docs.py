"""`[docs]` of `lama.toml`, and the report of the flow `docs`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from models.health_check import Checkout
from models.report import Grid, Severity, Value
from models.risk import RiskReport


class Form(StrEnum):
    """A form in which documentation is generated."""

    markdown = "md"
    html = "html"
    json = "json"
    inventory = "inv"


class Writer(StrEnum):
    """Who writes regions of documents that ask for it."""

    nobody = "nobody"
    model = "model"
    gemini = "gemini"


class Inventory(Value):
    """`[[docs.inventories]]`: the `objects.inv` of another project, whose names become links."""

    path: Path = Field(description="The file, as Sphinx and Lama write it; `~` is expanded.")
    url: str = Field(pattern=r"^https?://\S+$", description="Where that project's pages are.")

    @field_validator("path", mode="after")
    @classmethod
    def _expanded(cls, path: Path) -> Path:
        if not path.expanduser().is_absolute():
            raise ValueError("it is not an absolute path; begin it with / or ~/")
        return path.expanduser()


class DocsSettings(Value):
    """`[docs]`."""

    formats: tuple[Form, ...] = Field(default=tuple(Form), min_length=1, description="What is generated.")
    output: Path | None = Field(
        default=None,
        description="Folder in which each checkout gets one of its name; otherwise `docs` of the home.",
    )
    templates: Path | None = Field(
        default=None, description="Folder with Jinja2 templates of your own, which come before Lama's of the same name."
    )
    private: bool = Field(default=False, description="Whether names that begin with an underscore have a place, too.")
    inventories: tuple[Inventory, ...] = Field(default=(), description="Other projects whose names become links.")
    documents: tuple[str, ...] = Field(
        default=("README.md", "docs"),
        description="What people wrote, relative to a checkout: checked against the code.",
    )
    baseline: str = Field(
        default="docs/.truth.json",
        min_length=1,
        description="File, relative to a checkout, that says what the code was like when its documents were accepted.",
    )
    run_examples: bool = Field(
        default=False,
        description="Whether examples of documents and docstrings are run when they are checked, as your user and "
        "without network: only for checkouts that you trust.",
    )
    examples_timeout_s: float = Field(default=60.0, gt=0, description="Seconds for the examples of one document.")
    examples_memory_bytes: int = Field(
        default=4 * 1024**3, ge=64 * 1024**2, description="Address space of the process that runs them."
    )
    prose: Writer = Field(
        default=Writer.nobody,
        description="Who writes the regions of documents that are marked for it: `nobody`, `model`, or `gemini`.",
    )
    model: str | None = Field(default=None, description="Name of the `Lama Model` block that writes them.")
    coverage: float = Field(
        default=0.80, ge=0, le=1, description="Share of public objects with a docstring below which it is reported."
    )
    fail_level: Severity = Field(
        default=Severity.medium, description="Findings from this severity on make the exit code 1."
    )
    timeout_s: float = Field(default=900.0, gt=0, description="Seconds for one checkout.")

    @field_validator("baseline", mode="after")
    @classmethod
    def _beneath(cls, file: str) -> str:
        if file.startswith("/") or ".." in file.split("/") or "\0" in file:
            raise ValueError("it is not a path below the checkout")
        return file

    @field_validator("templates", "output", mode="after")
    @classmethod
    def _expanded(cls, path: Path | None) -> Path | None:
        if path is None:
            return None
        if not path.expanduser().is_absolute():
            raise ValueError("it is not an absolute path; begin it with / or ~/")
        return path.expanduser()


class Site(Value):
    """What was generated for one checkout."""

    checkout: str = Field(description="Its name.")
    output: str = Field(description="The folder of its pages.")
    modules: int = Field(description="Modules that have a page.")
    pages: int = Field(description="Files of the site.")
    written: int = Field(description="Files that were written in this run, because what they tell has changed.")
    removed: int = Field(description="Files that were taken away, because what they told of is gone.")
    objects: int = Field(description="Public objects.")
    documented: int = Field(description="Those of them with a docstring.")
    seconds: float = Field(description="How long it took.")

    @property
    def coverage(self) -> float:
        """Share of public objects with a docstring; 1 where there are none."""
        return self.documented / self.objects if self.objects else 1.0


class DocsReport(RiskReport):
    """The report of the flow `docs`."""

    sites: tuple[Site, ...] = Field(default=(), description="What was generated, by checkout.")
    patch: str = Field(default="", description="A unified diff that repairs what can be repaired for sure.")

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The sites as a table."""
        rows = tuple(
            (s.checkout, str(s.modules), str(s.written), str(s.removed), f"{s.coverage:.1%}", s.output)
            for s in self.sites
        )
        columns = ("Checkout", "Modules", "Written", "Removed", "Docstrings", "Folder")
        return (Grid("Sites", columns, rows),) if rows else ()


class DocsPart(BaseModel):
    """What of `lama.toml` documentation needs: commands that only need this read no more of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    checkouts: tuple[Checkout, ...] = ()
    docs: DocsSettings = DocsSettings()
