"""Reads which packages an environment holds from its metadata; nothing of it is imported or run."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

from packaging.utils import canonicalize_name

from blocks.errors import UnavailableError
from models.health_check import Checkout
from models.report import Skip
from tasks.health_check.dependencies.declared import Declarations
from tasks.health_check.dependencies.inventory import Installed, Inventory


def take_inventory(checkout: Checkout) -> Inventory:
    """What `checkout` declares and what its environment holds; what could not be read is among its skips."""
    if not checkout.path.is_dir():
        return Inventory(checkout.name, skipped=(_skip(checkout, "is not there or not a folder; correct its path."),))
    declarations = Declarations(checkout.name, checkout.path)
    try:
        declarations.read()
    except OSError as error:
        declarations.skipped.append(_skip(checkout, f"cannot be read: {error.strerror}."))
    environment = checkout.environment or checkout.path / ".venv"
    skipped = list(declarations.skipped)
    installed: tuple[Installed, ...] = ()
    found = environment.is_dir()
    if found:
        try:
            installed, unreadable = installed_packages(environment)
            skipped += [
                _skip(checkout, f"{name} in the environment has metadata without a version.") for name in unreadable
            ]
        except (UnavailableError, OSError) as error:
            found = False
            skipped.append(_skip(checkout, f"the environment cannot be read: {error}"))
    elif checkout.environment is not None:
        skipped.append(_skip(checkout, "its environment is not there; correct `environment`."))
    return Inventory(
        checkout=checkout.name,
        own=frozenset(declarations.own),
        declared=tuple(declarations.declared),
        installed=installed,
        locked=tuple(declarations.locked),
        environment=found,
        python=_python(environment) if found else {},
        skipped=tuple(skipped),
    )


def installed_packages(environment: Path) -> tuple[tuple[Installed, ...], tuple[str, ...]]:
    """The distributions of a virtual environment (or of a plain `site-packages` folder), and the unreadable ones.

    Raises:
        UnavailableError: the folder is no environment.
    """
    folders = [*environment.glob("lib/python3.*/site-packages"), *environment.glob("Lib/site-packages")]
    if not folders and any(environment.glob("*.dist-info")):
        folders = [environment]
    if not folders:
        raise UnavailableError("holds no site-packages folder.", component=str(environment))
    found: dict[str, Installed] = {}
    unreadable = []
    for distribution in importlib.metadata.distributions(path=[str(folder) for folder in folders]):
        place = getattr(distribution, "_path", None)
        metadata = distribution.metadata
        name = next(iter(metadata.get_all("Name") or ()), None)
        version = next(iter(metadata.get_all("Version") or ()), None)
        if not name or not version:
            unreadable.append(Path(str(place)).name)
            continue
        normalised = canonicalize_name(str(name))
        found.setdefault(normalised, Installed(normalised, str(version), _is_local(distribution)))
    return tuple(sorted(found.values(), key=lambda package: package.name)), tuple(sorted(unreadable))


def _is_local(distribution: importlib.metadata.Distribution) -> bool:
    origin = distribution.read_text("direct_url.json")
    if origin is None:
        return False
    try:
        described = json.loads(origin)
    except ValueError:
        return False
    return isinstance(described, dict) and ("dir_info" in described or "vcs_info" in described)


def _python(environment: Path) -> dict[str, str]:
    """Marker variables for the environment's Python, as its `pyvenv.cfg` tells."""
    try:
        lines = (environment / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}  # not a virtual environment: then this process's Python is the best guess
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() in {"version", "version_info"} and value.strip()[:1].isdigit():
            parts = value.strip().split(".")
            return {"python_version": ".".join(parts[:2]), "python_full_version": ".".join(parts[:3])}
    return {}


def _skip(checkout: Checkout, reason: str) -> Skip:
    return Skip(area="dependencies", component=checkout.name, reason=reason)
