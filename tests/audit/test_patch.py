"""A patch changes version specifiers and nothing else, and only files that are what they were when they were read."""

from __future__ import annotations

import json
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from models.severity import Severity
from tasks.advisories.package import NPM, PYPI, Package
from tasks.audit.component import Component, Evidence, Inventory
from tasks.audit.edits import Raise, edit_package_json, edit_requirements, edit_toml
from tasks.audit.patch import Patch, manifests, plan, read_manifests
from tasks.audit.remedies import Upgrade
from tasks.audit.specifiers import Range, raised_npm
from tasks.proposals.change import PatchError, apply
from tests.audit.making import component, inventory, locked
from tests.programs import require

TO = "2.32.4"


def wish(name: str = "requests", *away: str, to: str = TO, locked: bool = False, ecosystem: str = PYPI) -> Raise:
    return Raise(Package(ecosystem, name), away or ("2.19.0",), to, locked)


def upgrade(name: str, *away: str, to: str, ecosystem: str = PYPI, direct: bool = True) -> Upgrade:
    return Upgrade(
        target="web",
        package=Package(ecosystem, name),
        from_versions=away,
        to=to,
        clears=("CVE-1",),
        remains=(),
        severity=Severity.high,
        direct=direct,
        brought_by=(),
        blocked_by=(),
        places=(),
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("requests==2.19.0\n", "requests==2.32.4\n"),
        ("requests == 2.19.0  # why not\r\n", "requests == 2.32.4  # why not\r\n"),
        ("Requests[socks,a-b]==2.19.0 ; os_name != 'nt'", "Requests[socks,a-b]==2.32.4 ; os_name != 'nt'"),
        ("requests===2.19.0", "requests===2.32.4"),
        ("requests>=2,<2.20", "requests>=2.32.4,<3"),
        ("requests >= 2, != 2.20.0, < 4", "requests >= 2.32.4, != 2.20.0, < 4"),
        ("requests<3", "requests>=2.32.4,<3"),
        ("requests", "requests>=2.32.4"),
        ("requests~=2.19", "requests>=2.32.4,~=2.19"),
        ("requests~=2.19.0", "requests>=2.32.4,~=2.32.4"),
        ("requests==2.19.*", "requests>=2.32.4,==2.32.*"),
        ("requests (>=2.1)", "requests (>=2.32.4)"),
        ("\ufeffrequests==2.19.0", "\ufeffrequests==2.32.4"),
        ("requests==2.19.0 --config-settings=x=y", "requests==2.32.4 --config-settings=x=y"),
        ("# requests==2.19.0\nother==1\n-r more.txt\n", None),
        ("requests==2.20.0", None),  # pinned to what is not vulnerable
        ("requests>=2.30", None),
        ("requests-oauth==2.19.0", None),
    ],
)  # fmt: skip
def test_only_the_specifier_changes(before: str, after: str | None) -> None:
    edited = edit_requirements(before, [wish()])
    assert edited.text == (before if after is None else after)
    assert bool(edited.changed) is (after is not None)
    assert not edited.refused


@pytest.mark.parametrize(
    "line",
    [
        "requests==2.19.0 \\\n    --hash=sha256:abc\n",
        "requests==2.19.0 --hash=sha256:abc",
        "requests @ https://example.org/requests-2.19.0.tar.gz",
        "requests==2.19.0+local",
        "requests>=2, \\\n  <2.20\n",
    ],
)
def test_what_cannot_be_changed_safely_is_told_and_left_alone(line: str) -> None:
    edited = edit_requirements(f"a==1\n{line}", [wish("requests", "2.19.0", "2.19.0+local")])
    assert edited.text == f"a==1\n{line}"
    assert [package.name for package, _ in edited.refused] == ["requests"]


def test_a_range_that_a_lock_file_settles_changes_only_where_it_is_in_the_way() -> None:
    assert not edit_requirements("requests>=2", [wish(locked=True)]).changed
    assert edit_requirements("requests>=2,<2.20", [wish(locked=True)]).changed


versions = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
clauses = st.tuples(st.sampled_from(["==", ">=", "<=", "<", ">", "!=", "~="]), versions, st.booleans())
spaces = st.sampled_from(["", " "])


def clause(described: tuple[str, str, bool]) -> str:
    operator, version, is_wild = described
    if operator == "~=" and "." not in version:
        version += ".0"
    return f"{operator}{version}" + (".*" if is_wild and operator in {"==", "!="} else "")


@given(st.lists(clauses.map(clause), max_size=4), versions, versions, spaces)
def test_a_raised_range_allows_what_was_asked_for_and_nothing_below(
    parts: list[str], away: str, to: str, space: str
) -> None:
    spec = f",{space}".join(parts)
    raised = Range(spec).raised(to)
    if raised is None:  # pins beside other clauses, and steps back, are for people
        floors = [part for part in parts if part.startswith(">") and not SpecifierSet(part).contains(to)]
        assert floors or any(part.startswith("==") and not part.endswith(".*") for part in parts)
        return
    assert Range(raised).allows(to)
    assert Version(away) >= Version(to) or not Range(raised).allows(away)
    for part in parts:  # what was excluded stays excluded, unless it is what is asked for
        if part.startswith("!=") and SpecifierSet(part).contains(to, prereleases=True):
            assert part in raised.replace(" ", "")


noise = st.sampled_from(
    [
        "",
        "# a comment",
        "-r more.txt",
        "--index-url https://x",
        "other==1.0  # keep",
        "-e .",
        "six ; python_version<'3'",
    ]
)


@given(
    st.lists(noise, max_size=4),
    st.lists(noise, max_size=4),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "[socks]", " [socks , security]"]),
    st.sampled_from(["", " ; python_version < '4'", ";sys_platform!='win32'"]),
    st.sampled_from(["", "   # why", " #why"]),
    st.booleans(),
)
def test_everything_else_in_a_file_survives(
    before: list[str], after: list[str], end: str, extras: str, marker: str, comment: str, is_pin: bool
) -> None:
    spec = "==2.19.0" if is_pin else ">=2.0, <2.20"
    new = "==2.32.4" if is_pin else ">=2.32.4, <3"
    template = end.join([*before, f"Requests{extras}%s{marker}{comment}", *after])
    edited = edit_requirements(template.replace("%s", spec), [wish()])
    assert edited.text == template.replace("%s", new)


PYPROJECT = """\
# our project
[build-system]
requires = ["setuptools>=60"]   # old

[project]
name = "web"   # requests>=2
dependencies = [
    'requests[socks]>=2,<2.20 ; python_version < "4"',  # "requests>=2,<2.20"
    "httpx",
]
description = "uses requests>=2,<2.20"

[project.optional-dependencies]
old = ["requests>=2,<2.20"]

[dependency-groups]
dev = [{include-group = "x"}, "requests>=2,<2.20", "pytest"]
x = []

[tool.poetry.dependencies]
requests = { version = "^2.19", optional = true }
python = "^3.11"

[tool.poetry.group.dev.dependencies]
requests = "2.19.0"
"""


def test_requirements_in_toml_change_in_their_place_and_nothing_that_looks_like_them() -> None:
    edited = edit_toml(PYPROJECT, [wish()])
    assert not edited.refused
    assert edited.text == (
        PYPROJECT.replace("'requests[socks]>=2,<2.20 ", "'requests[socks]>=2.32.4,<3 ")
        .replace('old = ["requests>=2,<2.20"', 'old = ["requests>=2.32.4,<3"')
        .replace('"x"}, "requests>=2,<2.20"', '"x"}, "requests>=2.32.4,<3"')
        .replace('version = "^2.19"', 'version = "^2.32.4"')
        .replace('requests = "2.19.0"', 'requests = "2.32.4"')
    )
    tomllib.loads(edited.text)


def test_toml_that_is_written_in_escapes_is_left_to_a_person() -> None:
    text = '[project]\ndependencies = ["requests\\u003d=2.19.0"]\n'
    edited = edit_toml(text, [wish()])
    assert edited.text == text
    assert edited.refused


def test_npm_ranges_change_in_the_manner_in_which_they_are_written() -> None:
    text = json.dumps(
        {
            "name": "web",
            "dependencies": {"left": "^4.17.15", "right": "4.17.15"},
            "devDependencies": {"left": "~4.17.15"},
            "peerDependencies": {"left": "4.17.15"},
            "left": "^4.17.15",
        },
        indent="\t",
    )
    edited = edit_package_json(text + "\n", [wish("left", "4.17.15", to="4.17.21", ecosystem=NPM)])
    expected = text.replace('"left": "^4.17.15",\n\t\t"right"', '"left": "^4.17.21",\n\t\t"right"').replace(
        "~4.17.15", "~4.17.21"
    )
    assert edited.text == expected + "\n"
    assert raised_npm("4.x", "4.17.21") == "^4.17.21"
    assert raised_npm(">= 4.1.0", "4.17.21") == ">= 4.17.21"
    assert raised_npm("3.0.0 || 4.0.0", "4.17.21") is None


def test_an_alias_is_changed_behind_its_name() -> None:
    text = '{"dependencies": {"al": "npm:left@^4.17.15", "@o/al": "npm:@s/left@4.17.15", "left": "npm:right@4.17.15"}}'
    steps = [wish(name, "4.17.15", to="4.17.21", ecosystem=NPM) for name in ("left", "@s/left")]
    edited = edit_package_json(text, steps)
    assert edited.text == text.replace("left@^4.17.15", "left@^4.17.21").replace("left@4.17.15", "left@4.17.21")


def taken(*components: Component) -> Inventory:
    return inventory(*components)


def test_a_plan_edits_manifests_and_says_what_refreshes_locks() -> None:
    all_of = taken(
        component("requests", requirement=">=2,<2.20", file="app/pyproject.toml"),
        locked("requests", "2.19.0", file="app/uv.lock"),
        component("requests", "2.19.0", file="setup.cfg"),
        component("left", requirement="^4.17.15", file="ui/package.json", ecosystem=NPM),
        locked("left", "4.17.15", file="ui/package-lock.json", ecosystem=NPM),
        component("deep", "1.0", file="gone.txt"),
        locked("odd", "1.0", file="pylock.toml"),
    )
    steps = [
        upgrade("requests", "2.19.0", to=TO),
        upgrade("left", "4.17.15", to="4.17.21", ecosystem=NPM),
        upgrade("deep", "1.0", to="2.0"),
        upgrade("odd", "1.0", to="2.0", direct=False),
    ]
    assert manifests(all_of, steps) == ("app/pyproject.toml", "gone.txt", "ui/package.json")
    contents = {
        "app/pyproject.toml": b'[project]\ndependencies = ["requests>=2,<2.20"]',
        "ui/package.json": b'{"dependencies": {"left": "^4.17.15"}}\n',
    }
    patch = plan(steps, all_of, contents)
    # ^4.17.15 allows 4.17.21, so there the lock decides.
    assert [change.file for change in patch.changes] == ["app/pyproject.toml"]
    assert {(one.file, one.package.name) for one in patch.untouched} == {
        ("gone.txt", "deep"),
        ("setup.cfg", "requests"),
    }
    assert patch.commands == (
        "cd app && uv lock --upgrade-package requests==2.32.4",
        "cd ui && npm install left@4.17.21",
        "# Make pylock.toml anew with what wrote it, with odd==2.0.",
    )


def test_names_of_packages_cannot_smuggle_commands() -> None:
    taken_ = taken(locked("x; rm -rf ~", "1", file="a b/uv.lock"))
    (command,) = plan([upgrade("x; rm -rf ~", "1", to="2")], taken_, {}).commands
    assert command == "cd 'a b' && uv lock --upgrade-package 'x; rm -rf ~==2'"


def test_two_generations_in_one_file_go_each_to_its_own() -> None:
    all_of = taken(component("a", "1.26.5", file="r.txt"), component("a", "2.0.1", file="r.txt"))
    text = b"a==1.26.5 ; python_version<'3.9'\na==2.0.1 ; python_version>='3.9'\n"
    steps = [upgrade("a", "1.26.5", to="1.26.18"), upgrade("a", "2.0.1", to="2.0.7")]
    (change,) = plan(steps, all_of, {"r.txt": text}).changes
    assert change.new == text.replace(b"1.26.5", b"1.26.18").replace(b"2.0.1", b"2.0.7")


def patch_of(root: Path, name: str = "requirements.txt", content: bytes = b"requests==2.19.0") -> Patch:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    all_of = taken(component("requests", "2.19.0", file=name))
    steps = [upgrade("requests", "2.19.0", to=TO)]
    return plan(steps, all_of, read_manifests(root, manifests(all_of, steps)))


def test_the_diff_is_one_that_git_applies(tmp_path: Path) -> None:
    patch = patch_of(tmp_path, "sub dir/requirements.txt", b"# a\r\nrequests==2.19.0")
    require("git")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "-p1", "-"], cwd=tmp_path, input=patch.diff.encode(), check=True)
    assert (tmp_path / "sub dir/requirements.txt").read_bytes() == b"# a\r\nrequests==2.32.4"


def test_a_diff_shows_no_passwords_and_what_is_applied_keeps_them(tmp_path: Path) -> None:
    lines = (
        b"--index-url https://me:hush@example.org/simple\nrequests==2.19.0\n"
        b"a @ https://hush@example.org/a.zip\n-e git+ssh://git@example.org/b.git#egg=b\n"
    )
    patch = patch_of(tmp_path, "requirements.txt", lines)
    assert "hush" not in patch.diff
    assert "ssh://git@example.org" in patch.diff
    apply(tmp_path, patch.changes)
    assert (tmp_path / "requirements.txt").read_bytes() == lines.replace(b"2.19.0", b"2.32.4")


def test_what_is_applied_keeps_the_mode_and_leaves_nothing_behind(tmp_path: Path) -> None:
    patch = patch_of(tmp_path)
    (tmp_path / "requirements.txt").chmod(0o640)
    apply(tmp_path, patch.changes)
    assert (tmp_path / "requirements.txt").read_bytes() == b"requests==2.32.4"
    assert stat.S_IMODE((tmp_path / "requirements.txt").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["requirements.txt"]
    with pytest.raises(PatchError, match="has changed since"):
        apply(tmp_path, patch.changes)


def test_nothing_is_applied_when_one_of_the_files_has_changed(tmp_path: Path) -> None:
    first, second = patch_of(tmp_path, "a.txt"), patch_of(tmp_path, "b.txt")
    (tmp_path / "b.txt").write_text("requests==2.19.0 # and more")
    with pytest.raises(PatchError, match=r"b\.txt"):
        apply(tmp_path, first.changes + second.changes)
    assert (tmp_path / "a.txt").read_bytes() == b"requests==2.19.0"


def test_links_are_neither_read_nor_written(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    patch = patch_of(root, "sub/requirements.txt")
    outside.mkdir()
    (outside / "requirements.txt").write_bytes(b"requests==2.19.0")
    (root / "sub" / "requirements.txt").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(outside)
    (root / "link.txt").symlink_to(outside / "requirements.txt")
    assert read_manifests(root, ["sub/requirements.txt", "link.txt", "../outside/requirements.txt"]) == {}
    with pytest.raises(PatchError):
        apply(root, patch.changes)
    assert (outside / "requirements.txt").read_bytes() == b"requests==2.19.0"


def test_what_is_no_text_or_is_too_large_is_told(tmp_path: Path) -> None:
    patch = patch_of(tmp_path, content=b"requests==2.19.0 # \xff")
    assert not patch.changes
    assert "UTF-8" in patch.untouched[0].reason
    large = patch_of(tmp_path, content=b"#" * 5_000_001)
    assert not large.changes
    assert large.untouched


def test_what_is_not_written_by_people_is_not_edited() -> None:
    odd = component("requests", "2.19.0", file="bom.json", evidence=Evidence.sbom)
    assert plan([upgrade("requests", "2.19.0", to=TO)], taken(odd), {}) == Patch()
