"""From a target to its inventory: what is found, what is opened, what is refused, and that a cache changes nothing."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from models.gap import Gap
from tasks.advisories.package import PYPI, Package
from tasks.audit.component import Component, Evidence, Inventory, Origin, Scope
from tasks.audit.in_use import in_use
from tasks.audit.inventory.take import NO_MANIFESTS, take_inventory, wanted
from tasks.audit.inventory.walk import LARGEST, READERS, find_manifests, reader, reader_of
from tasks.result_cache import ResultCache

NONE = ResultCache(None)


def write(root: Path, **files: str) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def take(root: Path, **settings: object) -> Inventory:
    return take_inventory("site", root, cache=NONE, **settings)  # type: ignore[arg-type]


def named(inventory: Inventory) -> dict[str, Component]:
    return {component.package.name: component for component in inventory.components}


def reasons(inventory: Inventory) -> str:
    return "\n".join(f"{gap.component} {gap.reason}" for gap in inventory.gaps)


def install(packages: Path, name: str, version: str, *more: str, url: str = "", licence: str = "MIT") -> Path:
    folder = packages / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", f"License-Expression: {licence}", *more]
    (folder / "METADATA").write_text("\n".join(lines) + "\n\nName: in-the-description\n")
    if url:
        (folder / "direct_url.json").write_text(url)
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment with `flask`, which needs `jinja2`, and what the project is."""
    root = tmp_path / "site"
    packages = root / ".venv/lib/python3.12/site-packages"
    install(packages, "Flask", "3.0.0", "Requires-Dist: jinja2>=3", 'Requires-Dist: asgiref; extra == "async"')
    install(packages, "jinja2", "3.1.0")
    install(packages, "asgiref", "3.7")
    install(packages, "site", "1.0", url='{"url": "file:///site", "dir_info": {"editable": true}}')
    write(root, **{".venv/pyvenv.cfg": "home = /usr/bin\nversion = 3.12.4\n"})
    return root


def test_every_reader_that_is_named_exists() -> None:
    for name in READERS.values():
        assert callable(reader(name))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("pyproject.toml", "read_pyproject"),
        ("a/b/uv.lock", "read_uv_lock"),
        ("pylock.dev.toml", "read_pylock"),
        ("requirements.txt", "read_requirements"),
        ("a/dev-requirements.in", "read_requirements"),
        ("a/requirements/prod.txt", "read_requirements"),
        ("requirements/constraints.txt", "read_constraints"),
        ("requirements/sub/prod.txt", None),
        ("notes.txt", None),
        ("Requirements.TXT", "read_requirements"),
        ("requirements-dev.lock", "read_requirements"),
        ("requirement.txt", "read_requirements"),
        ("docker/dockerfile", "read_dockerfile"),
        ("docker/Dockerfile.dev", "read_dockerfile"),
        ("docker/dockerfile.py", None),
        (".forgejo/workflows/a.yml", "read_workflow"),
        ("out/sbom.json", "read_cyclonedx"),
        ("pyproject.toml.bak", None),
    ],
)
def test_files_are_known_by_their_names(file, name) -> None:
    found = reader_of(file)
    assert (found.partition(":")[2] if found else None) == name


def test_all_projects_of_a_monorepo_are_found_and_nothing_that_others_wrote(tmp_path) -> None:
    write(
        tmp_path,
        **{
            "pyproject.toml": "",
            "projects/a/uv.lock": "",
            "projects/b/requirements/base.txt": "",
            "projects/node_modules/x/pyproject.toml": "",
            "projects/package-lock.json": "",
            ".git/requirements.txt": "",
            "projects/a/env/pyvenv.cfg": "",
            "projects/a/env/requirements.txt": "",
            "old/requirements.txt": "",
        },
    )
    found = find_manifests("site", tmp_path, exclude=("old/*",))
    assert list(found.files) == [
        "pyproject.toml",
        "projects/package-lock.json",
        "projects/a/uv.lock",
        "projects/b/requirements/base.txt",
    ]
    assert found.environments == ("projects/a/env",)
    assert found.gaps == ()


def test_what_nobody_reads_is_a_gap_of_its_own_ecosystem(tmp_path) -> None:
    inventory = take(write(tmp_path, **{"app/Cargo.lock": "", "requirements.txt": "a==1"}))
    (gap,) = inventory.gaps
    assert gap.component == "site/app/Cargo.lock"
    assert all(":site/crates.io/" in hidden for hidden in gap.hides)


@pytest.mark.parametrize(
    ("file", "ecosystem"),
    [
        ("Cargo.toml", "crates.io"),
        ("go.mod", "go"),
        ("app/Gemfile", "rubygems"),
        ("App.csproj", "nuget"),
        ("build.gradle.kts", "maven"),
        ("composer.json", "packagist"),
        ("environment.yaml", "pypi"),
        ("Podfile.lock", "cocoapods"),
        ("deno.lock", "npm"),
        ("bom.spdx", ""),
    ],
)
def test_manifests_of_ecosystems_that_nobody_reads_are_gaps(tmp_path, file, ecosystem) -> None:
    (gap,) = take(write(tmp_path, **{file: "", "requirements.txt": "a==1"})).gaps
    assert gap.component == f"site/{file}"
    assert all(f":site/{ecosystem}" in hidden for hidden in gap.hides)


def test_a_manifest_beside_its_lock_is_told_once_for_both(tmp_path) -> None:
    inventory = take(write(tmp_path, **{"Cargo.toml": "", "Cargo.lock": "", "x/Cargo.toml": "", "go.mod": ""}))
    assert {gap.component for gap in inventory.gaps} == {"site/Cargo.lock", "site/x/Cargo.toml", "site/go.mod"}


def test_a_submodule_that_is_not_checked_out_is_a_gap(tmp_path) -> None:
    modules = '[submodule "a"]\n\tpath = libs/a\n\turl = x\n[submodule "b"]\n\tpath = libs/b\n\tpath = ../out\n'
    write(tmp_path, **{".gitmodules": modules, "libs/b/requirements.txt": "a==1"})
    (tmp_path / "libs/a").mkdir()
    (gap,) = take(tmp_path).gaps
    assert gap.component == "site/libs/a"
    assert not take(tmp_path, exclude=("libs/*",)).gaps[1:]


def test_packages_of_npm_without_a_lock_file_are_a_gap(tmp_path) -> None:
    write(tmp_path, **{"a/package.json": "{}", "a/node_modules/x/package.json": "{}", "node_modules/.cache/x": ""})
    (gap,) = take(tmp_path).gaps
    assert gap.component == "site/a/node_modules"
    write(tmp_path, **{"yarn.lock": "# yarn lockfile v1\n"})
    assert not take(tmp_path).gaps


def test_distributions_that_somebody_put_into_the_target_are_found_and_settle_nothing(tmp_path) -> None:
    write(tmp_path, **{"requirements.txt": "a>=1\n"})
    for packages in ("src/_vendor", "layer/python/site-packages", "__pypackages__/3.12/lib"):
        install(tmp_path / packages, packages[:3].strip("_"), "1.0")
    install(tmp_path / "vendor", "a", "2.0")
    inventory = take(tmp_path)
    assert not inventory.gaps
    assert {c.package.name for c in inventory.components if c.evidence is Evidence.installed} == {
        "src",
        "lay",
        "p",
        "a",
    }
    assert not inventory.environment
    assert [one.package.name for one in in_use(inventory).loose] == ["a"]


def test_environments_of_other_kinds_say_what_they_do_not_tell(tmp_path) -> None:
    packages = tmp_path / ".venv/lib/python3.12/site-packages"
    write(tmp_path, **{".venv/pyvenv.cfg": "version = 3.12.1\n"})
    write(packages, **{"alpha/__init__.py": ""})
    assert "modules without metadata" in reasons(take(tmp_path))
    write(packages, **{"old-1.0-py3.12.egg/EGG-INFO/PKG-INFO": "Name: old\nVersion: 1.0\n", "packed.egg": ""})
    inventory = take(tmp_path)
    assert {name: one.version for name, one in named(inventory).items()} == {"old": "1.0"}
    assert [gap.component.rpartition("/")[2] for gap in inventory.gaps] == ["packed.egg"]
    conda = tmp_path / "conda"
    install(conda / "lib/python3.12/site-packages", "beta", "1.0")
    (conda / "conda-meta").mkdir()
    assert "conda" in reasons(take(conda))
    write(tmp_path, **{"requirements.txt": "a==1\n"})
    assert "beta" in named(take(tmp_path))


def test_includes_are_read_once_each_and_keep_their_nature(tmp_path) -> None:
    inventory = take(
        write(
            tmp_path,
            **{
                "requirements.txt": "a==1\n-r deps/more.list\n-c requirements/limits.txt\n",
                "deps/more.list": "b==2\n-r ../requirements.txt\n-r more.list\n",
                "requirements/limits.txt": "c==3\n",
                "requirements/test.txt": "d==4\n-r ../deps/more.list\n",
            },
        )
    )
    found = named(inventory)
    assert inventory.gaps == ()
    assert len(inventory.components) == 4
    assert (found["b"].place.file, found["b"].scope) == ("deps/more.list", Scope.runtime)
    assert (found["c"].evidence, found["d"].scope) == (Evidence.constraint, Scope.dev)
    assert sorted(inventory.files) == sorted(
        ["requirements.txt", "deps/more.list", "requirements/limits.txt", "requirements/test.txt"]
    )


def test_includes_that_lead_out_or_nowhere_are_gaps(tmp_path) -> None:
    write(tmp_path, **{"outside.txt": "secret-outside==1\n"})
    root = write(
        tmp_path / "site",
        **{"requirements.txt": f"a==1\n-r ../outside.txt\n-r {tmp_path}/outside.txt\n-r gone.txt\n-r /dev/zero\n"},
    )
    inventory = take(root)
    assert set(named(inventory)) == {"a"}
    assert reasons(inventory).count("leads out of the target") == 3
    assert "gone.txt is asked for, but is not there." in reasons(inventory)


def test_links_are_followed_inside_only(tmp_path) -> None:
    write(tmp_path, **{"outside/requirements.txt": "hidden==1\n", "outside/setup.py": ""})
    root = write(tmp_path / "site", **{"deps/prod.list": "a==1\n"})
    (root / "requirements.txt").symlink_to("deps/prod.list")
    (root / "requirements-x.txt").symlink_to(tmp_path / "outside/requirements.txt")
    (root / "shared").symlink_to(tmp_path / "outside")
    (root / "again").symlink_to(root)
    (root / "constraints.txt").symlink_to("constraints.txt")
    inventory = take(root)
    assert set(named(inventory)) == {"a"}
    told = reasons(inventory)
    assert "site/requirements-x.txt leads out" in told
    assert "site/shared leads out" in told
    assert "site/constraints.txt cannot be read" in told
    assert "again" not in told


def test_what_is_no_file_is_a_gap_and_never_blocks(tmp_path) -> None:
    os.mkfifo(tmp_path / "requirements.txt")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "uv.lock"))
        (tmp_path / "constraints.txt").symlink_to("/dev/zero")
        (tmp_path / "poetry.lock").mkdir()
        (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["a==1"]\n')
        begun = time.monotonic()
        inventory = take(tmp_path)
    assert time.monotonic() - begun < 5
    assert set(named(inventory)) == {"a"}
    assert {gap.component for gap in inventory.gaps} == {
        "site/requirements.txt",
        "site/uv.lock",
        "site/constraints.txt",
    }


def test_a_file_that_is_too_large_is_a_gap(tmp_path) -> None:
    with (tmp_path / "uv.lock").open("wb") as file:
        file.truncate(LARGEST + 1)
    inventory = take(tmp_path)
    assert "larger than 64 MiB" in reasons(inventory)


def test_a_lock_of_50_megabytes_is_read_within_seconds(tmp_path) -> None:
    wheel = '    { url = "https://example.org/' + "a" * 4000 + '.whl", hash = "sha256:' + "b" * 64 + '" },\n'
    package = '[[package]]\nname = "p{}"\nversion = "1"\nsource = {{ registry = "x" }}\nwheels = [\n{}]\n'
    text = "version = 1\n\n" + "".join(package.format(number, wheel * 24) for number in range(520))
    assert len(text) > 50_000_000
    (tmp_path / "uv.lock").write_text(text)
    begun = time.monotonic()
    inventory = take(tmp_path)
    assert time.monotonic() - begun < 20
    assert len(inventory.components) == 520
    assert inventory.gaps == ()


def test_a_setup_py_is_never_run(tmp_path) -> None:
    mark = tmp_path / "was-run"
    program = (
        f"import setuptools, pathlib\npathlib.Path({str(mark)!r}).touch()\nsetuptools.setup(install_requires=['a'])\n"
    )
    inventory = take(write(tmp_path / "site", **{"setup.py": program}))
    assert not mark.exists()
    assert "is a program, and is never run" in reasons(inventory)
    declared = write(tmp_path / "site", **{"pyproject.toml": '[project]\nname = "x"\ndependencies = ["a"]\n'})
    assert take(declared).gaps == ()


def test_names_of_files_may_be_any_bytes(tmp_path) -> None:
    write(tmp_path / os.fsdecode(b"\xff\n"), **{"requirements.txt": "a==1\nno name\n"})
    inventory = take(tmp_path)
    assert named(inventory)["a"].place.file == "\ufffd\n/requirements.txt"
    for gap in inventory.gaps:
        gap.component.encode()


def test_a_folder_that_is_too_deep_is_a_gap(tmp_path) -> None:
    deep = tmp_path / ("d/" * 70)
    deep.mkdir(parents=True)
    (deep / "requirements.txt").write_text("a==1\n")
    inventory = take(tmp_path)
    assert inventory.components == ()
    assert "folders deep" in reasons(inventory)


def test_a_target_without_anything_is_never_clean(tmp_path) -> None:
    assert "is not there" in reasons(take(tmp_path / "gone"))
    (empty,) = take(tmp_path).gaps
    assert empty == Gap("dependencies", "site", empty.reason)
    assert "is it the right folder?" in empty.reason


def test_an_environment_is_part_of_its_project(environment) -> None:
    write(environment, **{"pyproject.toml": '[project]\nname = "site"\ndependencies = ["flask"]\n'})
    inventory = take(environment)
    found = {one.package.name: one for one in inventory.components if one.evidence is Evidence.installed}
    assert inventory.gaps == ()
    assert inventory.environment
    assert inventory.python == {"python_version": "3.12", "python_full_version": "3.12.4"}
    assert (found["flask"].version, found["flask"].licence, found["flask"].direct) == ("3.0.0", "MIT", True)
    assert found["flask"].requires == (("jinja2", "3.1.0"),)
    assert (found["jinja2"].direct, found["jinja2"].via) == (False, ("flask",))
    assert found["jinja2"].place.file == ".venv/lib/python3.12/site-packages/jinja2-3.1.0.dist-info"
    assert (found["site"].origin, "in-the-description" in found) == (Origin.folder, False)
    assert wanted(inventory) == {
        Package(PYPI, "flask"): frozenset({"3.0.0"}),
        Package(PYPI, "jinja2"): frozenset({"3.1.0"}),
        Package(PYPI, "asgiref"): frozenset({"3.7"}),
    }
    assert not take(environment, look_into_environment=False).environment


def test_what_an_extra_brings_in_is_brought_in_by_it(environment) -> None:
    write(environment, **{"pyproject.toml": '[project]\nname = "site"\ndependencies = ["flask[async]"]\n'})
    found = {one.package.name: one for one in take(environment).components if one.evidence is Evidence.installed}
    assert found["asgiref"].via == ("flask",)


def test_an_environment_by_itself_and_a_named_one(environment, tmp_path) -> None:
    alone = take(environment / ".venv")
    assert {"flask", "jinja2", "asgiref", "site"} == set(named(alone))
    assert named(alone)["flask"].place.file == "lib/python3.12/site-packages/Flask-3.0.0.dist-info"
    assert len(take(environment / ".venv/lib/python3.12/site-packages").components) == 4
    project = write(tmp_path / "other", **{"requirements.txt": "flask\n"})
    inventory = take(project, environment=environment / ".venv")
    assert (inventory.environment, len(inventory.components)) == (True, 5)
    gone = take(project, environment=tmp_path / "gone")
    assert not gone.environment
    assert "correct `environment`" in reasons(gone)


def test_broken_metadata_is_a_gap_and_the_rest_is_read(environment) -> None:
    packages = environment / ".venv/lib/python3.12/site-packages"
    (packages / "broken-1.dist-info").mkdir()
    (packages / "nameless-1.dist-info").mkdir()
    (packages / "nameless-1.dist-info/METADATA").write_text("Version: 1\n\n")
    (packages / "pipe-1.dist-info").mkdir()
    os.mkfifo(packages / "pipe-1.dist-info/METADATA")
    (packages / "link-1.dist-info").mkdir()
    (packages / "link-1.dist-info/METADATA").symlink_to("/etc/passwd")
    install(packages, "late", "1", url='{"url": "https://example.org/late.zip", "archive_info": {}}')
    install(packages, "packed", "1", url='{"url": "file:///tmp/packed-1.zip", "archive_info": {}}')
    install(packages, "cloned", "1", url='{"url": "https://example.org/x", "vcs_info": {"vcs": "git"}}')
    inventory = take(environment)
    assert {gap.component.rpartition("/")[2] for gap in inventory.gaps} == {
        f"{name}-1.dist-info" for name in ("broken", "nameless", "pipe", "link")
    }
    found = named(inventory)
    assert found["packed"].origin is Origin.address
    assert (found["late"].origin, found["cloned"].origin) == (Origin.address, Origin.repository)
    assert "flask" in found


def test_an_environment_elsewhere_is_not_followed(environment, tmp_path) -> None:
    project = write(tmp_path / "other", **{"requirements.txt": "flask\n"})
    (project / ".venv").symlink_to(environment / ".venv")
    inventory = take(project)
    assert not inventory.environment
    assert "name it as `environment`" in reasons(inventory)


def test_an_image_is_looked_into_and_the_machine_that_looks_is_not(tmp_path) -> None:
    root = tmp_path / "image"
    install(root / "usr/local/lib/python3.12/site-packages", "flask", "1.0")
    install(root / "usr/lib/python3/dist-packages", "six", "1.16.0")
    install(tmp_path / "host/lib/python3/dist-packages", "of-the-machine", "1")
    write(
        root,
        **{
            "etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
            "var/lib/dpkg/status": "Package: openssl\nStatus: install ok installed\nVersion: 3.0.1-1\n\n",
            "app/requirements.txt": "a==1\n",
        },
    )
    (root / "lib").symlink_to("/usr/lib")  # as Debian has it
    (root / "usr/lib64").symlink_to(tmp_path / "host/lib")
    (root / "opt").mkdir()
    (root / "opt/venv").symlink_to("../../host")
    inventory = take(root)
    assert set(named(inventory)) == {"flask", "six", "openssl", "a"}
    assert inventory.environment
    assert inventory.gaps == ()
    assert named(inventory)["six"].place.file == "usr/lib/python3/dist-packages/six-1.16.0.dist-info"


def test_packages_of_an_environment_that_lie_elsewhere_are_not_looked_at(environment, tmp_path) -> None:
    project = write(tmp_path / "other", **{".venv/pyvenv.cfg": "version = 3.12.4\n", "requirements.txt": ""})
    (project / ".venv/lib").symlink_to(environment / ".venv/lib")
    inventory = take(project)
    assert (inventory.components, inventory.environment) == ((), False)
    assert "holds no site-packages folder" in reasons(inventory)


def test_one_file_can_be_the_target(tmp_path) -> None:
    root = write(tmp_path, **{"needs.txt": "a==1\n-r more.txt\n", "more.txt": "b==2\n", "x.bin": "", "uv.lock": ""})
    inventory = take(root / "needs.txt")
    assert [(one.package.name, one.place.file) for one in inventory.components] == [
        ("a", "needs.txt"),
        ("b", "more.txt"),
    ]
    assert "is no manifest" in reasons(take(root / "x.bin"))


def test_a_cache_changes_nothing_whether_cold_warm_or_spoilt(tmp_path) -> None:
    packages = "".join(
        f'[[package]]\nname = "p{number}"\nversion = "1.{number}"\nsource = {{ registry = "x" }}\n'
        f'dependencies = [\n    {{ name = "p{number + 1}" }},\n]\n'
        for number in range(400)
    )
    root = write(
        tmp_path / "site",
        **{
            "uv.lock": "version = 1\n" + packages + "[[package]]\nname = 3\n",
            "pyproject.toml": '[project]\nname = "site"\ndependencies = ["p0", "-"]\n',
        },
    )
    path = tmp_path / "cache.db"
    without = take(root)
    cold = take_inventory("site", root, cache=ResultCache(path))
    warm = take_inventory("site", root, cache=ResultCache(path))
    assert path.stat().st_size > 10_000
    assert without == cold == warm
    assert len(without.gaps) == 2
    other = take_inventory("other", root, cache=ResultCache(path))
    assert {gap.component.partition("/")[0] for gap in other.gaps} == {"other"}
    path.write_bytes(b"no database")
    assert take_inventory("site", root, cache=ResultCache(path)) == without


def test_what_no_registry_hands_out_and_what_does_not_apply_is_not_asked_about(tmp_path) -> None:
    root = write(
        tmp_path,
        **{
            "pyproject.toml": '[project]\nname = "site"\ndependencies = ["a>=1", "b==1; python_version<\'3\'"]\n'
            '[tool.uv.sources]\nc = { path = "../c" }\n[dependency-groups]\ndev = ["c==1", "site"]\n',
        },
    )
    assert wanted(take(root)) == {Package(PYPI, "a"): frozenset()}


def test_a_program_that_happens_to_be_called_setup_is_no_list_of_requirements(tmp_path: Path) -> None:
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "setup.py").write_text("import os\n")
    (gap,) = take_inventory("app", tmp_path, cache=ResultCache(None)).gaps
    assert gap.reason == NO_MANIFESTS
