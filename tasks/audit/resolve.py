"""Whether upgrades fit together, tried by pip's own resolver. Nothing is installed, and no package's code is run."""

from __future__ import annotations

import re
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.errors import UnavailableError
from tasks.advisories.package import PYPI
from tasks.audit.component import Component, Evidence, Inventory, Origin, Scope
from tasks.audit.in_use import applies, folder_of, is_related
from tasks.audit.remedies import Upgrade
from tasks.audit.specifiers import Range
from tasks.engine import run_engine

if TYPE_CHECKING:
    from blocks.registry_address import IndexAddress

_MOST_OUTPUT = 64 * 1024 * 1024
_CONFLICTS = ("ResolutionImpossible", "conflicting dependencies")
_UNREACHED = ("Retrying (", "Could not fetch URL", "connection error", "HTTPError", "timed out", "SSLError")
_NOTHING = "(from versions: none)"


class Fit(StrEnum):
    """Whether versions go together."""

    fits = "fits"
    conflicts = "conflicts"
    not_checked = "not_checked"
    """It could not be tried: never to be told as if it fitted."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the resolver says."""

    fit: Fit
    reason: str = ""
    """Why not, in pip's words where it has some."""
    versions: Mapping[str, str] | None = None
    """Where it fits: what would be installed, by normalised name."""
    left_out: tuple[str, ...] = ()
    """Requirements that were not part of the trial: they come from a folder, a repository or an address."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is put to the resolver: requirements of PEP 508, without a URL among them."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def trials_of(inventory: Inventory, upgrades: Iterable[Upgrade]) -> tuple[Trial, ...]:
    """What the target asks for once `upgrades` are made: one trial for each folder with requirements of packages that
    are upgraded, since projects beside each other have environments of their own.

    Requirements are raised as a patch raises them; an upgraded package that nobody asks for is held to its new version
    wherever it comes in.
    """
    steps = [upgrade for upgrade in upgrades if upgrade.to is not None and upgrade.package.ecosystem == PYPI]
    declared = [c for c in inventory.components if c.evidence is Evidence.declared and _is_tried(c, inventory)]
    limits = [c for c in inventory.components if c.evidence is Evidence.constraint and _is_tried(c, inventory)]
    asked_for = {component.package for component in declared}
    folders = {
        folder_of(component)
        for component in declared
        for step in steps
        if component.package == step.package or any(is_related(component, place) for place in step.places)
    }
    trials = []
    for folder in sorted(folders):
        here = [component for component in declared if folder_of(component) == folder]
        near = [limit for limit in limits if any(is_related(limit, component) for component in here)]
        lines = {_line(component, steps): component for component in here}
        held = [_line(component, steps) for component in near]
        held += [f"{step.package.name}>={step.to}" for step in steps if step.package not in asked_for]
        trials.append(
            Trial(
                requirements=tuple(line for line in lines if line is not None),
                constraints=tuple(dict.fromkeys(line for line in held if line is not None)),
                left_out=tuple(sorted({c.package.name for c in here if _line(c, steps) is None})),
            )
        )
    return tuple(trials)


def _is_tried(component: Component, inventory: Inventory) -> bool:
    return (
        component.package.ecosystem == PYPI
        and component.package not in inventory.own
        and component.scope is not Scope.build
        and applies(component, inventory.python)
    )


async def resolve(trial: Trial, index: IndexAddress, *, timeout_s: float, python: str | None = None) -> Resolution:
    """Whether the requirements of `trial` can be had together from `index`.

    Only wheels count (`--only-binary`), so that no package's build is ever run; pip gets an environment of its own,
    without the user's configuration.

    Args:
        trial: what to try.
        index: where the packages are.
        timeout_s: seconds for all of it.
        python: version of the Python to resolve for, such as `3.11`; this process's without one.
    """
    if not trial.requirements:
        return Resolution(Fit.not_checked, "there is no requirement to try.", left_out=trial.left_out)
    with tempfile.TemporaryDirectory(prefix="lama-resolve-") as folder:
        root = Path(folder)
        (root / "requirements.txt").write_text("\n".join(trial.requirements) + "\n", encoding="utf-8")
        (root / "constraints.txt").write_text("\n".join(trial.constraints) + "\n", encoding="utf-8")
        command = [
            sys.executable, "-I", "-m", "pip", "install", "--dry-run", "--ignore-installed", "--progress-bar", "off",
            "--only-binary", ":all:", "--no-input", "--no-cache-dir", "--disable-pip-version-check",
            "--report", str(root / "report.json"), "--retries", "1", "--timeout", f"{index.timeout_s:g}",
            "--requirement", str(root / "requirements.txt"), "--constraint", str(root / "constraints.txt"),
            # Another Python is only resolved for where nothing is to be installed beside this one; nothing is at all.
            *(["--python-version", python, "--target", str(root / "target")] if python else []),
        ]  # fmt: skip
        try:
            outcome = await run_engine(
                command, timeout_s=timeout_s, cwd=root, environment=_environment(root, index), max_output=_MOST_OUTPUT
            )
        except UnavailableError as error:
            return Resolution(Fit.not_checked, f"the resolver {error.what}", left_out=trial.left_out)
        if outcome.code != 0:
            return _refused(outcome.stdout.decode(errors="replace"), outcome.stderr, trial)
        return _resolved(root / "report.json", trial)


def _environment(root: Path, index: IndexAddress) -> dict[str, str]:
    """Variables for pip: the index goes here and not into the arguments, which others can see."""
    variables = {
        "HOME": str(root),
        "TMPDIR": str(root),
        "LC_ALL": "C.UTF-8",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": index.url.get_secret_value(),
    }
    if index.ca_file is not None:
        variables["PIP_CERT"] = str(index.ca_file)
    for scheme, url in urllib.request.getproxies().items():
        variables[f"{scheme}_proxy"] = url
    return variables


def _resolved(report: Path, trial: Trial) -> Resolution:
    import orjson  # noqa: PLC0415

    from tasks.advisories.versions import ordering  # noqa: PLC0415

    order = ordering(PYPI)
    try:
        described = orjson.loads(report.read_bytes())
        told = [one["metadata"] for one in described["install"]]
        versions = {order.name(one["name"]) if order else str(one["name"]): str(one["version"]) for one in told}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Resolution(Fit.not_checked, f"the resolver's report is unusable: {type(error).__name__}.")
    return Resolution(Fit.fits, versions=versions, left_out=trial.left_out)


def _refused(stdout: str, stderr: str, trial: Trial) -> Resolution:
    lines = [line.strip() for line in _masked(stderr).splitlines()]
    said = " ".join(line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: "))[:600]
    if any(mark in stderr for mark in _UNREACHED):
        return Resolution(Fit.not_checked, "the index cannot be reached.", left_out=trial.left_out)
    if any(mark in stderr for mark in _CONFLICTS):
        return Resolution(Fit.conflicts, _conflict(_masked(stdout)) or said, left_out=trial.left_out)
    if "No matching distribution found" in stderr and _NOTHING not in stderr:
        return Resolution(Fit.conflicts, said, left_out=trial.left_out)
    reason = said or "the resolver ended without a word."
    return Resolution(Fit.not_checked, reason, left_out=trial.left_out)


def _conflict(stdout: str) -> str:
    """What pip says of a conflict: who depends on what."""
    lines = [line.strip() for line in stdout.splitlines()]
    told = [line for line in lines if " depends on " in line or line.startswith("The user requested")]
    return "; ".join(dict.fromkeys(told))[:600]


def _masked(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def _line(component: Component, steps: Sequence[Upgrade]) -> str | None:
    """One requirement for the resolver, with its marker; None when it cannot be written as one."""
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415

    if component.origin is not Origin.registry:
        return None
    range_ = Range(component.requirement or (f"=={component.version}" if component.version else ""))
    text: str | None = range_.text
    for step in steps:
        if step.package == component.package and range_.allows_any(step.from_versions):
            text = range_.raised(str(step.to))
    if text is None:
        return None
    extras = f"[{','.join(component.extras)}]" if component.extras and component.evidence is Evidence.declared else ""
    marker = f" ; {component.marker}" if component.marker else ""
    try:
        parsed = Requirement(f"{component.package.name}{extras}{text}{marker}")
    except InvalidRequirement:
        return None
    return None if parsed.url is not None else str(parsed)
