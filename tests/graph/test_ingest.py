"""The ingest as a flow, against a real Prefect and a real Bolt server: what goes in, what goes, and what stays."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.graph import Graph
from blocks.settings import Settings, settings
from flows.graph_ingest import graph_ingest
from models.graph import Label, Ref, Type
from models.graph_report import GraphReport, Source
from models.report import Status
from tasks.graph.questions.asking import find_one, level_of
from tasks.graph.questions.impact import impact
from tasks.graph.store import Store
from tests.bolt_server import PASSWORD, BoltServer

_FILES = {
    "app/__init__.py": "",
    "app/store.py": '"""Keeps things."""\n\nclass Base:\n    def go(self): ...\n\ndef save(): ...\n',
    "app/page.py": "from app.store import save, Base\n\nclass Page(Base): ...\n\ndef show():\n    save()\n",
    "app/work.py": "from prefect import flow\nfrom app.page import show\n\n@flow(name='nightly')\n"
    "def nightly():\n    show()\n",
    "prefect.yaml": "deployments:\n- name: nightly\n  entrypoint: app/work.py:nightly\n  schedules:\n"
    "  - cron: '0 3 * * *'\n",
    "docs/store.md": "# The store\n\n`app.store.save` keeps things.\n",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoltServer]:
    running = BoltServer(tmp_path_factory.mktemp("graph"))
    try:
        running.start()
        yield running
    finally:
        running.kill()


@pytest.fixture
async def graph(server: BoltServer, monkeypatch: pytest.MonkeyPatch, configured: Path) -> AsyncIterator[Store]:
    """An empty graph, which settings lead to, and the checkout `<tmp_path>/code` of `lama.toml` with some files."""
    monkeypatch.setenv("LAMA_GRAPH_URI", f"bolt://{server.address}")
    monkeypatch.setenv("LAMA_GRAPH_USER", "root")
    monkeypatch.setenv("LAMA_GRAPH_PASSWORD", PASSWORD)
    settings.cache_clear()
    write(configured.parent / "code", _FILES)
    async with Store.open(Graph.of(settings())) as store:
        await store.prepare()
        await _empty(Graph.of(settings()))
        yield store


async def _empty(graph: Graph) -> None:
    async with graph.get_client() as driver:
        await driver.execute_query("MATCH (n) DETACH DELETE n")


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def figures(report: GraphReport, source: Source = Source.code) -> dict[str, int]:
    (one,) = [one for one in report.sources if one.source is source]
    return one.model_dump(exclude={"source"})


_CODE = [Source.code, Source.flows, Source.tables, Source.documents]


async def test_what_sources_say_is_there_and_a_second_time_nothing_is_sent(graph: Store, tmp_path: Path) -> None:
    report = await graph_ingest(sources=_CODE)
    assert report.status is Status.ok, report.skipped
    save = await find_one(graph, "store.save")
    assert save == Ref(Label.function, f"{tmp_path.name}:app.store.save")
    told = await impact(save, level_of(graph))
    sure = {(hit.ref.label.value, hit.ref.key.partition(":")[2]) for hit in told.hits if hit.sure}
    assert sure == {
        ("Function", "app.page.show"), ("Function", "app.work.nightly"), ("Flow", "nightly"),
        ("Deployment", "nightly/nightly"), ("Document", "docs/store.md"), ("Module", "app.page"),
        ("Module", "app.work"),
    }  # fmt: skip
    before = await graph.canonical_hash(history=True)
    again = await graph_ingest(sources=_CODE)
    assert [one.sent for one in again.sources] == [0, 0, 0, 0]
    assert again.summary.startswith("Nothing has changed")
    assert await graph.canonical_hash(history=True) == before


async def test_one_change_sends_one_module_and_what_is_gone_goes(graph: Store, tmp_path: Path) -> None:
    await graph_ingest(sources=_CODE)
    root = tmp_path / "code"
    write(root, {"app/page.py": _FILES["app/page.py"].replace("    save()\n", "    save(); save()\n")})
    assert figures(await graph_ingest(sources=_CODE)) | {"confirmed": 0} == {
        "sent": 1, "same": 4, "gone": 0, "kept": 0, "created": 0, "changed": 2, "confirmed": 0, "closed": 0,
    }  # fmt: skip
    (root / "app" / "work.py").unlink()
    (root / "docs" / "store.md").unlink()
    report = await graph_ingest(sources=_CODE)
    assert figures(report)["gone"] == figures(report, Source.documents)["gone"] == 1
    there = await graph.get(
        [Ref(Label.module, f"{tmp_path.name}:app.work"), Ref(Label.flow, f"{tmp_path.name}:nightly")]
    )
    assert there == {}
    history = await graph.history(Ref(Label.module, f"{tmp_path.name}:app.work"))
    assert history[-1].valid_to is not None, "it is closed, and not forgotten"


async def test_what_cannot_be_read_stands_as_it_was(graph: Store, tmp_path: Path) -> None:
    await graph_ingest(sources=_CODE)
    root = tmp_path / "code"
    before = await graph.canonical_hash()
    write(root, {"app/store.py": "def save(:\n", "docs/store.md": ""})
    (root / "docs" / "store.md").write_bytes(b"\xff\xfe")
    report = await graph_ingest(sources=_CODE)
    assert report.status is Status.incomplete
    assert {"app/store.py", "docs/store.md"} <= {word for skip in report.skipped for word in skip.reason.split()}
    assert figures(report)["kept"] == figures(report, Source.documents)["kept"] == 1
    assert await graph.canonical_hash() == before, "others still say that they call what is in there"
    (tmp_path / "code").rename(tmp_path / "away")
    report = await graph_ingest(sources=_CODE)
    assert report.status is Status.incomplete
    assert await graph.canonical_hash() == before
    (tmp_path / "away").rename(tmp_path / "code")
    write(root, {"app/store.py": _FILES["app/store.py"], "docs/store.md": _FILES["docs/store.md"]})
    assert (await graph_ingest(sources=_CODE)).status is Status.ok
    assert await graph.canonical_hash() == before


async def test_a_dry_run_writes_nothing_and_a_checkout_that_is_configured_no_more_goes(
    graph: Store, tmp_path: Path, configured: Path
) -> None:
    report = await graph_ingest(sources=_CODE, dry_run=True)
    assert figures(report)["sent"] == 5
    assert sum((await graph.count()).nodes.values()) == 0
    await graph_ingest(sources=_CODE)
    other = tmp_path / "other"
    write(other, {"thing.py": "def f(): ...\n"})
    configured.write_text(f'[[checkouts]]\nname = "other"\npath = "{other}"\n')
    await graph_ingest(sources=_CODE)
    assert set((await graph.get([Ref(Label.checkout, tmp_path.name), Ref(Label.checkout, "other")]))) == {
        Ref(Label.checkout, "other")
    }


async def test_a_graph_that_is_down_makes_the_report_incomplete(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMA_GRAPH_URI", "bolt://127.0.0.1:9")
    settings.cache_clear()
    report = await graph_ingest(sources=[Source.code])
    assert report.status is Status.incomplete
    assert "code is not in the graph as it is now" in report.skipped[0].reason
