"""Documents from files: read once, hostile ones behind limits, and never ok about a page that was not read."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from blocks.errors import ConfigurationError
from blocks.settings import Settings, settings
from flows.documents import documents
from lama.cli import cli
from models.documents import DocumentsSettings
from models.report import Status
from tasks.documents import reading
from tests.documents import making
from tests.handoffs import model_server

RULES = DocumentsSettings(page_s=3.0, document_s=20.0, memory_mib=700)


def put(folder: Path, name: str, content: bytes) -> Path:
    """A document whose content nobody has read before."""
    path = folder / name
    path.write_bytes(content + b"\n%" + uuid.uuid4().hex.encode())
    return path


def more(configured: Path, text: str) -> None:
    with configured.open("a") as file:
        file.write(text)
    settings.cache_clear()


async def test_documents_are_read_once_and_everything_has_its_page(configured: Path, migrated: Settings) -> None:
    folder = configured.parent / "papers"
    (folder / "below").mkdir(parents=True)
    lease = put(folder, "lease.pdf", making.pdf([[(72, 700, "Exhibit A")], making.LEASE]))
    put(folder / "below", "deed.PDF", making.pdf([making.DEED]))
    shutil.copy(lease, folder / "copy.pdf")
    more(configured, f'[documents]\nfolders = ["{folder}"]\n')
    report = await documents()
    assert report.status is Status.ok, report.skipped
    by_name = {one.name: one for one in report.documents}
    assert by_name["copy.pdf"].same_as is None, "in order of the files"
    assert by_name["lease.pdf"].same_as == "copy.pdf"
    assert report.metrics["duplicates_total"] == 1
    told = {field.name: (field.value, field.evidence.page) for field in by_name["lease.pdf"].fields}
    assert told["rent"] == ({"amount": 2450.0, "currency": "USD"}, 2)
    assert told["tenant"] == ("Grace Hopper", 2)
    (box,) = next(f for f in by_name["lease.pdf"].fields if f.name == "tenant").evidence.boxes
    assert 350 < box.left < 370
    assert 792 - 670 - 12 < box.top < box.bottom < 792 - 670 + 4
    deed = {field.name: field.value for field in by_name["deed.PDF"].fields}
    assert deed["seller"] == "Otto Lilienthal"
    again = await documents()
    assert again.metrics["duplicates_total"] == 3
    assert again.documents[0].fields == report.documents[0].fields
    assert (await documents(paths=[str(lease)], again=True)).documents[0].same_as is None
    import asyncio

    listed = await asyncio.to_thread(CliRunner().invoke, cli, ["documents", "list"], standalone_mode=False)
    digest = by_name["deed.PDF"].sha256
    assert digest[:12] in listed.output
    gone = await asyncio.to_thread(CliRunner().invoke, cli, ["documents", "forget", digest[:20]], standalone_mode=False)
    assert "taken out" in gone.output
    assert (await documents()).metrics["duplicates_total"] == 2


async def test_a_hostile_document_takes_no_other_with_it_and_every_page_that_was_not_read_is_named(
    configured: Path, migrated: Settings
) -> None:
    folder = configured.parent / "papers"
    folder.mkdir()
    put(folder, "a-bomb.pdf", making.bomb(900))
    put(folder, "b-locked.pdf", making.locked())
    put(folder, "c-broken.pdf", making.pdf([making.LEASE], broken=True))
    put(
        folder,
        "d-script.pdf",
        making.pdf([making.LEASE], catalog="/OpenAction << /S /JavaScript /JS (app.alert\\(1\\)) >>"),
    )
    put(folder, "e-garbage.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 100)
    put(folder, "f-text.pdf", b"no PDF at all")
    put(folder, "g-many.pdf", making.pdf([making.LEASE] * 400))
    put(folder, "h-loop.pdf", making.pdf([making.LEASE]).replace(b"/Kids [5 0 R]", b"/Kids [2 0 R]"))
    put(folder, "z-good.pdf", making.pdf([making.LEASE]))
    more(configured, "[documents]\nmemory_mib = 700\npage_s = 5\ndocument_s = 20\nmost_pages = 3\n")
    began = time.monotonic()
    report = await documents(paths=[str(folder)])
    assert time.monotonic() - began < 90
    assert report.status is Status.incomplete
    skipped = {skip.component: skip.reason for skip in report.skipped}
    assert "memory" in skipped["a-bomb.pdf: page 1"] or "longer" in skipped["a-bomb.pdf: page 1"]
    assert "encrypted" in skipped["b-locked.pdf: the document"]
    assert "no PDF that can be read" in skipped["e-garbage.pdf: the document"]
    assert skipped["f-text.pdf"] == "It is neither a PDF nor a PNG, JPEG or TIFF."
    assert "g-many.pdf: pages 4 to 400" in skipped
    by_name = {one.name: one for one in report.documents}
    rent = {"amount": 2450.0, "currency": "USD"}
    for name in ("a-bomb.pdf", "c-broken.pdf", "d-script.pdf", "g-many.pdf", "z-good.pdf"):
        assert rent in [field.value for field in by_name[name].fields], name
    assert "h-loop.pdf" in by_name, "it came to an end"
    assert [finding.title for finding in report.findings] == ["d-script.pdf: it holds a script."]


async def test_a_page_that_takes_too_long_is_left_and_the_next_is_read(tmp_path: Path) -> None:
    path = put(tmp_path, "slow.pdf", making.slow(60_000))
    content = await reading.read(path, "PDF", RULES.model_copy(update={"page_s": 1.0}))
    assert content.unread == {"page 1": "took longer than 1 s"}
    assert [page.number for page in content.read] == [2]


async def test_ten_thousand_pages_are_refused_beyond_the_limit_and_counted(tmp_path: Path) -> None:
    path = put(tmp_path, "long.pdf", making.pdf([[(72, 700, "x")]] * 10_000))
    content = await reading.read(path, "PDF", RULES.model_copy(update={"most_pages": 5}))
    assert content.pages == 10_000
    assert [page.number for page in content.read] == [1, 2, 3, 4, 5]
    assert list(content.unread) == ["pages 6 to 10000"]


async def test_a_stamp_does_not_hide_a_scan_nor_curves_a_page_without_text(tmp_path: Path) -> None:
    rules = DocumentsSettings(tesseract="/nowhere/tesseract")
    file = tmp_path / "stamped.pdf"
    file.write_bytes(making.scan(["Monthly rent: $2,450.00"], stamp="Exhibit 12"))
    content = await reading.read(file, "PDF", rules)
    assert [page.text.strip() for page in content.read] == ["Exhibit 12"]
    assert "Tesseract is not installed" in content.unread["page 1"]
    file.write_bytes(making.drawing())
    content = await reading.read(file, "PDF", rules)
    assert content.unread == {"page 1": "has drawings and no text that can be read"}
    assert [page.number for page in content.read] == [2]


def test_another_program_has_the_same_limit_of_memory() -> None:
    def become(mib: int) -> int:
        command = [sys.executable, "-m", "tasks.documents.child", "become", sys.executable, str(mib)]
        return subprocess.run([*command, "-c", "bytearray(600 << 20)"], check=False, capture_output=True).returncode

    assert (become(4096), become(512)) == (0, 1)


async def test_without_tesseract_a_scan_makes_it_incomplete_and_it_is_read_again_later(
    configured: Path, migrated: Settings
) -> None:
    path = put(configured.parent, "scan.pdf", making.scan(["Seller: Ann Lee"]))
    image = put(configured.parent, "photo.png", making.picture(["Buyer: Bo Dee"]))
    more(configured, '[documents]\ntesseract = "/nowhere/tesseract"\n')
    for _ in range(2):
        report = await documents(paths=[str(path), str(image)])
        assert report.status is Status.incomplete
        assert [(skip.component, "Tesseract is not installed" in skip.reason) for skip in report.skipped] == [
            ("scan.pdf: page 1", True), ("photo.png: page 1", True),
        ]  # fmt: skip
        assert [one.same_as for one in report.documents] == [None, None]


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed")
async def test_a_scan_is_read_by_tesseract_with_boxes_and_how_sure_it_is(configured: Path, migrated: Settings) -> None:
    path = put(configured.parent, "scan.pdf", making.scan(["Seller: Ann Lee", "Purchase price: $450,000"]))
    image = put(configured.parent, "photo.png", making.picture(["Buyer: Bo Dee"]))
    report = await documents(paths=[str(path), str(image)])
    assert report.status is Status.ok, report.skipped
    told = {field.name: field for one in report.documents for field in one.fields}
    assert {name: field.value for name, field in told.items()} == {
        "seller": "Ann Lee", "price": {"amount": 450_000.0, "currency": "USD"}, "buyer": "Bo Dee",
    }  # fmt: skip
    assert (told["seller"].evidence.confidence or 0) > 50
    (box,) = told["seller"].evidence.boxes
    assert 72 < box.left < box.right < 306
    assert 60 < box.top < box.bottom < 100


async def test_a_model_adds_what_it_quotes_and_one_that_is_away_makes_it_incomplete(
    configured: Path, migrated: Settings
) -> None:
    path = put(configured.parent, "prose.pdf", making.pdf([[(72, 700, "Jane Roe sells to John Doe for $450,000.")]]))
    name = f"d{uuid.uuid4().hex[:12]}"
    more(configured, f'[documents]\nmodel = "{name}"\n')
    with pytest.raises(ConfigurationError, match="which is not there"):
        await documents(paths=[str(path)])
    answer: dict[str, Any] = {"seller": "Jane Roe", "buyer": "Max Doe", "price": "$450,000"}
    with model_server.running() as server:
        server.think = lambda _: answer
        await server.block().asave(name)
        report = await documents(paths=[str(path)])
        assert report.status is Status.ok, report.skipped
        assert {(f.name, str(f.value), f.by) for f in report.documents[0].fields} == {
            ("seller", "Jane Roe", "model"), ("price", "{'amount': 450000.0, 'currency': 'USD'}", "model"),
        }  # fmt: skip
    other = put(configured.parent, "other.pdf", making.pdf([[(72, 700, "Ann Lee sells to Bo Dee for $1,450,000.")]]))
    report = await documents(paths=[str(other)])
    assert report.status is Status.incomplete
    assert [skip.component for skip in report.skipped] == ["other.pdf: by the model"]


async def test_what_is_not_there_is_refused_before_anything_is_read(configured: Path, migrated: Settings) -> None:
    with pytest.raises(ConfigurationError, match="say which documents"):
        await documents()
    with pytest.raises(ConfigurationError, match="no such file or folder"):
        await documents(paths=["/nowhere/at/all.pdf"])
    folder = configured.parent / "many"
    folder.mkdir()
    for number in range(3):
        put(folder, f"{number}.pdf", b"%PDF-")
    more(configured, "[documents]\nmost_files = 2\n")
    with pytest.raises(ConfigurationError, match="3 documents, more than 2"):
        await documents(paths=[str(folder)])
