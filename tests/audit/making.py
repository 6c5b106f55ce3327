"""Inventories and advisories for tests, in a few words each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.advisories.package import PYPI, Package
from tasks.advisories.record import Advisory, read_advisory
from tasks.advisories.source import Known
from tasks.audit.component import Component, Evidence, Inventory, Place


def package(name: str, ecosystem: str = PYPI) -> Package:
    return Package(ecosystem, name)


def component(
    name: str,
    version: str | None = None,
    *,
    file: str = "requirements.txt",
    line: int | None = None,
    evidence: Evidence = Evidence.declared,
    ecosystem: str = PYPI,
    **more: Any,
) -> Component:
    return Component(Package(ecosystem, name), version, Place(file, line), evidence, **more)


def locked(name: str, version: str | None, file: str = "uv.lock", **more: Any) -> Component:
    return component(name, version, file=file, evidence=Evidence.locked, **more)


def installed(name: str, version: str, *, below: str = "", **more: Any) -> Component:
    file = f"{below}.venv/lib/python3.11/site-packages/{name}-{version}.dist-info"
    return component(name, version, file=file, evidence=Evidence.installed, **more)


def constraint(name: str, version: str | None = None, file: str = "constraints.txt", **more: Any) -> Component:
    return component(name, version, file=file, evidence=Evidence.constraint, **more)


def inventory(*components: Component, **more: Any) -> Inventory:
    return Inventory("web", Path("/nowhere"), tuple(components), **more)


def advisory(
    id_: str,
    name: str,
    *events: tuple[str, str],
    ecosystem: str = PYPI,
    aliases: Iterable[str] = (),
    versions: Iterable[str] = (),
    severity: str = "",
    kind: str = "ECOSYSTEM",
) -> Advisory:
    """An advisory whose events are given as pairs of versions: introduced, and fixed (empty: not fixed)."""
    ranges = [
        {"type": kind, "events": [{"introduced": low}, *([{"fixed": high}] if high else [])]} for low, high in events
    ]
    entry = {"package": {"ecosystem": ecosystem, "name": name}, "ranges": ranges, "versions": list(versions)}
    return read_advisory(
        {
            "id": id_,
            "modified": "2026-01-01T00:00:00Z",
            "aliases": list(aliases),
            "summary": f"{id_} in {name}",
            "affected": [entry],
            "database_specific": {"severity": severity},
        }
    )


def known(*advisories: Advisory) -> Known:
    found: dict[Package, tuple[Advisory, ...]] = {}
    for one in advisories:
        for about in one.packages:
            found[about] = (*found.get(about, ()), one)
    return Known(found)
