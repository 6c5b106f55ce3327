"""What a checkout asks for is compared with what it has, and with what there is."""

from __future__ import annotations

from pathlib import Path

from packaging.version import Version

from models.report import Severity
from tasks.audit.component import Inventory
from tasks.audit.in_use import in_use
from tasks.audit.inventory.take import take_inventory
from tasks.audit.releases import Releases
from tasks.health_check.dependencies import judgement
from tasks.result_cache import ResultCache


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def install(root: Path, *packages: str, local: str = "") -> None:
    """Put metadata of `name==version` packages into `.venv` below `root`."""
    for package in packages:
        name, version = package.split("==")
        folder = root / ".venv/lib/python3.11/site-packages" / f"{name}-{version}.dist-info"
        write(folder, {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"})
        if name == local:
            write(folder, {"direct_url.json": '{"url": "file:///somewhere", "dir_info": {"editable": true}}'})
    write(root / ".venv", {"pyvenv.cfg": "home = /usr/bin\nversion = 3.11.9\n"})


def inventory(root: Path) -> Inventory:
    return take_inventory("app", root, environment=None, look_into_environment=True, cache=ResultCache(None))


def keys(taken: Inventory) -> dict[str, Severity]:
    return {finding.key: finding.severity for finding in judgement.declared_against_installed(taken)}


def test_what_is_missing_or_violates_a_requirement_is_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "pyproject.toml": """
                [project]
                name = "App"
                dependencies = ["Alpha>=2", "beta_x", "win; sys_platform == 'win32'", "new; python_version > '3.11'"]
                [project.optional-dependencies]
                extra = ["gamma<2", "not-installed-extra", "app[other]"]
                [dependency-groups]
                dev = ["delta==1.0"]
            """,
            "requirements.txt": "epsilon==1.*  # a comment\n-r more.txt\n",
            "more.txt": "zeta==1.5 \\\n  --hash=sha256:aa \\\n  --hash=sha256:bb\n-c constraints.txt\n-r more.txt\n",
            "constraints.txt": "alpha<3\neta==9\nabsent==1\n",
        },
    )
    install(tmp_path, "alpha==1.10", "gamma==2.0", "delta==1.0", "epsilon==1.4", "zeta==1.5", "eta==8", "app==0.1")
    taken = inventory(tmp_path)
    assert keys(taken) == {
        "dependencies.violated:app/pypi/alpha": Severity.medium,
        "dependencies.missing:app/pypi/beta-x": Severity.medium,
        "dependencies.violated:app/pypi/gamma": Severity.low,
        "dependencies.violated:app/pypi/eta": Severity.low,
    }
    assert taken.gaps == ()
    write(tmp_path / "src/_vendor/beta_x-1.dist-info", {"METADATA": "Name: beta_x\nVersion: 1\n"})
    assert "dependencies.missing:app/pypi/beta-x" in keys(inventory(tmp_path))


def test_without_an_environment_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    write(tmp_path, {"requirements.txt": "alpha\nbeta==1\n"})
    (skip,) = judgement.not_compared(inventory(tmp_path))
    assert skip.may_hide("dependencies.missing:app/pypi/pypi/alpha")
    assert not skip.may_hide("dependencies.vulnerability:app/pypi/pypi/alpha/CVE-1")


def test_newer_versions_are_told_with_what_the_requirements_allow(tmp_path: Path) -> None:
    write(tmp_path, {"requirements.txt": "alpha<2\nbeta\ngamma\nin-house\n", "constraints.txt": "beta==1.9\n"})
    install(tmp_path, "alpha==1.9", "beta==1.9", "gamma==3.0", "in-house==1", "transitive==1.0")
    versions = {
        "alpha": (Version("1.9"), Version("1.10"), Version("2.0")),
        "beta": (Version("1.9"), Version("1.10")),
        "gamma": (Version("2.9"), Version("3.0")),
        "transitive": (Version("2.0"),),
    }
    releases = Releases(versions, frozenset({"in-house"}), {})
    taken = inventory(tmp_path)
    found = {finding.key: finding for finding in judgement.outdated(taken, in_use(taken), releases)}
    assert {key: finding.severity for key, finding in found.items()} == {
        "dependencies.outdated:app/pypi/alpha": Severity.low,
        "dependencies.outdated:app/pypi/beta": Severity.info,
        "dependencies.not_on_index:app/pypi/in-house": Severity.info,
    }
    assert found["dependencies.outdated:app/pypi/alpha"].evidence["newest_allowed"] == "1.10"
    assert "constraints.txt" in found["dependencies.outdated:app/pypi/beta"].remedy
