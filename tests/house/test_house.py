"""What holds for every room of the house: documented flows, standard blocks, files of one subject, true pages."""

from __future__ import annotations

import importlib
import inspect
import plistlib
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prefect import Flow
from prefect.blocks.core import Block
from prefect.utilities.callables import parameter_schema
from pydantic import SecretStr

from blocks.handoff_route import HandoffRoute
from blocks.settings import CHECKOUT
from deployments.apply import read_definitions
from lama.cli import _COMMANDS, cli
from tasks.docs.truth.page import read_page
from tests.scheduling import LONGEST_S, SHARED

_FLOORS = ("lama", "services", "deployments", "flows", "tasks", "blocks", "models")
_DEPLOYMENTS: list[dict[str, Any]] = read_definitions()["deployments"]
_LONGEST = 450


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _blocks() -> list[type[Block]]:
    found = []
    for file in sorted((CHECKOUT / "blocks").glob("*.py")):
        module = importlib.import_module(f"blocks.{file.stem}" if file.stem != "__init__" else "blocks")
        for _, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, Block) and value.__module__ == module.__name__:
                found.append(value)
    return found


@pytest.mark.parametrize("entry", _DEPLOYMENTS, ids=lambda entry: str(entry["name"]))
def test_every_flow_says_what_each_of_its_parameters_is(entry: dict[str, Any]) -> None:
    flow = _load(entry["entrypoint"])
    assert isinstance(flow, Flow)
    for name, parameter in parameter_schema(flow.fn).properties.items():
        assert parameter.get("description"), f"{entry['name']}: {name} has no description in the docstring"


@pytest.mark.parametrize("entry", _DEPLOYMENTS, ids=lambda entry: str(entry["name"]))
def test_every_deployment_is_in_the_readme_and_has_a_guide(entry: dict[str, Any]) -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert f"{entry['name']}" in readme
    assert (CHECKOUT / "docs" / f"{entry['name']}.md").exists()


def test_what_prefect_runs_is_what_was_reviewed() -> None:
    """A changed schedule, queue or entrypoint shows up here, and so in review."""
    assert [
        (entry["name"], entry["entrypoint"], [row["cron"] for row in entry.get("schedules", ())], entry["work_pool"])
        for entry in _DEPLOYMENTS
    ] == [
        (
            "health-check",
            "flows.health_check.health_check",
            ["0 */4 * * *"],
            {"name": "lama", "work_queue_name": "health-check"},
        ),
        ("audit", "flows.audit.audit", ["30 5 * * *"], {"name": "lama", "work_queue_name": "audit"}),
        ("scan", "flows.scan.scan", ["0 6 * * *"], {"name": "lama", "work_queue_name": "scan"}),
        ("docs", "flows.docs.docs", ["15 5 * * *"], {"name": "lama", "work_queue_name": "docs"}),
        ("advisories", "flows.advisories.update_advisories", [], {"name": "lama", "work_queue_name": "advisories"}),
        ("handoffs", "flows.handoffs.handoffs", ["*/15 * * * *"], {"name": "lama", "work_queue_name": "handoffs"}),
        ("mail", "flows.mail.mail", ["*/5 * * * *"], {"name": "lama", "work_queue_name": "mail"}),
        ("sync", "flows.sync.sync", ["*/15 * * * *"], {"name": "lama", "work_queue_name": "sync"}),
        ("qualify", "flows.qualify.qualify", ["45 4 * * *"], {"name": "lama", "work_queue_name": "qualify"}),
        ("market", "flows.market.market", [], {"name": "lama", "work_queue_name": "market"}),
        ("documents", "flows.documents.documents", [], {"name": "lama", "work_queue_name": "documents"}),
        ("draft", "flows.draft.draft", [], {"name": "lama", "work_queue_name": "draft"}),
        ("generate", "flows.generate.generate", [], {"name": "lama", "work_queue_name": "generate"}),
        (
            "maintain-models",
            "flows.maintain_models.maintain_models",
            ["20 * * * *"],
            {"name": "lama", "work_queue_name": "maintain-models"},
        ),
        ("train", "flows.train.train", [], {"name": "lama", "work_queue_name": "train"}),
        ("predict", "flows.predict.predict", [], {"name": "lama", "work_queue_name": "predict"}),
        ("drift", "flows.drift.drift", ["40 6 * * *"], {"name": "lama", "work_queue_name": "drift"}),
        ("value", "flows.valuation.value", [], {"name": "lama", "work_queue_name": "value"}),
        ("value-train", "flows.valuation.value_train", [], {"name": "lama", "work_queue_name": "value-train"}),
        (
            "graph-ingest",
            "flows.graph_ingest.graph_ingest",
            ["50 * * * *"],
            {"name": "lama", "work_queue_name": "graph-ingest"},
        ),
    ]


def test_every_deployment_has_a_queue_with_its_limit() -> None:
    found = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())
    limited = {queue["name"] for queue in found["definitions"]["work_queues"] if "concurrency_limit" in queue}
    assert {one["work_pool"]["work_queue_name"] for one in found["deployments"]} <= limited


@pytest.mark.parametrize("block", _blocks(), ids=lambda block: str(block.__name__))
def test_every_block_is_typed_configuration_with_a_client(block: type[Block]) -> None:
    expected = ["_block_type_name", "_block_type_slug", "_documentation_url"]
    assert [name for name in vars(block) if name in expected] == expected, "these three, in this order"
    assert callable(getattr(block, "get_client", None)) or block is HandoffRoute, "a route leads to no system itself"
    for name, field in block.model_fields.items():
        if name in Block.model_fields:
            continue
        assert field.description, f"{block.__name__}.{name} has no description"
        assert field.description.endswith("."), f"{block.__name__}.{name}: a sentence ends in a full stop"
        if re.search(r"(^|_)(password|token|secret|key)$", name):
            assert SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ())), f"{name} is a secret"


@pytest.mark.parametrize("name", sorted(_COMMANDS))
def test_every_command_has_help_and_the_line_in_the_table_is_for_it(name: str) -> None:
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.name == name
    assert command.help
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, f"{name} {option.name} has no help"


def test_a_file_has_one_subject() -> None:
    long = {
        str(path.relative_to(CHECKOUT)): count
        for floor in _FLOORS
        for path in (CHECKOUT / floor).rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > _LONGEST
    }
    assert not long


def test_only_the_settings_read_the_environment() -> None:
    readers = [
        str(path.relative_to(CHECKOUT))
        for floor in ("services", "flows", "tasks", "blocks", "models")
        for path in (CHECKOUT / floor).rglob("*.py")
        if re.search(r"os\.getenv|os\.environ", path.read_text(encoding="utf-8"))
    ]
    assert readers == []


def test_links_of_the_readme_and_the_guides_lead_somewhere() -> None:
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md")]
    for page in pages:
        read = read_page(page.name, page.read_text(encoding="utf-8"))
        for link in (link for section in read.sections for link in section.links if ":" not in link.target):
            target = link.target.partition("#")[0]
            assert (page.parent / target).exists(), f"{page.name}:{link.line}: {target}"


def test_compose_runs_commands_that_exist_and_publishes_on_loopback_only() -> None:
    compose = yaml.safe_load((CHECKOUT / "deployments" / "compose.yaml").read_text(encoding="utf-8"))
    for name, service in compose["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        if service["image"].startswith("lama:") and service["command"] != ["setup", "database"]:
            # whoever reads lama.toml has to see the one that the operator wrote
            mounted = "home:/home/lama/.lama" in service.get("volumes", ())
            assert mounted or service["command"] == ["serve", "prefect"], name
            assert service["environment"]["LAMA_NODE_NAME"], "a container's own name changes with every recreate"
            assert service["environment"]["LAMA_GATEWAY_URL"] == "http://gateway:8765"
        if service["image"].startswith("lama:"):
            command = cli.get_command(None, service["command"][0])  # type: ignore[arg-type]
            assert command is not None
            choices = command.params[0].type.to_info_dict()["choices"]
            assert service["command"][1] in choices
        for condition in service.get("depends_on", {}):
            assert condition in compose["services"]


def test_service_files_start_the_command() -> None:
    unit = (CHECKOUT / "deployments/systemd/lama.service").read_text(encoding="utf-8")
    assert "ExecStart=/opt/lama/.venv/bin/lama up" in unit
    with (CHECKOUT / "deployments/launchd/lama.platform.plist").open("rb") as file:
        assert plistlib.load(file)["ProgramArguments"] == ["/opt/lama/.venv/bin/lama", "up"]
    workflow = yaml.safe_load((CHECKOUT / ".github/workflows/health-check.yml").read_text(encoding="utf-8"))
    assert workflow[True]["schedule"] == [{"cron": "0 */4 * * *"}]  # YAML 1.1 reads the key `on` as true
    assert workflow["jobs"]["health-check"]["steps"][-1]["run"].startswith("python -m lama.cli health-check")


def test_the_container_gets_every_package() -> None:
    dockerfile = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
    allowed = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8")
    for floor in _FLOORS:
        assert f"COPY {floor} {floor}" in dockerfile
        assert f"!{floor}" in allowed
    assert Path(CHECKOUT / "prefect.yaml").exists()
    home = dockerfile.index("install -d -m 700 -o lama -g lama /home/lama/.lama")
    assert home < dockerfile.index("USER lama") < dockerfile.index("VOLUME /home/lama/.lama"), "or it would be root's"


def test_what_begins_first_is_there() -> None:
    named = {*LONGEST_S, *SHARED}
    assert [name for name in sorted(named) if name.endswith(".py") and not (CHECKOUT / name).is_file()] == []
    assert {name for name in LONGEST_S if not name.endswith(".py")} == set(SHARED.values())
