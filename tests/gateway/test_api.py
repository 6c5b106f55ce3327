"""The gateway's own API, probes and metrics; and that no secret leaves it by any of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from blocks.postgres import Postgres
from blocks.settings import Settings
from models.report import Finding, Report, Severity, Skip, compose
from services.gateway.docs_page import docs_page
from services.guard import Names
from tasks.reports import store
from tests.gateway.conftest import NewGateway
from tests.gateway.running import SECRET, RunningGateway, push

_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_PATHS = ["/api/reports", "/api/reports/x", "/api/reports/x/diff/y", "/api/deliveries", "/api/deliveries/github/x"]


class _Detailed(Report):
    extra_detail: str = "more than every report has"


def _report(run_id: str, minutes: int, *titles: str, skipped: bool = False) -> Report:
    moment = _NOW + timedelta(minutes=minutes)
    return compose(
        _Detailed, capability="test", summary="s", scope='a "quoted"\nscope', started_at=moment,
        finished_at=moment + timedelta(seconds=3), run_id=run_id, metrics={"disk_free_bytes": 12.5},
        findings=[Finding(key=f"a.b:{title}", severity=Severity.high, component="c", title=title) for title in titles],
        skipped=[Skip(area="z", component="c", reason="r")] if skipped else [],
    )  # fmt: skip


@pytest.fixture(scope="module")
def _reports(shared_url: str) -> None:
    database = Postgres(url=SecretStr(shared_url))
    store.save(database, _report("11111111-before", 0, "gone", "stays"))
    store.save(database, _report("22222222-after", 1, "stays", "new", skipped=True))


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize("headers", [
    {}, {"X-API-Key": ""}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"},
    {"Authorization": "Bearer"}, {"X-API-Key": "\u00e9"},
])  # fmt: skip
def test_the_api_needs_its_key(gateway: RunningGateway, path: str, headers: dict[str, str]) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    with gateway.client() as client:
        answer = client.get(path, headers=raw)
        assert answer.status_code == 401
        assert client.get(path, headers=raw | {"X-API-Key": gateway.key[:-1].encode()}).status_code == 401
        assert client.get(path, params={"key": gateway.key}, headers=raw).status_code == 401


def test_every_route_of_the_api_needs_the_key(gateway: RunningGateway) -> None:
    with gateway.client() as client:
        schema = client.get("/openapi.json").json()
        for path, methods in schema["paths"].items():
            for method in methods:
                if path.startswith("/api"):
                    assert client.request(method, path).status_code == 401, path


@pytest.mark.usefixtures("_reports")
def test_reports_are_listed_shown_and_compared(gateway: RunningGateway) -> None:
    listed = gateway.api("/api/reports?capability=test&limit=1").json()
    assert [report["run_id"] for report in listed] == ["22222222-after"]
    assert gateway.api("/api/reports?capability=nothing").json() == []
    shown = gateway.api("/api/reports/11111111").json()
    assert shown["run_id"] == "11111111-before"
    assert shown["extra_detail"]
    change = gateway.api("/api/reports/11111111-before/diff/22222222-after").json()
    assert [finding["title"] for finding in change["opened"]] == ["new"]
    assert [finding["title"] for finding in change["closed"]] == ["gone"]
    with gateway.client() as client:
        bearer = client.get("/api/reports", headers={"Authorization": f"Bearer {gateway.key}"})
    assert bearer.status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/reports/none-there", 404), ("/api/reports/%00", 404), ("/api/reports/%25%25%25%25%25%25%25%25", 404),
        ("/api/reports/x/diff/y", 404), ("/api/reports?limit=0", 422), ("/api/reports?limit=9999999", 422),
        ("/api/reports?limit=x", 422), ("/api/reports?capability=%00", 200), ("/api/deliveries/github/no", 404),
        ("/api/deliveries/github/..%2f..%2fx", 404), ("/api/deliveries?status=odd", 422),
        ("/api/deliveries?source=%00';DROP TABLE delivery", 200), ("/api/nothing", 404),
    ],
)  # fmt: skip
def test_hostile_questions_get_plain_answers(gateway: RunningGateway, path: str, status: int) -> None:
    answer = gateway.api(path)
    assert answer.status_code == status
    assert status == 200 or set(answer.json()) == {"error"}


def test_deliveries_are_shown_without_bodies(gateway: RunningGateway) -> None:
    assert gateway.deliver(push(repository="acme/very-private"), X_GitHub_Delivery="shown/1").status_code == 202
    one = gateway.api("/api/deliveries/github/shown%2F1")
    assert one.json()["status"] == "ignored"
    assert one.json()["body_bytes"] > 50
    listed = gateway.api("/api/deliveries?source=github&status=ignored&limit=500")
    assert "shown/1" in listed.text
    assert "very-private" not in one.text + listed.text
    assert gateway.api("/api/deliveries?before=2000-01-01T00:00:00Z").json() == []


@pytest.mark.usefixtures("_reports")
def test_metrics_are_what_prometheus_reads(gateway: RunningGateway) -> None:
    gateway.deliver(push())
    gateway.deliver(push(), secret="wrong")
    with gateway.client() as client:
        client.get("/nowhere/" + "x" * 50)
        client.request("BREW", "/health")
        text = client.get("/metrics").text
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def value(name: str, /, **labels: str) -> float:
        return found[name, tuple(sorted(labels.items()))]

    scope = 'a "quoted"\nscope'
    assert value("lama_webhook_deliveries_total", source="github", outcome="accepted") >= 1
    assert value("lama_webhook_deliveries_total", source="github", outcome="bad_signature") >= 1
    assert value("lama_http_requests_total", method="POST", route="/webhooks/{source}", status="202") >= 1
    assert value("lama_http_requests_total", method="GET", route="unmatched", status="404") >= 1
    assert value("lama_report_status", capability="test", scope=scope, status="incomplete") == 1
    assert value("lama_report_status", capability="test", scope=scope, status="ok") == 0
    assert value("lama_report_findings", capability="test", scope=scope, severity="high") == 2
    assert value("lama_report_findings", capability="test", scope=scope, severity="low") == 0
    assert value("lama_report_metric", capability="test", scope=scope, name="disk_free_bytes") == 12.5
    assert value("lama_report_duration_seconds", capability="test", scope=scope) == 3
    assert value("lama_database_up") == 1
    assert value("lama_prefect_up") == 0
    assert value("process_resident_memory_bytes") > 1e6
    assert "BREW" not in text
    assert "xxxx" not in text


def test_ready_says_that_prefect_is_away_and_takes_deliveries_all_the_same(gateway: RunningGateway) -> None:
    with gateway.client() as client:
        answer = client.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "degraded", "database": True, "prefect": False})


def test_the_documentation_needs_nothing_from_elsewhere(gateway: RunningGateway) -> None:
    with gateway.client() as client:
        page = client.get("/docs").text
        schema = client.get("/openapi.json").json()
    assert "<script" not in page
    assert "http://" not in page.replace(gateway.url, "")
    assert "https://" not in page
    assert all(path in page for path in schema["paths"])
    hostile = {"info": {"title": "<script>", "version": "1"}, "paths": {"/<b>": {"get": {"description": "<i>"}}}}
    assert "<script>" not in docs_page(hostile)
    assert "<b>" not in docs_page(hostile)


def test_answers_carry_headers_that_keep_browsers_careful(gateway: RunningGateway) -> None:
    with gateway.client() as client:
        for path in ("/docs", "/health", "/api/reports", "/nowhere"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers


def test_no_secret_is_in_an_answer_the_log_or_the_process_list(gateway: RunningGateway, shared_url: str) -> None:
    key = gateway.key
    gateway.deliver(push(), secret="wrong")
    gateway.deliver(body=b"garbage")
    seen = [gateway.logged(), *psutil.Process(gateway.pid).cmdline()]
    with gateway.client() as client:
        for path in ("/docs", "/openapi.json", "/metrics", "/health", "/ready", f"/webhooks/{SECRET}", "/api/reports"):
            for headers in ({}, {"X-API-Key": key}, {"Authorization": "Bearer " + key[:-2] + "zz"}):
                answer = client.get(path, headers=headers)
                seen += [answer.text, str(answer.headers)]
    seen += [gateway.api(path).text for path in _PATHS]
    seen.append(gateway.deliver(push()).text)
    with psycopg.connect(shared_url) as connection:
        columns = connection.execute("SELECT source, delivery_id, event, content_type, last_error FROM delivery")
        seen += map(str, columns.fetchall())
    everything = "\n".join(seen)
    for secret in (SECRET, key, key[:-2]):
        assert secret not in everything
    assert oct((gateway.home.secrets / "gateway.key").stat().st_mode & 0o777) == "0o600"


def test_beyond_loopback_metrics_need_the_key_and_addresses_are_names_of_ours(new_gateway: NewGateway) -> None:
    running = new_gateway('[webhooks]\nhosts = ["hooks.example.com"]\n')
    running.start(LAMA_HOST="0.0.0.0")
    with running.client() as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"X-API-Key": running.key}).status_code == 200
        assert client.get("/metrics", headers={"Authorization": f"Bearer {running.key}"}).status_code == 200
        assert client.get("/health", headers={"Host": "192.0.2.7:8765"}).status_code == 200
        assert client.get("/health", headers={"Host": "HOOKS.example.com"}).status_code == 200
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 421


def test_no_variable_opens_the_api_and_one_names_the_gateway(new_gateway: NewGateway) -> None:
    running = new_gateway()
    running.start(LAMA_GATEWAY_AUTH="false", LAMA_GATEWAY_URL="http://gateway:8765")
    with running.client() as client:
        assert client.get("/api/deliveries").status_code == 401
        assert client.get("/health", headers={"Host": "gateway:8765"}).status_code == 200
        assert client.get("/health", headers={"Host": "elsewhere:8765"}).status_code == 421


def test_every_wildcard_and_loopback_name_is_known(tmp_path: Path) -> None:
    names = Names(Settings(home=tmp_path), ())
    known = [
        name for name in ("localhost:1", "127.0.0.1", "[::1]:8765", "LOCALHOST", "localhost.") if names.know([name])
    ]
    assert len(known) == 5
    assert not names.know([])
    assert not names.know(["localhost", "localhost"])
