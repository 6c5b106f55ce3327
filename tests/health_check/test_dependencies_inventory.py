"""What a checkout declares and holds is read without running anything, following anything out, or going in circles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from packaging.version import Version

from models.health_check import Checkout
from models.report import Severity
from tasks.audit.releases import Releases
from tasks.health_check.dependencies import judgement
from tasks.health_check.dependencies.installed import take_inventory
from tasks.health_check.dependencies.inventory import Inventory


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
    return take_inventory(Checkout(name="app", path=root))


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
                dev = ["delta==1.0", {include-group = "other"}]
            """,
            "requirements.txt": "epsilon==1.*  # a comment\n-r more.txt\n--hash-free-option x\n",
            "more.txt": "zeta==1.5 \\\n  --hash=sha256:aa \\\n  --hash=sha256:bb\n-c constraints.txt\n-r more.txt\n",
            "constraints.txt": "alpha<3\neta==9\nabsent==1\n",
        },
    )
    install(tmp_path, "alpha==1.10", "gamma==2.0", "delta==1.0", "epsilon==1.4", "zeta==1.5", "eta==8", "app==0.1")
    taken = inventory(tmp_path)
    assert keys(taken) == {
        "dependencies.violated:app/alpha": Severity.medium,
        "dependencies.missing:app/beta-x": Severity.medium,
        "dependencies.violated:app/gamma": Severity.low,
        "dependencies.violated:app/eta": Severity.low,
    }
    assert taken.skipped == ()
    assert taken.versions()["absent"] == {"1": "constraints.txt"}


def test_a_range_is_never_read_as_a_version(tmp_path: Path) -> None:
    write(tmp_path, {"requirements.txt": "alpha>=1.0,<2\nbeta==1.*\ngamma~=1.4\ndelta!=1\nepsilon==1.5\n"})
    assert inventory(tmp_path).versions() == {"epsilon": {"1.5": "requirements.txt"}}


def test_without_an_environment_what_nothing_pins_is_told_as_unseen(tmp_path: Path) -> None:
    write(tmp_path, {"requirements.txt": "alpha\nbeta==1\n"})
    skips = list(judgement.undetermined(inventory(tmp_path)))
    assert len(skips) == 1
    assert "alpha" in skips[0].reason
    assert skips[0].may_hide("dependencies.vulnerability:app/alpha/CVE-1")
    write(tmp_path, {"requirements.txt": "beta==1\n"})
    pinned = list(judgement.undetermined(inventory(tmp_path)))
    assert not pinned[0].may_hide("dependencies.vulnerability:app/beta/CVE-1")


def test_locks_tell_versions(tmp_path: Path) -> None:
    lock = '[[package]]\nname = "Alpha"\nversion = "1.2"\n'
    lock += '[[package]]\nname = "app"\nversion = "0"\nsource = {editable = "."}\n'
    write(tmp_path, {"uv.lock": lock, "pylock.toml": '[[packages]]\nname = "beta"\nversion = "3"\n'})
    assert inventory(tmp_path).versions() == {"alpha": {"1.2": "locked"}, "beta": {"3": "locked"}}


def test_what_is_installed_from_a_folder_is_not_looked_up_by_its_name(tmp_path: Path) -> None:
    install(tmp_path, "alpha==1.0", "inner==1.0", local="inner")
    assert set(inventory(tmp_path).versions()) == {"alpha"}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"requirements.txt": "-r ../secret.txt\n"}, "leads out of the checkout"),
        ({"requirements.txt": "-r /etc/passwd\n"}, "leads out of the checkout"),
        ({"requirements.txt": "-r absent.txt\n"}, "is not there"),
        ({"requirements.txt": "-r https://elsewhere.example/r.txt\n"}, "another host"),
        ({"requirements.txt": "git+https://elsewhere.example/r.git\n"}, "by its place"),
        ({"requirements.txt": "alpha >>> 2\n"}, "cannot be understood"),
        ({"requirements.txt": "alpha\n" * 1_000_000}, "larger than"),
        ({"pyproject.toml": "[project\n"}, "not valid TOML"),
        ({"pyproject.toml": "a = " + "[" * 50_000}, "not valid TOML"),
        ({"pyproject.toml": "[project]\nname='a'\ndynamic=['dependencies']\n"}, "dynamic"),
        ({"pyproject.toml": "[tool.poetry.dependencies]\nalpha='^1'\n"}, "poetry"),
        ({"setup.py": "raise SystemExit('this was run')\n"}, "never run"),
        ({"package-lock.json": "{}"}, "npm"),
        ({"Pipfile.lock": "{}"}, "not understood"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, files: dict[str, str], told: str) -> None:
    root = tmp_path / "app"
    write(root, files)
    write(tmp_path, {"secret.txt": "secret-package==1\n"})
    taken = inventory(root)
    assert any(told in skip.reason for skip in taken.skipped), taken.skipped
    assert "secret-package" not in taken.versions()


def test_links_out_of_the_checkout_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "app"
    write(root, {"README.md": ""})
    write(
        tmp_path,
        {"outside.txt": "secret-package==1\n", "outside.toml": "[project]\ndependencies=['secret-package==1']\n"},
    )
    (root / "requirements.txt").symlink_to(tmp_path / "outside.txt")
    (root / "pyproject.toml").symlink_to(tmp_path / "outside.toml")
    (root / "requirements-loop.txt").symlink_to(root / "requirements-loop.txt")
    taken = inventory(root)
    assert taken.declared == ()
    assert len(taken.skipped) >= 2


def test_a_file_that_includes_itself_ends(tmp_path: Path) -> None:
    write(tmp_path, {"requirements.txt": "-r requirements.txt\n-r a.txt\n", "a.txt": "-r requirements.txt\nalpha==1\n"})
    assert set(inventory(tmp_path).versions()) == {"alpha"}


def test_dynamic_dependencies_of_a_file_are_read(tmp_path: Path) -> None:
    text = (
        "[project]\nname='a'\ndynamic=['dependencies']\n[tool.setuptools.dynamic]\ndependencies={file=['needs.txt']}\n"
    )
    write(tmp_path, {"pyproject.toml": text, "needs.txt": "alpha==1\n"})
    taken = inventory(tmp_path)
    assert set(taken.versions()) == {"alpha"}
    assert not taken.declared[0].optional


def test_a_checkout_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert inventory(tmp_path / "gone").skipped[0].hides == ()
    named = take_inventory(Checkout(name="app", path=tmp_path, environment=tmp_path / "no-venv"))
    assert named.skipped


def test_metadata_without_a_version_is_told(tmp_path: Path) -> None:
    install(tmp_path, "alpha==1.0")
    (tmp_path / ".venv/lib/python3.11/site-packages/broken-1.0.dist-info").mkdir()
    taken = inventory(tmp_path)
    assert [package.name for package in taken.installed] == ["alpha"]
    assert any("broken-1.0" in skip.reason for skip in taken.skipped)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"requirements.txt": "alpha==1\n"})
    (tmp_path / "requirements.txt").chmod(0)
    assert inventory(tmp_path).skipped


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
    found = {finding.key: finding for finding in judgement.outdated(inventory(tmp_path), releases)}
    assert {key: finding.severity for key, finding in found.items()} == {
        "dependencies.outdated:app/alpha": Severity.low,
        "dependencies.outdated:app/beta": Severity.info,
        "dependencies.not_on_index:app/in-house": Severity.info,
    }
    assert found["dependencies.outdated:app/alpha"].evidence["newest_allowed"] == "1.10"
    assert "constraints.txt" in found["dependencies.outdated:app/beta"].remedy
