"""Lama's own documents are true, and would be found out if they were not."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.settings import CHECKOUT
from models.code import Codebase
from models.docs import DocsSettings
from models.health_check import Checkout
from models.report import Severity
from tasks.code.read import read
from tasks.docs.truth import check
from tasks.docs.truth.options import Options
from tasks.docs.truth.page import read_page
from tasks.docs.truth.resolve import Resolver


@pytest.fixture(scope="module")
def codebase(tmp_path_factory: pytest.TempPathFactory) -> Codebase:
    return read(CHECKOUT, cache=tmp_path_factory.mktemp("lama") / "cache.sqlite")


def test_lamas_documents_are_true(codebase: Codebase) -> None:
    checkout = Checkout(name="lama", path=CHECKOUT)
    findings, skips, figures = check(checkout, codebase, DocsSettings())
    assert [one.title for one in findings if one.severity.rank >= Severity.medium.rank] == []
    assert skips == []
    assert figures["docs_document_options_total"] > 100, "they are full of options and settings, which are judged"


@pytest.mark.parametrize(
    ("file", "old", "new", "found"),
    [
        ("docs/audit.md", "lama audit --fix --dry-run", "lama audit --mend --dry-run", "lama audit --mend"),
        ("docs/audit.md", "| `remedy` |", "| `remedies` |", "flows.audit.audit.remedies"),
        ("docs/mail.md", "lama mail fetch", "lama mail collectmail", "lama mail collectmail"),
        ("docs/audit.md", "audit(checkouts=[", "audit(paths=[", None),
    ],
)
def test_a_document_that_was_false_would_be_found(
    codebase: Codebase, file: str, old: str, new: str, found: str | None
) -> None:
    text = (CHECKOUT / file).read_text(encoding="utf-8")
    assert old in text
    page = read_page(file, text.replace(old, new))
    if found is not None:
        unknown, _ = Options.of(Path(CHECKOUT), Resolver(codebase)).unknown(page)
        assert found in {one.subject for one in unknown}
        return
    from tasks.docs.truth.drift import drift_of
    from tasks.docs.truth.spoken import Literals, speak

    resolver = Resolver(codebase)
    literals = Literals(resolver)
    told = [one for spoken in speak(page, resolver) for one in drift_of(file, spoken, None, resolver, literals)]
    assert "audit.paths" in {one.subject for one in told}
