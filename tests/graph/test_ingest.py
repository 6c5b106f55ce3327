"""The ingest as a flow, against a real Prefect and a real Bolt server: what goes in, what goes, and what stays."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.configuration import load_configuration
from blocks.errors import ConfigurationError
from blocks.graph import Graph
from blocks.postgres import Postgres
from blocks.settings import CHECKOUT, settings
from flows.graph_ingest import graph_ingest
from models.graph import Label, Ref
from models.graph_report import GraphReport, Source
from models.report import Finding, Severity, Status, compose
from models.risk import AuditReport, ComponentRecord
from tasks.graph.exposure import with_exposure
from tasks.graph.ingest.names import package_of
from tasks.graph.questions.asking import find_one, level_of
from tasks.graph.questions.cypher_script import to_cypher
from tasks.graph.questions.graphml import to_graphml
from tasks.graph.questions.impact import impact
from tasks.graph.store import Store
from tasks.health_check.architecture import snapshot
from tasks.health_check.architecture.drift import node_view
from tasks.health_check.architecture.look import failing_service
from tasks.reports import store as reports
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
        await _empty(Graph.of(settings()))
        yield store


async def _empty(graph: Graph) -> None:
    async with graph.get_client() as driver:
        await driver.execute_query("MATCH (n) DETACH DELETE n")


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(os.fsencode(text))


def remove(root: Path, *names: str) -> None:
    for name in names:
        (root / name).unlink()


def figures(report: GraphReport, source: Source = Source.code) -> dict[str, int]:
    (one,) = [one for one in report.sources if one.source is source]
    return one.model_dump(exclude={"source", "told"})


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
    remove(root, "app/work.py", "docs/store.md")
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
    write(root, {"app/store.py": "def save(:\n", "docs/store.md": os.fsdecode(bytes([255, 254]))})
    report = await graph_ingest(sources=_CODE)
    assert report.status is Status.incomplete
    assert {"app/store.py", "docs/store.md"} <= {word for skip in report.skipped for word in skip.reason.split()}
    assert figures(report)["kept"] == figures(report, Source.documents)["kept"] == 1
    assert await graph.canonical_hash() == before, "others still say that they call what is in there"
    write(root, {"__init__.py": ""})
    report = await graph_ingest(sources=_CODE)
    assert any("code is a package itself: its names would lack 'code'" in skip.reason for skip in report.skipped)
    assert await graph.canonical_hash() == before
    (root / "__init__.py").unlink()
    (tmp_path / "code").rename(tmp_path / "away")
    report = await graph_ingest(sources=_CODE)
    assert report.status is Status.incomplete
    assert await graph.canonical_hash() == before
    (tmp_path / "away").rename(tmp_path / "code")
    write(root, {"app/store.py": _FILES["app/store.py"], "docs/store.md": _FILES["docs/store.md"]})
    assert (await graph_ingest(sources=_CODE)).status is Status.ok
    assert await graph.canonical_hash() == before


async def test_what_cannot_be_read_stands_without_the_code_source_as_well(graph: Store, tmp_path: Path) -> None:
    few = [Source.flows, Source.documents]
    root = tmp_path / "code"
    write(root, {"docs/work.md": "# Work\n\n`app.work.nightly` runs.\n"})
    assert (await graph_ingest(sources=few)).status is Status.ok
    before = await graph.canonical_hash()
    write(root, {"app/work.py": "def nightly(:\n"})
    report = await graph_ingest(sources=few)
    assert report.status is Status.incomplete
    assert "app/work.py" in report.skipped[0].reason
    assert await graph.canonical_hash() == before
    write(root, {"app/work.py": _FILES["app/work.py"]})
    await graph_ingest(sources=few)
    assert await graph.canonical_hash() == before


async def test_pages_in_a_folder_that_cannot_be_looked_into_stand(
    graph: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "code", {"docs/guide/x.md": "# X\n\n`app.store.save`\n"})
    assert (await graph_ingest(sources=_CODE)).status is Status.ok
    before = await graph.canonical_hash()
    looked, closed = os.scandir, str(tmp_path / "code" / "docs" / "guide")

    def refused(path: object = ".") -> object:  # whoever runs the tests may be root, whom no mode keeps out
        if os.fspath(path) == closed:  # type: ignore[call-overload]
            raise PermissionError(13, "Permission denied", closed)
        return looked(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refused)
    report = await graph_ingest(sources=_CODE)
    assert report.status is Status.incomplete
    assert any("docs/guide" in skip.reason for skip in report.skipped)
    assert await graph.canonical_hash() == before


async def test_a_dry_run_writes_nothing_and_a_checkout_that_is_configured_no_more_goes(
    graph: Store, tmp_path: Path, configured: Path
) -> None:
    async with Graph.of(settings()).get_client() as driver:
        before = (await driver.execute_query("MATCH (n) RETURN count(n) AS n")).records[0]["n"]
        report = await graph_ingest(sources=_CODE, dry_run=True)
        after = (await driver.execute_query("MATCH (n) RETURN count(n) AS n")).records[0]["n"]
    assert figures(report)["sent"] == 5
    assert before == after == 0, "not even the version of the schema"
    assert sum((await graph.count()).nodes.values()) == 0
    await graph_ingest(sources=_CODE)
    write(tmp_path / "other", {"thing.py": "def f(): ...\n"})
    write(tmp_path, {configured.name: f'[[checkouts]]\nname = "other"\npath = "{tmp_path / "other"}"\n'})
    await graph_ingest(sources=_CODE)
    both = [Ref(Label.checkout, tmp_path.name), Ref(Label.checkout, "other")]
    assert list(await graph.get(both)) == both[1:]


async def test_naming_checkouts_takes_nothing_of_others_and_what_was_given_by_path_stays(
    graph: Store, tmp_path: Path, configured: Path
) -> None:
    await graph_ingest(sources=_CODE)
    write(tmp_path / "by_path", {"thing.py": "def f(): ...\n", "docs/a.md": "`thing.f`\n"})
    await graph_ingest(checkouts=[str(tmp_path / "by_path")], sources=_CODE)
    before = await graph.canonical_hash()
    for named in (tmp_path.name, str(tmp_path / "code")):
        report = await graph_ingest(checkouts=[named], sources=_CODE)
        assert sum(one.gone for one in report.sources) == 0, "it is the only one that is configured, and still one"
    await graph_ingest(sources=_CODE)
    assert await graph.canonical_hash() == before, "nor does a run over everything take what was given by its path"
    write(tmp_path, {configured.name: f'[[checkouts]]\nname = "mine"\npath = "{tmp_path / "by_path"}"\n'})
    await graph_ingest(sources=_CODE)
    both = [Ref(Label.checkout, name) for name in ("by_path", "mine", tmp_path.name)]
    assert list(await graph.get(both)) == both[:2], "what was configured is that no more"


async def test_another_folder_of_the_same_name_is_refused_and_all_of_a_checkout_can_go(
    graph: Store, tmp_path: Path
) -> None:
    for place in ("a", "b"):
        write(tmp_path / place / "shop", {"thing.py": f"def {place}(): ...\n"})
    await graph_ingest(checkouts=[str(tmp_path / "a/shop")], sources=_CODE)
    before = await graph.canonical_hash()
    with pytest.raises(ConfigurationError, match="lama graph forget shop"):
        await graph_ingest(checkouts=[str(tmp_path / "b/shop")], sources=_CODE)
    with pytest.raises(ConfigurationError, match="nothing of a checkout that is called 'nope'"):
        await graph_ingest(forget=["nope"])
    assert (await graph_ingest(forget=["shop"], dry_run=True)).metrics["graph_gone_total"] > 0
    assert await graph.canonical_hash() == before
    await graph_ingest(forget=["shop"])
    shop = Ref(Label.checkout, "shop")
    assert await graph.get([shop]) == {}
    assert (await graph.history(shop))[-1].valid_to is not None
    await graph_ingest(checkouts=[str(tmp_path / "b/shop")], sources=_CODE)
    assert await find_one(graph, "thing.b") == Ref(Label.function, "shop:thing.b")


async def test_what_a_star_hands_on_of_a_file_that_cannot_be_read_stands_as_it_was(
    graph: Store, tmp_path: Path
) -> None:
    root = tmp_path / "code"
    write(root, {
        "gp/__init__.py": "from gp.other import *\nfrom gp.core import *\n",
        "gp/other.py": "def unrelated(): ...\n",
        "gp/core.py": "class Base:\n    def go(self): ...\n\ndef base(): ...\n",
        "gp/use.py": "from gp import Base, base as b\n\nclass Mine(Base): ...\n\ndef call():\n    b()\n",
    })  # fmt: skip
    await graph_ingest(sources=_CODE)
    before = await graph.canonical_hash()
    write(root, {"gp/core.py": "class Base:\n    def go(self): ...\n\ndef base(): ...\n\ndef broken(:\n"})
    report = await graph_ingest(sources=_CODE)
    assert report.status is Status.incomplete
    assert await graph.canonical_hash() == before


_UNBORN = "".join(f"def f{n}():\n    {f'g{n - 1}()' if n else 'pass'}\n\ndef g{n}():\n    f{n}()\n" for n in range(20))


async def test_a_run_that_is_killed_is_completed_by_the_next_one(graph: Store, tmp_path: Path) -> None:
    """Wherever it was: the graph is then the same as after a run that nobody disturbed."""
    root = tmp_path / "code"
    write(root, {f"app/part{n}.py": f"from app import part{n // 2}\n{_UNBORN}" for n in range(1, 120)})
    await graph_ingest(sources=_CODE)
    undisturbed = await graph.canonical_hash()
    await _empty(Graph.of(settings()))
    run = "import asyncio; from flows.graph_ingest import graph_ingest; asyncio.run(graph_ingest(sources=['code']))"
    for least in (1, 2_500):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", run, cwd=CHECKOUT)
        try:
            while sum((await graph.count()).nodes.values()) < least and process.returncode is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            assert process.returncode is None, "it was to be killed while it writes"
        finally:
            process.kill()
            await process.wait()
    assert await graph.canonical_hash() != undisturbed
    report = await graph_ingest(sources=_CODE)
    assert report.status is Status.ok
    assert await graph.canonical_hash() == undisturbed
    assert [one.sent for one in (await graph_ingest(sources=_CODE)).sources] == [0, 0, 0, 0]


async def test_names_that_mean_harm_come_through_as_they_are(graph: Store, tmp_path: Path) -> None:
    root = tmp_path / "code"
    long = "x" * 10_000
    hostile = {
        "docs/'; DROP `x` \u202e.md": "# `}) DETACH DELETE n //\n\n`app.store.save` <script>alert(1)</script>\n",
        "docs/a\x01\ufffe\n.md": "# \x00 \x1b[31m\n\n`app.store`\n",
        "app/odd.py": f"def {long}(): ...\n\nclass \u00aa\u4e16: ...\n",
    }
    write(root, hostile)
    with contextlib.suppress(OSError):
        write(root, {f"docs/{os.fsdecode(bytes([255]))}.md": "# x\n"})
    report = await graph_ingest(sources=_CODE)
    assert report.status is Status.ok, report.skipped
    keys = {node.ref.key: node async for node in graph.all_nodes()}
    assert all(key.isprintable() for key in keys)
    assert any("DROP" in key for key in keys)
    assert any(key.startswith(f"{tmp_path.name}:app.odd.xxx") and len(key) <= 400 for key in keys)
    for write_it in (to_graphml, to_cypher):
        out = io.StringIO()
        counts = await write_it(graph.all_nodes(), graph.all_edges(), out)
        assert counts[0] == len(keys)
    assert await graph.get([Ref(Label.function, f"{tmp_path.name}:app.store.save")])


def _audit() -> AuditReport:
    now = datetime.now(UTC)
    evidence = {"ecosystem": "PyPI", "package": "prefect"}
    finding = Finding(
        key="dependencies.vulnerability:shop/pypi/prefect/GHSA-1", severity=Severity.high, component="shop",
        title="prefect 1 has GHSA-1.", detail="It is installed.", evidence=evidence,
    )  # fmt: skip
    return compose(
        AuditReport, capability="audit", summary="", findings=[finding], started_at=now, finished_at=now, run_id="a1",
        components=(
            ComponentRecord(
                target="shop", ecosystem="PyPI", name="prefect", version="1", file="lock", evidence="locked",
                direct=True,
            ),
        ),
        weaknesses=(
            {
                "target": "shop", "ecosystem": "PyPI", "package": "prefect", "versions": ["1"], "id": "GHSA-1",
                "names": ["GHSA-1"], "summary": "Bad.", "severity": "high", "fixed": "2", "score": 7.5, "url": "x",
            },
        ),
    )  # fmt: skip


async def test_an_advisory_is_told_with_the_flows_and_services_that_it_reaches(
    graph: Store, tmp_path: Path, configured: Path
) -> None:
    site = tmp_path / "code" / ".venv" / "lib" / "python3.11" / "site-packages" / "prefect-1.dist-info"
    write(site, {"METADATA": "Name: prefect\n\n", "RECORD": "prefect/__init__.py,,\n"})
    toml = (
        f'[[checkouts]]\nname = "shop"\npath = "{tmp_path / "code"}"\n'
        '[[services]]\nname = "web"\nkind = "http"\nurl = "http://127.0.0.1:9"\ncheckout = "shop"\n'
        '[[services]]\nname = "front"\nkind = "http"\nurl = "http://127.0.0.1:9"\nneeds = ["web"]\n'
    )
    write(tmp_path, {configured.name: toml})
    config = settings()
    database = Postgres.of(config)
    audit = _audit()
    reports.save(database, audit)
    services = load_configuration(config).services
    snapshot.record(database, {f"node:{config.node}": node_view({}, [], services)}, datetime.now(UTC))
    await graph_ingest(dry_run=True)
    await graph_ingest(sources=[Source.documents])
    assert await with_exposure(audit.findings, package_of, config) == audit.findings, "neither told of the code"
    report = await graph_ingest()
    assert report.status is Status.ok, report.skipped
    (finding,) = await with_exposure(audit.findings, package_of, config)
    exposed = {one["what"]: one for one in finding.evidence["exposed"]}
    node = config.node
    assert exposed.keys() == {"Flow:shop:nightly", f"Component:{node}:web", f"Component:{node}:front"}
    assert exposed["Flow:shop:nightly"]["path"] == (
        "Dependency:shop:pypi/prefect <-USES- Module:shop:app.work <-USES- Flow:shop:nightly"
    )
    assert "It reaches " in finding.detail
    assert "Flow:shop:nightly" in finding.detail
    advisory = await find_one(graph, "GHSA-1")
    hits = {hit.ref for hit in (await impact(advisory, level_of(graph))).hits}
    assert {Ref(Label.component, f"{node}:front"), Ref(Label.flow, "shop:nightly")} <= hits
    down = Finding(key="architecture.down:web", severity=Severity.high, component="web", title="web is down.")
    (told,) = await with_exposure([down], lambda one: failing_service(one, node, {"web"}), config)
    assert [one["what"] for one in told.evidence["exposed"]] == [f"Component:{node}:front"]
    late = datetime.now(UTC) + timedelta(days=3)
    assert await with_exposure(audit.findings, package_of, config, now=late) == audit.findings, "it is stale"


async def test_an_audit_does_not_wait_for_a_graph_that_is_away(graph: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    report = await graph_ingest(sources=[Source.code])
    reports.save(Postgres.of(settings()), report.model_copy(update={"checkouts": ("shop",), "run_id": "away"}))
    audit = _audit()
    monkeypatch.setenv("LAMA_GRAPH_URI", "bolt://127.0.0.1:9")
    settings.cache_clear()
    begun = time.monotonic()
    assert await with_exposure(audit.findings, package_of, settings()) == audit.findings
    assert time.monotonic() - begun < 6


async def test_a_graph_that_is_down_makes_the_report_incomplete(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMA_GRAPH_URI", "bolt://127.0.0.1:9")
    settings.cache_clear()
    report = await graph_ingest(sources=[Source.code])
    assert report.status is Status.incomplete
    assert "code is not in the graph as it is now" in report.skipped[0].reason
