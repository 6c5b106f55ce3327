"""A patch says what of it nobody has tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.settings import Settings
from models.audit import Remedy
from models.configuration import Configuration
from models.severity import Severity
from tasks.advisories.package import NPM, PYPI, Package
from tasks.audit import mend as mending
from tasks.audit.component import Component, Evidence, Inventory, Place
from tasks.audit.mend import Mended, mend
from tasks.audit.remedies import Upgrade
from tasks.audit.resolve import Fit, Resolution
from tasks.target import Target


async def mended(root: Path, ecosystem: str, file: str, text: str) -> Mended:
    (root / file).write_text(text)
    package = Package(ecosystem, "left")
    place = Component(package, "1.0.0", Place(file), Evidence.declared, requirement="==1.0.0")
    step = Upgrade(
        target="web", package=package, from_versions=("1.0.0",), to="1.0.1", clears=("CVE-1",), remains=(),
        severity=Severity.high, direct=True, brought_by=(), blocked_by=(), places=(place,),
    )  # fmt: skip
    target = Target(Settings(), Configuration(), (), "run", "vm")
    return await mend(target, [Inventory("web", root, (place,))], [step], remedy=Remedy.patch)


async def test_upgrades_of_npm_are_shown_and_that_nobody_tried_them_is_said(tmp_path: Path) -> None:
    told = await mended(tmp_path, NPM, "package.json", '{"dependencies": {"left": "1.0.0"}}')
    assert "1.0.1" in told.diff
    (skip,) = told.skipped
    assert "of npm fit together was not tried: left." in skip.reason


async def test_what_the_resolver_had_to_leave_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def tried(*_given: object) -> list[Resolution]:
        return [Resolution(Fit.fits, left_out=("in-house",))]

    monkeypatch.setattr(mending, "_tried", tried)
    told = await mended(tmp_path, PYPI, "requirements.txt", "left==1.0.0\n")
    (skip,) = told.skipped
    assert "without in-house, which no index has" in skip.reason
