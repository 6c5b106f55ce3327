"""From a mailbox to the board, through a real Prefect: fetched, handed on, and shown by the commands."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from blocks.errors import ConfigurationError
from blocks.settings import Settings
from flows.handoffs import handoffs
from flows.mail import mail as fetch_mail
from lama.cli import cli
from models.report import Status
from tests.flow_runs import artifacts_of
from tests.mail.imap_server import RunningImap
from tests.mail.receiving import mail
from tests.mail.test_mime import FOLDER

TOML = """
[[mail.mailboxes]]
name = "{name}"
block = "{name}"
largest_mib = 0.1

[[handoffs.routes]]
name = "{name}"
source = "email:{name}"
extract = "task"
target = {{ kind = "board" }}
"""


@pytest.fixture
async def desk(configured: Path, imap: RunningImap, tmp_path: Path) -> str:
    """The name of a mailbox, of its block and of its route; the database is the session's."""
    name = f"desk-{abs(hash(tmp_path)) % 100_000}"
    with configured.open("a") as file:
        file.write(TOML.format(name=name))
    await imap.block.save(name)  # type: ignore[misc]
    return name


def lama(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(arguments), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.output


async def test_from_the_mailbox_to_the_board(desk: str, imap: RunningImap, migrated: Settings, tmp_path: Path) -> None:
    imap.put(mail("Roof leaks", "by 2027-01-15 please"), (FOLDER / "path-in-filename.eml").read_bytes())
    imap.put(mail("large", "x" * 200_000))
    tried = await fetch_mail(mailboxes=[desk], dry_run=True)
    assert "2 mails would be fetched. Nothing was done." in tried.summary
    report = await fetch_mail(mailboxes=[desk])
    assert (report.status, report.metrics[f"{desk}.new_mails"]) == (Status.degraded, 2)
    (finding,) = report.findings
    assert finding.key == f"mail.too-large:{desk}/3"
    assert "mail-progress" in await artifacts_of(report.run_id)
    told = str(await artifacts_of(report.run_id)) + report.model_dump_json()
    assert "Roof" not in told
    assert "example.org" not in told
    await handoffs(routes=[desk], linger_s=0.0)
    again = await fetch_mail(mailboxes=[desk])
    assert again.metrics[f"{desk}.new_mails"] == 0

    await asyncio.to_thread(_commands, desk, tmp_path)


def _commands(desk: str, tmp_path: Path) -> None:
    (source,) = json.loads(lama("mail", "status", "--json")[1])
    assert (source["name"], source["routes"], source["uid"], source["too_large"]) == (desk, [desk], 3, 1)
    assert desk in lama("mail", "status")[1]
    listed = json.loads(lama("board", "list", "--route", desk, "--json")[1])
    assert [task["due"] for task in listed] == ["2027-01-15", None]
    roof, other = (str(task["id"]) for task in listed)
    assert "Roof leaks" in lama("board", "list", "--route", desk)[1]
    assert "by 2027-01-15 please" in lama("board", "show", roof)[1]
    assert "is changed" in lama("board", "set", roof, "--state", "done", "--note", "mended", "--tag", "roof")[1]
    shown: dict[str, Any] = json.loads(lama("board", "show", roof, "--json")[1])
    assert (shown["state"], shown["tags"], shown["entries"][-1]["text"]) == ("done", ["roof"], "mended")
    assert len(json.loads(lama("board", "list", "--route", desk, "--json")[1])) == 1
    assert len(json.loads(lama("board", "list", "--route", desk, "--state", "all", "--json")[1])) == 2
    assert lama("board", "list", "--route", desk, "--state", "dropped") == (0, "There are no such tasks.\n")
    (file,) = json.loads(lama("board", "show", other, "--json")[1])["entries"][0]["attachments"]
    out = tmp_path / "file"
    lama("board", "file", other, file["sha256"][:8], "--output", str(out))
    assert out.stat().st_size == file["size"]
    with pytest.raises(Exception, match="no file, or several"):
        lama("board", "file", other, "0000000")
    with pytest.raises(Exception, match="there is no task"):
        lama("board", "show", "999999")
    with pytest.raises(Exception, match="say what is to change"):
        lama("board", "set", other)
    assert "Task" in lama("board", "add", "Call Ann", "--due", "2027-03-01", "--tag", f"by-hand-{desk}")[1]
    (made,) = json.loads(lama("board", "list", "--tag", f"by-hand-{desk}", "--json")[1])
    assert made["title"] == "Call Ann"


async def test_a_mailbox_that_is_away_makes_the_report_incomplete(
    desk: str, imap: RunningImap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.mail._fetch.retry_delay_seconds", 0.01)
    imap.stop()
    report = await fetch_mail(mailboxes=[desk])
    assert report.status is Status.incomplete
    assert [skip.component for skip in report.skipped] == [desk]


async def test_what_cannot_be_used_is_refused(desk: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no mailbox 'nobody'"):
        await fetch_mail(mailboxes=["nobody"])
    with pytest.raises(ConfigurationError, match="empty list"):
        await fetch_mail(mailboxes=[])


async def test_one_without_its_block_does_not_keep_the_others_waiting(
    desk: str, imap: RunningImap, configured: Path
) -> None:
    with await asyncio.to_thread(configured.open, "a") as file:
        file.write(TOML.format(name=f"{desk}-b"))
    imap.put(mail("one"))
    report = await fetch_mail(mailboxes=[f"{desk}-b", desk])
    assert report.status is Status.incomplete
    (skip,) = report.skipped
    assert f"needs the block '{desk}-b'" in skip.reason
    assert report.metrics[f"{desk}.new_mails"] == 1


def test_a_route_is_tried_with_a_mail(desk: str, tmp_path: Path) -> None:
    path = tmp_path / "mail.eml"
    path.write_bytes(mail("[Roof] It leaks", "urgent"))
    (step,) = json.loads(lama("handoffs", "test", desk, "--message", str(path), "--json")[1])
    assert step["becomes"] == "handed on"
    assert (step["payload"]["title"], step["payload"]["tags"]) == ("It leaks", ["roof"])
