"""No secret of a node is where somebody else could read it: process list, logs, artifacts, reports, answers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from blocks.database import dsn
from deployments.platform import Platform
from tests.conftest import free_port
from tests.platform.node import Node, command_lines, temporary_node

_PASSWORD = "Zq7-database-7qZ"
_USER, _AUTH = "ops", "Zq7-prefect-7qZ"
_GEMINI = "Zq7-gemini-7qZ"
_SECRETS = (_PASSWORD, _AUTH, _GEMINI)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Node]:
    """A node on a database with a password, with authentication in front of Prefect, and with a key for Gemini."""
    with temporary_node() as other:
        database = Platform(other.settings, only=["postgres"])
        database.start()
        url = dsn(other.settings).replace("lama@", f"lama:{_PASSWORD}@")
        secrets = {
            "LAMA_DATABASE_URL": url,
            "LAMA_PREFECT_AUTH": f"{_USER}:{_AUTH}",
            "LAMA_GEMINI_API_KEY": _GEMINI,
            "LAMA_GEMINI_BASE_URL": f"http://127.0.0.1:{free_port()}",  # nobody there: what fails says the most
        }
        with temporary_node(**secrets) as node:
            node.start()
            yield node
        database.stop()


def test_a_node_with_every_kind_of_secret_shows_none(guarded: Node) -> None:
    done = guarded.lama("health-check", "--module", "architecture", "--module", "performance", "--json")
    report = json.loads(done.stdout)
    assert "Not by Gemini" in report["narrative"]["note"]
    shown = {"report": done.stdout, "progress": done.stderr, "status": guarded.lama("status", "--json").stdout}
    shown["broken run"] = guarded.lama("run", "health-check", "--param", 'checkouts=["nobody"]').stderr

    shown["process list"] = command_lines()
    shown |= {log.name: log.read_text(errors="replace") for log in (guarded.home / "logs").iterdir()}

    key = (guarded.home / "secrets" / "gateway.key").read_text().strip()
    gateway = guarded.settings.gateway_url
    for path in ("/api/reports", f"/api/reports/{report['run_id']}", "/metrics", "/health", "/ready"):
        answer = httpx.get(f"{gateway}{path}", headers={"X-API-Key": key}, timeout=20)
        assert answer.status_code == 200, path
        shown[f"gateway {path}"] = answer.text
    assert httpx.get(f"{gateway}/api/reports", timeout=20).status_code == 401

    with httpx.Client(base_url=guarded.settings.api_url, auth=(_USER, _AUTH), timeout=20) as prefect:
        for kind in ("logs", "artifacts", "flow_runs", "task_runs", "automations", "deployments", "block_documents"):
            answer = prefect.post(f"/{kind}/filter", json={"limit": 200})
            assert answer.status_code == 200, kind
            shown[f"prefect {kind}"] = answer.text
        shown["prefect settings"] = prefect.get("/admin/settings").text
    assert httpx.get(f"{guarded.settings.api_url}/flows/count", timeout=20).status_code in {401, 405}
    assert report["run_id"] in shown["prefect logs"]
    assert report["run_id"] in shown["worker.log"]

    for where, text in shown.items():
        for secret in (*_SECRETS, key):
            assert secret not in text, f"{secret} is in {where}"
