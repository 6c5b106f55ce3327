"""The platform as its operator meets it: up, a second up, status, logs, a run, reports, down."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil

from blocks.prefect_api import PrefectApi
from deployments.supervision import Supervisor
from tests.platform.node import Node, command_lines, eventually


def test_everything_is_up_and_says_so(node: Node) -> None:
    status = node.status()
    assert status["ok"], status
    names = [row["name"] for row in status["processes"]]
    assert names == ["postgres", "prefect", "gateway", "graph", "worker", "model-host", "gpu-worker"]
    beside = {"model-host", "gpu-worker"}
    assert all(row["ready"] for row in status["processes"] if row["name"] not in beside), "nobody waits for those"
    assert httpx.get(f"{node.settings.gateway_url}/health", timeout=10).status_code == 200
    table = node.lama("status")
    assert table.returncode == 0
    assert node.settings.ui_url in table.stdout


def test_the_model_host_and_the_worker_of_the_gpu_pool_come_up_beside_the_others(node: Node) -> None:
    """`status` calls them starting until then, and says that all is well."""

    def rows() -> list[dict[str, Any]]:
        status = node.status()
        assert status["ok"], status
        found = [row for row in status["processes"] if row["name"] in {"model-host", "gpu-worker"}]
        assert all(row["ready"] or row["starting"] for row in found)
        return found

    eventually(lambda: all(row["ready"] for row in rows()), within_s=90)
    assert not any(row["starting"] for row in rows())


def test_nothing_listens_beyond_loopback(node: Node) -> None:
    listening = [
        connection.laddr
        for process in node.processes()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {node.prefect_port, node.gateway_port, node.model_host_port} <= {address.port for address in listening}
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}


def test_a_second_up_attaches_to_the_first(node: Node) -> None:
    before = {row["name"]: row["pid"] for row in node.status()["processes"]}
    again = node.lama("up", "--detach", "--json")
    assert again.returncode == 0
    assert "already" in again.stderr
    assert json.loads(again.stdout)["started"] is False
    assert node.lama("up", "--json").returncode == 2
    assert {row["name"]: row["pid"] for row in node.status()["processes"]} == before


def test_a_route_to_a_deployment_that_is_not_there_is_told(node: Node) -> None:
    (node.home / "lama.toml").write_text("[[webhooks.routes]]\nsource = 'github'\ndeployment = 'no/such'\n")
    again = node.lama("up", "--detach")
    (node.home / "lama.toml").unlink()
    assert again.returncode == 0, "it may come yet"
    assert "lama.toml:3: Prefect has no deployment 'no/such'" in again.stderr


def test_logs_are_lines_of_json_that_people_can_read_too(node: Node) -> None:
    names = node.lama("logs").stdout.split()
    assert {"postgres", "prefect", "gateway", "worker"} <= set(names)
    lines = (node.home / "logs" / "worker.log").read_text().splitlines()
    # Plain is only what Prefect prints where a server that was killed kept it from logging.
    raw = [json.loads(line) for line in lines if line.startswith("{")]
    assert not [line for line in lines if line.startswith("Worker ")]
    assert any("started" in line["message"] for line in raw)
    assert node.lama("logs", "worker", "--json", "-n", "1").stdout.strip()
    assert "worker" in {line["component"] for line in raw}
    assert all({"time", "level", "flow", "run_id", "message"} <= line.keys() for line in raw)
    assert node.lama("logs", "nobody").returncode == 2


def test_a_health_check_runs_through_the_worker_and_its_report_is_kept(node: Node) -> None:
    done = node.lama("health-check", "--module", "documentation", "--json")
    report = json.loads(done.stdout)
    assert report["capability"] == "health_check"
    assert done.returncode == (2 if report["status"] == "incomplete" else int(report["status"] == "failing"))
    run_id = report["run_id"]
    assert node.run(run_id).state_type == "COMPLETED"
    listed = json.loads(node.lama("reports", "--json").stdout)
    assert run_id in [row["run_id"] for row in listed]
    assert json.loads(node.lama("reports", "show", run_id[:8], "--json").stdout) == report
    assert node.lama("reports", "show", run_id).returncode == 0
    difference = json.loads(node.lama("reports", "diff", run_id, run_id, "--json").stdout)
    assert difference["opened"] == []
    assert difference["closed"] == []
    lines = [
        json.loads(line)
        for line in (node.home / "logs" / "worker.log").read_text().splitlines()
        if run_id in line and line[0] == "{"
    ]
    assert any(line["run_id"] == run_id and line["flow"] == "health-check" for line in lines)


def test_run_starts_any_deployment_with_parameters(node: Node) -> None:
    done = node.lama(
        "run", "health-check", "--param", 'modules=["documentation"]', "--param", "narrative=false", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "Completed"
    for wrong, sentence in (
        (("run", "no-such-flow"), "there is no deployment 'no-such-flow'"),
        (("run", "health-check", "--param", "modules=luck"), "modules"),
        (("run", "health-check", "--param", "modules"), "KEY=VALUE"),
        (("reports", "show", "00000000-0000"), "there is no report"),
    ):
        refused = node.lama(*wrong)
        assert refused.returncode == 2
        assert sentence in refused.stderr


def test_the_standing_automations_and_queues_are_there(node: Node) -> None:
    url = node.settings.api_url
    names = {row["name"] for row in httpx.post(f"{url}/automations/filter", json={}, timeout=20).json()}
    assert "lama: crash runs whose heartbeat stopped" in names
    queue = httpx.get(f"{url}/work_pools/lama/queues/health-check", timeout=20).json()
    assert queue["concurrency_limit"] == 2


def test_a_paused_schedule_stays_paused_when_the_deployments_are_applied_again(node: Node) -> None:
    def schedule() -> dict[str, object]:
        with PrefectApi(node.settings) as api:
            deployment = api.deployment("health-check")
        return {"deployment": deployment["id"], **deployment["schedules"][0]}

    one = schedule()
    assert one["active"]
    url = f"{node.settings.api_url}/deployments/{one['deployment']}/schedules/{one['id']}"
    httpx.patch(url, json={"active": False}, timeout=20).raise_for_status()
    assert node.lama("setup", "deployments").returncode == 0
    assert schedule()["active"] is False
    httpx.patch(f"{url.rpartition('/')[0]}/{schedule()['id']}", json={"active": True}, timeout=20).raise_for_status()


def test_no_secret_is_in_a_process_list_a_log_or_an_answer(node: Node) -> None:
    key = (node.home / "secrets" / "gateway.key").read_text().strip()
    assert key not in command_lines()
    for log in (node.home / "logs").iterdir():
        assert key not in log.read_text(errors="replace"), log
    answer = httpx.get(f"{node.settings.gateway_url}/api/reports", headers={"X-API-Key": key}, timeout=20)
    assert answer.status_code == 200
    assert key not in answer.text
    assert key not in httpx.get(f"{node.settings.gateway_url}/metrics", timeout=20).text
    assert httpx.get(f"{node.settings.gateway_url}/api/reports", timeout=20).status_code == 401


def test_prefect_answers_only_to_its_own_names(node: Node) -> None:
    url = f"{node.settings.api_url}/health"
    assert httpx.get(url, timeout=20).status_code == 200
    assert httpx.get(url, headers={"Host": f"evil.example:{node.prefect_port}"}, timeout=20).status_code == 400


def test_a_process_that_was_stopped_is_brought_back_by_another_up(node: Node) -> None:
    Supervisor(node.settings).stop_process("gateway")
    assert not node.status()["ok"]
    assert node.lama("up", "--detach").returncode == 0
    assert node.status()["ok"]


def test_the_home_and_its_secrets_are_for_their_owner_alone(node: Node) -> None:
    for folder in (node.home, node.home / "secrets", node.home / "run", node.home / "logs"):
        assert folder.stat().st_mode & 0o077 == 0, folder
    for file in (*(node.home / "secrets").rglob("*"), node.home / "run" / "supervisord.conf"):
        assert file.is_dir() or file.stat().st_mode & 0o777 == 0o600, file


def test_down_leaves_no_process_and_reports_outlive_it(node: Node) -> None:
    assert node.lama("down").returncode == 0
    assert node.processes() == []
    again = node.lama("down", "--json")
    assert (again.returncode, json.loads(again.stdout)["was_up"]) == (0, False)
    accepted = node.lama("accept", "architecture", "--json")
    assert accepted.returncode == (0 if json.loads(accepted.stdout)["accepted"] else 2)
    listed = node.lama("reports", "--json")
    assert listed.returncode == 0
    assert json.loads(listed.stdout), "reports can be read with the platform down, and are still there"
    assert node.processes() == []
    with ThreadPoolExecutor(2) as pool:  # a temporary user that leaves does not take the platform with it
        listing, up = pool.submit(node.lama, "reports", "--json"), pool.submit(node.lama, "up", "--detach")
    assert (listing.result().returncode, up.result().returncode) == (0, 0)
    eventually(lambda: node.status()["ok"], within_s=30)
