"""Flows, settings, tables and commands: read from the source, and held against what Python itself makes of it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from blocks.settings import CHECKOUT, Settings
from models.code import Codebase
from tasks.code.commands import commands_of
from tasks.code.prefect_flows import Schedule, flows_of
from tasks.code.read import read
from tasks.code.settings import settings_of
from tasks.code.tables import tables_of
from tests.code.trees import write


@functools.cache
def _lama() -> Codebase:
    return read(CHECKOUT)


_SHOP = {
    "shop/__init__.py": "",
    "shop/step.py": """
        import functools
        from prefect import task as job, flow
        def step(name, *, retries=3, timeout_s=None):
            def decorate(function):
                return job(name=name, retries=retries, timeout_seconds=timeout_s, persist_result=False)(wrap(function))
            return decorate
        quick = functools.partial(job, retries=0)
        def other(name):
            def decorate(function):
                return functools.wraps(function)(function)
            return decorate
        """,
    "shop/again.py": "from shop.step import step as stage, quick\n",
    "shop/work.py": """
        from shop import again
        from shop.again import stage
        from shop.step import other
        _PATIENT = 5
        @stage("fetch it", retries=_PATIENT)
        async def fetch(where: str): ...
        @stage("store it")
        def store(): ...
        @again.quick
        def look(): ...
        @other("x")
        def plain(): ...
        def helper():
            store.submit()
        class Parts: ...
        PARTS = Parts(look=look)
        """,
    "shop/flows.py": '''
        from prefect import flow
        from shop import work
        from shop.work import PARTS, helper
        @flow(name="ship it", retries=2, timeout_seconds=60.5)
        async def ship(where: str, how: str = "fast"):
            """Ships.

            Args:
                where: The place.
            """
            await work.fetch(where)
            helper()
            run(parts=PARTS)
            return_goods()
        @flow
        def return_goods(): ...
        ''',
    "prefect.yaml": """
        deployments:
          - name: ship
            entrypoint: shop/flows.py:ship
            schedules:
              - cron: "0 4 * * *"
                timezone: UTC
                slug: nightly
              - interval: 60
                active: false
            work_pool: {name: pool, work_queue_name: queue}
            parameters: {where: here}
          - name: gone
            entrypoint: shop.flows.gone
        """,
}


def test_flows_have_their_tasks_through_the_decorators_of_the_checkout(tmp_path: Path) -> None:
    found = flows_of(read(write(tmp_path, _SHOP)))
    ship = next(one for one in found.flows if one.path == "shop.flows.ship")
    assert (ship.name, ship.number("retries"), ship.number("timeout_seconds")) == ("ship it", 2, 60.5)
    assert [(p.name, p.default, p.description) for p in ship.parameters] == [
        ("where", None, "The place."),
        ("how", "'fast'", ""),
    ]
    assert [(use.path, use.kind, use.via, use.handed) for use in ship.uses] == [
        ("shop.work.fetch", "task", (), False),
        ("shop.work.look", "task", (), True),
        ("shop.flows.return_goods", "flow", (), False),
        ("shop.work.store", "task", ("shop.work.helper",), False),
    ]
    assert next(one for one in found.flows if one.path != ship.path).name == "return-goods"
    tasks = {task.path: task for task in found.tasks}
    assert set(tasks) == {"shop.work.fetch", "shop.work.store", "shop.work.look"}
    assert (tasks["shop.work.fetch"].name, tasks["shop.work.fetch"].number("retries")) == ("fetch it", 5)
    assert tasks["shop.work.store"].number("retries") == 3
    assert tasks["shop.work.look"].number("retries") == 0
    assert tasks["shop.work.store"].options["persist_result"] == "False"


def test_deployments_lead_to_their_flows(tmp_path: Path) -> None:
    found = flows_of(read(write(tmp_path, _SHOP)))
    ship, gone = found.deployments
    assert (ship.flow, ship.pool, ship.queue, ship.parameters) == (
        "shop.flows.ship",
        "pool",
        "queue",
        (("where", "here"),),
    )
    assert ship.schedules == (
        Schedule("cron", "0 4 * * *", "UTC", "nightly"),
        Schedule("interval", "60", active=False),
    )
    assert gone.flow is None
    assert next(one for one in found.flows if one.path == "shop.flows.ship").deployments == (ship,)


_BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
_MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
_REFUSED = ("a: [", "\0", "&a [*a]", _BOMB, _MERGED, "[" * 50_000, "a: *b")


@pytest.mark.parametrize("text", ["- 1", "deployments: 3", "deployments: [1, {name: 2}]", "", *_REFUSED])
def test_a_broken_deployment_file_is_said_or_empty(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"shop/__init__.py": "", "prefect.yaml": text})
    found = flows_of(read(tmp_path))
    assert found.deployments == ()
    assert bool(found.unread) is (text in _REFUSED)


def test_what_deployments_share_is_told_of_each(tmp_path: Path) -> None:
    text = "p: &p {name: pool}\ndeployments:\n- {name: a, work_pool: *p}\n"
    text += "- {name: b, work_pool: {<<: *p, work_queue_name: q}}\n"
    found = flows_of(read(write(tmp_path, {"shop/__init__.py": "", "prefect.yaml": text})))
    assert [(one.name, one.pool, one.queue) for one in found.deployments] == [("a", "pool", None), ("b", "pool", "q")]


def test_every_deployment_of_lama_has_its_flow_with_its_tasks() -> None:
    found = flows_of(_lama())
    listed = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())["deployments"]
    assert {one.name for one in found.deployments} == {row["name"] for row in listed}
    assert all(one.flow is not None for one in found.deployments)
    deployed = [one for one in found.flows if one.deployments]
    assert len(deployed) == len(found.deployments)
    assert all(any(use.kind == "task" for use in one.uses) for one in deployed)
    assert all(p.description for one in deployed for p in one.parameters)


def test_settings_are_what_pydantic_makes_of_them() -> None:
    (found,) = (one for one in settings_of(_lama()) if one.path == "blocks.settings.Settings")
    fields = {one.name: one for one in found.fields}
    assert set(fields) == set(Settings.model_fields)
    for name, real in Settings.model_fields.items():
        assert fields[name].required is real.is_required()
        assert fields[name].description == real.description
    assert fields["home"].environment == ("LAMA_HOME",)
    assert "GITHUB_TOKEN" in fields["github_token"].environment
    assert fields["github_token"].secret


def test_models_have_the_fields_of_their_bases() -> None:
    import importlib

    found = {one.path: one for one in settings_of(_lama(), "model")}
    checked = 0
    for path, one in found.items():
        if one.module.startswith("models."):
            module, _, name = path.rpartition(".")
            if module != one.module:
                continue
            real = getattr(importlib.import_module(module), name).model_fields
            assert set(real) == {field.name for field in one.fields}, path
            checked += 1
    assert checked > 100


def test_tables_are_what_sqlalchemy_makes_of_them() -> None:
    import importlib

    from sqlmodel import SQLModel

    found = tables_of(_lama())
    for one in found:
        importlib.import_module(one.module)
    checked = 0
    for one in found:
        real = SQLModel.metadata.tables.get(one.name)
        assert real is not None, one.path
        assert {column.name for column in one.columns} == set(real.columns.keys()), one.path
        for column in one.columns:
            same = real.columns[column.name]
            assert column.primary_key is same.primary_key, (one.path, column.name)
            assert column.nullable is bool(same.nullable), (one.path, column.name)
            targets = {key.target_fullname for key in same.foreign_keys}
            assert ({column.foreign_key} if column.foreign_key else set()) == targets, (one.path, column.name)
            checked += 1
    assert checked > 100


def test_declarative_tables_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "shop/__init__.py": "",
            "shop/base.py": "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase): ...\n",
            "shop/tables.py": '''
                import sqlalchemy as sa
                from sqlalchemy.orm import Mapped, declarative_base, mapped_column, relationship
                from .base import Base as B
                Old = declarative_base()
                class Mixin:
                    id: Mapped[int] = mapped_column(primary_key=True)
                class User(Mixin, B):
                    """A user."""
                    __tablename__ = "user"
                    name: Mapped[str | None] = mapped_column("user_name", sa.String(30), index=True)
                    orders: Mapped[list["Order"]] = relationship(back_populates="user")
                class Order(Old):
                    __tablename__ = "order"
                    id = sa.Column(sa.Integer, primary_key=True)
                    user_id = sa.Column(sa.ForeignKey("user.id"), nullable=False, unique=True)
                class Abstract(B):
                    __abstract__ = True
                ''',
        },
    )
    found = {one.name: one for one in tables_of(read(tmp_path))}
    assert set(found) == {"user", "order"}
    columns = {column.attribute: column for column in found["user"].columns}
    assert columns["id"].primary_key
    assert (columns["name"].name, columns["name"].type, columns["name"].nullable) == (
        "user_name",
        "sa.String(30)",
        True,
    )
    assert columns["name"].indexed
    assert found["user"].relations == (("orders", "Order"),)
    assert found["order"].columns[1].foreign_key == "user.id"
    assert (found["order"].columns[1].nullable, found["order"].columns[1].unique) == (False, True)


def _real(
    command: click.Command, words: tuple[str, ...], context: click.Context
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _real(inner, (*words, name), context)


def test_commands_are_what_click_makes_of_them() -> None:
    from lama.cli import cli

    real = dict(_real(cli, ("lama",), click.Context(cli)))
    found = {one.words: one for one in commands_of(_lama()) if one.words[0] == "lama"}
    assert set(found) == set(real)
    for words, one in found.items():
        command = real[words]
        options = {name for p in command.params if isinstance(p, click.Option) for name in (*p.opts, *p.secondary_opts)}
        assert {name for option in one.options for name in option.names} == options, words
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        assert [(a.name, a.required, a.multiple) for a in one.arguments] == [
            (p.name, p.required, p.nargs == -1) for p in arguments
        ], words
        helps = {p.opts[0]: p.help for p in command.params if isinstance(p, click.Option)}
        for option in one.options:
            if "..." not in option.help and "(" not in option.help:
                assert option.help == (helps[option.names[0]] or ""), (words, option.names)
        assert one.complete is (words not in {("lama",), ("lama", "train")}), (
            "their classes take words in their own way"
        )


def test_argparse_is_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "shop/__init__.py": "",
            "shop/__main__.py": """
                import argparse
                def main():
                    parser = argparse.ArgumentParser(description="Shop.")
                    parser.add_argument("--port", "-p", type=int, default=80, help="The port.")
                    sub = parser.add_subparsers()
                    ship = sub.add_parser("ship", help="Ship it.")
                    ship.add_argument("places", nargs="*")
                    ship.add_argument("--now", action="store_true")
                """,
        },
    )
    found = {one.words: one for one in commands_of(read(tmp_path))}
    assert set(found) == {("python", "-m", "shop"), ("python", "-m", "shop", "ship")}
    port = found["python", "-m", "shop"].options[0]
    assert (port.names, port.default, port.help, port.flag) == (("--port", "-p"), "80", "The port.", False)
    ship = found["python", "-m", "shop", "ship"]
    assert (ship.arguments[0].name, ship.arguments[0].required, ship.options[0].flag) == ("places", False, True)
