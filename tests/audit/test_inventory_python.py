"""What the readers of Python's formats make of files, good and bad."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement as Full
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tasks.advisories.package import PYPI, Package
from tasks.audit.component import Component, Evidence, Origin, Scope
from tasks.audit.inventory.document import Document, Include, Reading
from tasks.audit.inventory.pipfile_lock import read_pipfile, read_pipfile_lock
from tasks.audit.inventory.poetry_lock import read_poetry_lock
from tasks.audit.inventory.poetry_ranges import translated
from tasks.audit.inventory.pylock import read_pylock
from tasks.audit.inventory.pyproject import read_pyproject
from tasks.audit.inventory.requirement import NotARequirementError, parse
from tasks.audit.inventory.requirements import read_constraints, read_requirements
from tasks.audit.inventory.setuptools_files import read_setup_cfg, read_setup_py
from tasks.audit.inventory.toml_parts import InvalidTomlError, parts
from tasks.audit.inventory.toml_parts import parse as parse_toml
from tasks.audit.inventory.uv_lock import read_uv_lock


def document(file: str, content: str | bytes) -> Document:
    return Document("site", file, content if isinstance(content, bytes) else content.encode())


def named(reading: Reading) -> dict[str, Component]:
    return {component.package.name: component for component in reading.components}


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,8}[A-Za-z0-9]", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}((a|b|rc)[0-9])?(\.post[0-9])?(\.dev[0-9])?", fullmatch=True)
CLAUSES = st.builds("{}{}".format, st.sampled_from(["==", "!=", "<=", ">=", "<", ">", "~=", "==="]), VERSIONS)


@settings(max_examples=60)
@given(NAMES, st.lists(NAMES, max_size=2), st.lists(CLAUSES, max_size=3), st.booleans(), st.booleans())
def test_requirements_are_read_as_packaging_reads_them(name, extras, clauses, spaced, marked) -> None:
    text = name + (f"[{','.join(extras)}]" if extras else "") + (", " if spaced else ",").join(clauses)
    text += ' ; python_version < "3.9"' if marked else ""
    try:
        full = Full(text)
    except ValueError:
        with pytest.raises(NotARequirementError):
            parse(text)
        return
    ours = parse(text)
    assert ours.name == canonicalize_name(full.name)
    assert set(ours.extras) == {canonicalize_name(extra) for extra in full.extras}
    assert SpecifierSet(ours.requirement) == full.specifier
    assert ours.marker == str(full.marker or "")


@pytest.mark.parametrize(
    ("poetry", "inside", "outside"),
    [
        ("^1.2.3", "1.9", "2.0"),
        ("^0.2.3", "0.2.9", "0.3.0"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("^0", "0.9", "1.0"),
        ("~1.2.3", "1.2.9", "1.3"),
        ("~1", "1.9", "2.0"),
        ("1.*", "1.7", "2.0"),
        ("1.2", "1.2", "1.2.1"),
        (">= 1.2 , < 2", "1.5", "2.1"),
    ],
)
def test_a_range_of_poetry_means_what_poetry_means_by_it(poetry, inside, outside) -> None:
    specifier = SpecifierSet(translated(poetry))
    assert inside in specifier
    assert outside not in specifier


def test_a_project_says_what_it_needs_when_and_where() -> None:
    reading = read_pyproject(
        document(
            "pyproject.toml",
            """
[build-system]
requires = ["hatchling>=1.5"]
[project]
name = "My.Site"
dependencies = [
    "Requests[socks] >=2,<3",
    "tomli; python_version < '3.11'",
    "lib @ git+https://someone:secret@example.org/lib.git",
]
[project.optional-dependencies]
fast = ["uvloop==0.19.0"]
all = ["my-site[fast]"]
[dependency-groups]
lint = ["ruff"]
dev = [{include-group = "lint"}, "pytest>=8"]
[tool.uv]
constraint-dependencies = ["urllib3<3"]
[tool.uv.sources]
requests = { git = "https://example.org/requests" }
""",
        )
    )
    found = named(reading)
    assert reading.own == {Package(PYPI, "my-site")}
    assert reading.gaps == ()
    assert found["hatchling"].scope is Scope.build
    assert (found["requests"].requirement, found["requests"].extras) == (">=2,<3", ("socks",))
    assert found["requests"].origin is Origin.repository
    assert found["requests"].place.line == 7
    assert found["tomli"].marker == 'python_version < "3.11"'
    assert (found["lib"].origin, found["lib"].version) == (Origin.repository, None)
    assert (found["uvloop"].version, found["uvloop"].scope, found["uvloop"].place.table) == (
        "0.19.0",
        Scope.optional,
        "fast",
    )
    assert (found["pytest"].scope, found["ruff"].place.table) == (Scope.dev, "lint")
    assert found["urllib3"].evidence is Evidence.constraint
    assert "my-site" not in found
    assert "secret" not in repr(reading)


def test_dynamic_dependencies_are_read_where_a_file_has_them_and_are_a_gap_otherwise() -> None:
    head = '[project]\nname = "site"\ndynamic = ["dependencies"]\n'
    described = read_pyproject(
        document("a/pyproject.toml", head + '[tool.setuptools.dynamic]\ndependencies = {file = ["needs.list"]}\n')
    )
    assert described.includes == (Include("needs.list"),)
    assert described.gaps == ()
    (gap,) = read_pyproject(document("a/pyproject.toml", head)).gaps
    assert gap.component == "site/a/pyproject.toml"
    assert all(hidden.endswith(":site/pypi/") for hidden in gap.hides)


def test_poetrys_tables_are_translated() -> None:
    found = named(
        read_pyproject(
            document(
                "pyproject.toml",
                """
[tool.poetry]
name = "site"
[tool.poetry.dependencies]
python = "^3.10"
django = "^4.2"
redis = { version = "~5.0", optional = true, extras = ["hiredis"] }
shared = { path = "../shared" }
numpy = [{ version = "<2", python = "<3.11" }, { version = ">=2", python = ">=3.11" }]
[tool.poetry.group.test.dependencies]
pytest = "*"
""",
            )
        )
    )
    assert "python" not in found
    assert found["django"].requirement == ">=4.2,<5"
    assert (found["redis"].scope, found["redis"].extras) == (Scope.optional, ("hiredis",))
    assert found["shared"].origin is Origin.folder
    assert (found["numpy"].requirement, found["numpy"].marker) == (">=2", 'python_full_version >= "3.11"')
    assert (found["pytest"].scope, found["pytest"].requirement) == (Scope.dev, "")


def test_a_requirements_file_is_read_as_pip_reads_it() -> None:
    reading = read_requirements(
        document(
            "requirements.txt",
            "\ufeff# comment with a backslash \\\n"
            "--index-url https://me:secret@example.org/simple\n"
            "flask == 3.0.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb  # pinned\n"
            'django[argon2]>=4 ; python_version >= "3.8"  # comment\n'
            "-e .[dev]\n"
            "-e git+https://github.com/a/b.git@main#egg=from-git\n"
            "-e ./libs/shared\n"
            "https://files.pythonhosted.org/packages/ab/requests-2.31.0-py3-none-any.whl\n"
            "./vendored/own-1.0.tar.gz\n"
            "-r more/base.txt\n"
            "-c 'limits.txt'\n",
        )
    )
    found = named(reading)
    assert reading.gaps == ()
    assert (found["flask"].version, found["flask"].hashed, found["flask"].place.line) == ("3.0.0", True, 3)
    assert (found["django"].version, found["django"].marker) == (None, 'python_version >= "3.8"')
    assert (found["django"].hashed, found["django"].place.line) == (False, 6)
    assert found["from-git"].origin is Origin.repository
    assert (found["requests"].origin, found["requests"].version) == (Origin.registry, "2.31.0")
    assert (found["own"].origin, found["own"].version) == (Origin.address, "1.0")
    assert [(include.file, include.constraint) for include in reading.includes] == [
        ("./libs/shared/pyproject.toml", False),
        ("more/base.txt", False),
        ("limits.txt", True),
    ]
    assert "secret" not in repr(reading)


def test_a_range_is_never_taken_for_a_version() -> None:
    found = named(read_requirements(document("requirements.txt", "a>=1.0\nb~=1.4\nc==1.*\nd<2,==1.5\ne===1.0-x\nf\n")))
    assert [found[name].version for name in "abcdef"] == [None, None, None, "1.5", "1.0-x", None]


def test_what_is_not_understood_is_a_gap_and_the_rest_is_read() -> None:
    reading = read_requirements(
        document(
            "requirements.txt",
            "good==1\n${NAME}==2\nthis is prose\n-r ${WHERE}/x.txt\n-r https://example.org/r.txt\n-é\n"
            "https://user:secret@example.org/x\n--hidden yes\nlast==2\n",
        )
    )
    assert set(named(reading)) == {"good", "last"}
    told = " ".join(gap.reason for gap in reading.gaps)
    for line in (2, 3, 4, 5, 7):
        assert f"line {line} " in told
    assert "secret" not in told


def test_a_compiled_file_is_a_lock_that_tells_who_asks() -> None:
    reading = read_requirements(
        document(
            "requirements.txt",
            "# This file was autogenerated by uv via the following command:\n"
            "click==8.1.7\n    # via\n    #   -r requirements.in\n    #   flask\n"
            "flask==3.0.0\n    # via site (pyproject.toml)\n"
            "markupsafe==2.1.0 \\\n    --hash=sha256:aa\n    # via jinja2\n"
            "jinja2==3.1.0 # via flask\n",
        )
    )
    found = named(reading)
    assert {component.evidence for component in reading.components} == {Evidence.locked}
    assert [found[name].direct for name in ("click", "flask", "markupsafe")] == [True, True, False]
    assert found["flask"].requires == (("click", "8.1.7"), ("jinja2", "3.1.0"))


def test_constraints_say_versions_and_need_nothing() -> None:
    (pin,) = read_constraints(document("constraints.txt", "a==1\n")).components
    assert (pin.evidence, pin.version) == (Evidence.constraint, "1")


def test_files_as_windows_shells_write_them_are_read() -> None:
    content = "a==1\r\nb==2\r\n".encode("utf-16-le")
    assert set(named(read_requirements(document("requirements.txt", b"\xff\xfe" + content)))) == {"a", "b"}


UV = """version = 1
revision = 3
requires-python = ">=3.11"

[manifest]
members = ["site", "worker"]

[[package]]
name = "site"
version = "1.0"
source = { editable = "." }
dependencies = [
    { name = "flask", extra = ["async"] },
]

[package.dev-dependencies]
dev = [
    { name = "pytest" },
]

[package.metadata]
requires-dist = [{ name = "flask", specifier = ">=3" }]

[[package]]
name = "worker"
source = { virtual = "worker" }

[[package]]
name = "flask"
version = "3.0.0"
source = { registry = "https://pypi.org/simple" }
dependencies = [
    { name = "numpy", version = "1.26", source = { registry = "https://pypi.org/simple" }, marker = "x" },
]
sdist = { url = "https://example.org/flask.tar.gz", hash = "sha256:aa", size = 1 }
wheels = [
    { url = "https://example.org/flask-1.whl", hash = "sha256:aa" },
    { url = "https://example.org/flask-2.whl", hash = "sha256:bb" },
    { url = "https://example.org/flask-3.whl", hash = "sha256:cc" },
]

[[package]]
name = "numpy"
version = "1.26"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "numpy"
version = "2.0"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "pytest"
version = "8.0"
source = { git = "https://example.org/pytest?rev=1#2" }
"""


def test_uvs_lock_is_read_with_its_projects_scopes_and_edges() -> None:
    reading = read_uv_lock(document("uv.lock", UV))
    found = {(one.package.name, one.version): one for one in reading.components}
    assert reading.gaps == ()
    assert {package.name for package in reading.own} == {"site", "worker"}
    flask = found["flask", "3.0.0"]
    assert (flask.requires, flask.hashed, flask.scope) == ((("numpy", "1.26"),), True, Scope.runtime)
    assert UV.splitlines()[flask.place.line - 1] == 'name = "flask"'
    assert (found["pytest", "8.0"].scope, found["pytest", "8.0"].origin) == (Scope.dev, Origin.repository)
    assert found["worker", None].origin is Origin.folder


def test_a_malformed_table_of_a_lock_hides_no_other() -> None:
    broken = UV.replace('version = "3.0.0"', "version = ").replace(
        'name = "pytest"\nversion', 'name = "no name"\nversion'
    )
    reading = read_uv_lock(document("uv.lock", broken))
    assert {one.package.name for one in reading.components} == {"site", "worker", "numpy"}
    (gap,) = reading.gaps
    assert "not valid TOML" in gap.reason
    assert "no name" in gap.reason


@pytest.mark.parametrize("quote", ['"""', "'''"])
def test_a_table_inside_of_a_string_is_no_package(quote) -> None:
    text = f'[[package]]\nname = "a"\nversion = "1"\ntext = {quote}\n[[package]]\nname = "b"\nversion = "2"\n{quote}\n'
    reading = read_uv_lock(document("uv.lock", text))
    assert "b" not in named(reading)
    assert reading.gaps


@given(st.lists(st.tuples(NAMES, VERSIONS, st.text(max_size=8), st.lists(NAMES, max_size=3)), min_size=1, max_size=5))
def test_a_lock_in_parts_says_what_it_says_in_one_piece(packages) -> None:
    def quoted(text: str) -> str:
        return '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'

    text = ""
    for name, version, words, needs in packages:
        text += f'[[package]]\nname = "{name}"\nversion = "{version}"\ndescription = {quoted(words)}\nfiles = [\n'
        text += f'    {{file = {quoted(words)}, hash = "x"}},\n' * len(needs)
        text += "]\n[package.dependencies]\n" + "".join(f'"{need}" = "*"\n' for need in dict.fromkeys(needs))
    whole = tomllib.loads(text)["package"]
    told = [data for part in parts(text, "package") for data in part.data.get("package", [])]
    for data in whole:
        data["files"] = data["files"][:1]  # of the others nothing is wanted
    assert told == whole


def test_poetrys_locks_of_both_generations_are_read() -> None:
    first = read_poetry_lock(
        document(
            "poetry.lock",
            '[[package]]\nname = "Django"\nversion = "4.2"\ncategory = "main"\noptional = false\n'
            '[package.dependencies]\nasgiref = ">=3.6"\ntzdata = {version = "*", markers = "x"}\n'
            '[[package]]\nname = "pytest"\nversion = "8.0"\ncategory = "dev"\noptional = false\n'
            '[metadata]\nlock-version = "1.1"\n[metadata.files]\nDjango = [\n    {file = "x", hash = "sha256:aa"},\n]\n'
            "pytest = []\n",
        )
    )
    found = named(first)
    assert first.gaps == ()
    assert found["django"].requires == (("asgiref", ""), ("tzdata", ""))
    assert (found["django"].hashed, found["pytest"].hashed, found["pytest"].scope) == (True, False, Scope.dev)
    second = read_poetry_lock(
        document(
            "poetry.lock",
            '[[package]]\nname = "colorama"\nversion = "0.4"\noptional = false\ngroups = ["main", "dev"]\n'
            'markers = "sys_platform == \\"win32\\""\nfiles = [\n    {file = "x", hash = "sha256:aa"},\n]\n'
            '[[package]]\nname = "lib"\nversion = "1"\noptional = true\ngroups = ["main"]\n'
            '[package.source]\ntype = "git"\nurl = "https://example.org/lib"\n'
            '[metadata]\nlock-version = "2.1"\n',
        )
    )
    found = named(second)
    assert second.gaps == ()
    assert (found["colorama"].marker, found["colorama"].hashed) == ('sys_platform == "win32"', True)
    assert (found["lib"].scope, found["lib"].origin) == (Scope.optional, Origin.repository)


def test_a_standard_lock_is_read() -> None:
    reading = read_pylock(
        document(
            "pylock.toml",
            'lock-version = "1.0"\ncreated-by = "uv"\n[[packages]]\nname = "a"\nversion = "1"\n'
            'dependencies = [{name = "b", version = "2"}]\nwheels = [{url = "https://x", hashes = {sha256 = "aa"}}]\n'
            '[[packages]]\nname = "b"\nversion = "2"\nmarker = "\'test\' in dependency_groups"\n'
            '[[packages]]\nname = "c"\n[packages.vcs]\ntype = "git"\nurl = "https://x"\n',
        )
    )
    found = named(reading)
    assert reading.gaps == ()
    assert (found["a"].hashed, found["a"].requires, found["b"].scope) == (True, (("b", "2"),), Scope.dev)
    assert (found["c"].origin, found["c"].version) == (Origin.repository, None)


def test_pipenvs_files_are_read() -> None:
    reading = read_pipfile_lock(
        document(
            "Pipfile.lock",
            '{"_meta": {"pipfile-spec": 6}, "default": {\n    "flask": {"version": "==3.0", "hashes": ["sha256:a"]},\n'
            '    "lib": {"git": "https://x", "ref": "1"}\n}, "develop": {"pytest": {"version": "==8", '
            '"markers": "python_version >= \'3.8\'"}, "odd": {}}}',
        )
    )
    found = named(reading)
    assert (found["flask"].version, found["flask"].hashed, found["lib"].origin) == ("3.0", True, Origin.repository)
    assert (found["pytest"].scope, found["pytest"].marker) == (Scope.dev, 'python_version >= "3.8"')
    assert "odd has no version" in reading.gaps[0].reason
    asked = named(read_pipfile(document("Pipfile", '[packages]\nflask = "*"\n[dev-packages]\npytest = "==8.0"\n')))
    assert (asked["flask"].version, asked["pytest"].version, asked["pytest"].scope) == (None, "8.0", Scope.dev)


@pytest.mark.parametrize("reader", [read_uv_lock, read_poetry_lock, read_pylock, read_pipfile_lock])
def test_a_lock_that_is_empty_or_of_another_format_is_never_clean(reader) -> None:
    assert reader(document("a.lock", "")).gaps
    assert reader(document("a.lock", 'version = 9\nlock-version = "9.0"\n[metadata]\nlock-version = "9"\n')).gaps


UV_FROM = 'version = 1\n[[package]]\nname = "a"\nversion = "1"\nsource = { %s }\n'
POETRY = '[[package]]\nname = "a"\nversion = "1"\n[package.source]\ntype = "%s"\nurl = "x"\n[metadata]\n'
PYLOCK = 'lock-version = "1.0"\n[[packages]]\nname = "a"\nversion = "1"\n[packages.%s]\npath = "a.zip"\n'


@pytest.mark.parametrize(
    ("reader", "content", "origin", "version"),
    [
        (read_uv_lock, UV_FROM % 'path = "a-1.zip"', Origin.address, "1"),
        (read_uv_lock, UV_FROM % 'directory = "a"', Origin.folder, "1"),
        (read_poetry_lock, POETRY % "file", Origin.address, "1"),
        (read_poetry_lock, POETRY % "directory", Origin.folder, "1"),
        (read_pylock, PYLOCK % "archive", Origin.address, "1"),
        (read_pylock, PYLOCK % "directory", Origin.folder, "1"),
        (read_pipfile_lock, '{"default": {"a": {"path": "./a-1.tar.gz"}}}', Origin.address, "1"),
        (read_pipfile_lock, '{"default": {"a": {"file": "https://x/a-1-py3-none-any.whl"}}}', Origin.address, "1"),
        (read_pipfile_lock, '{"default": {"a": {"file": "https://x/a.zip"}}}', Origin.address, None),
        (read_pipfile_lock, '{"default": {"a": {"path": "./a.whl", "version": "==1"}}}', Origin.address, "1"),
        (read_pipfile_lock, '{"default": {"a": {"path": "./a"}}}', Origin.folder, None),
        (read_pyproject, '[tool.poetry.dependencies]\na = {path = "a.zip"}\n', Origin.address, None),
        (read_pipfile, '[packages]\na = {path = "./a-1.tar.gz"}\n', Origin.address, "1"),
        (read_pyproject, '[tool.poetry.dependencies]\na = {path = "b-1.tar.gz"}\n', Origin.address, None),
        (read_pyproject, '[tool.poetry.dependencies]\na = {path = "a"}\n', Origin.folder, None),
        (read_requirements, "a @ file:///x/a-1-py3-none-any.whl\n", Origin.address, "1"),
        (read_requirements, "a @ https://example.org/a-1%2Bcpu-py3-none-any.whl\n", Origin.address, "1+cpu"),
        (read_requirements, "a @ https://example.org/b-1-py3-none-any.whl\n", Origin.address, None),
        (read_requirements, "a @ file:///x/a\n", Origin.folder, None),
    ],
)
def test_what_is_packed_is_no_source_code_wherever_it_lies(reader, content, origin, version) -> None:
    (found,) = reader(document("a.lock", content)).components
    assert (found.origin, found.version) == (origin, version)


def test_a_source_for_some_systems_only_leaves_the_registry_to_the_others() -> None:
    asked = '[project]\ndependencies = ["a==1"]\n[tool.uv.sources]\na = '
    for source, origin in (
        ('{ path = "a" }', Origin.folder),
        ('{ path = "a-1.tar.gz" }', Origin.address),
        ('[{ path = "a", marker = "sys_platform == \'win32\'" }]', Origin.registry),
    ):
        (found,) = read_pyproject(document("pyproject.toml", asked + source)).components
        assert found.origin is origin


def test_a_lock_whose_rest_is_lost_is_a_gap() -> None:
    whole = (
        'version = 1\n[[package]]\nname = "a"\nversion = "1"\nsource = { registry = "x" }\n'
        'dependencies = [{ name = "b" }]\n'
    )
    (gap,) = read_uv_lock(document("uv.lock", whole)).gaps
    assert "a needs b, which is not in it" in gap.reason
    rest = '[[package]]\nname = "b"\nversion = "1"\nsource = { registry = "x" }\n'
    assert not read_uv_lock(document("uv.lock", whole + rest)).gaps
    assert read_pipfile_lock(document("Pipfile.lock", "{}")).gaps


def test_tables_of_other_tools_are_read_or_told() -> None:
    rye = read_pyproject(document("pyproject.toml", '[tool.rye]\ndev-dependencies = ["a==1"]\n'))
    assert [(one.package.name, one.scope) for one in rye.components] == [("a", Scope.dev)]
    assert read_pyproject(document("pyproject.toml", '[tool.pixi.dependencies]\na = "==1"\n')).gaps


def test_setup_cfg_is_read_and_setup_py_is_a_gap() -> None:
    reading = read_setup_cfg(
        document(
            "setup.cfg",
            "[metadata]\nname = site\n[options]\ninstall_requires =\n    a>=1\n    b; python_version<'3'\n"
            "[options.extras_require]\nfast = c==1\n",
        )
    )
    assert {name: one.scope for name, one in named(reading).items()} == {
        "a": Scope.runtime,
        "b": Scope.runtime,
        "c": Scope.optional,
    }
    assert read_setup_py(document("setup.py", "from setuptools import setup\nsetup(install_requires=['a'])\n")).gaps
    assert not read_setup_py(document("setup.py", "from setuptools import setup\nsetup()\n")).gaps
    assert not read_setup_py(document("tool/setup.py", "def setup(): ...\n")).gaps


READERS = [
    read_pyproject,
    read_requirements,
    read_constraints,
    read_uv_lock,
    read_poetry_lock,
    read_pylock,
    read_pipfile_lock,
    read_pipfile,
    read_setup_cfg,
    read_setup_py,
]
HOSTILE = {
    "deep": b"a = " + b"[" * 200_000,
    "deep tables": b"[[package]]\nname = " + b"{a=" * 100_000,
    "deep json": b'{"default":' + b"[" * 200_000,
    "long key": b"[" + b"a." * 200_000 + b"a]\n",
    "dotted": b"a." * 200_000 + b"a = 1\n",
    "many tables": b"[[package]]\n" * 5_000,
    "many headers": b"".join(b"[a%d]\n" % number for number in range(3_000)),
    "long number": b"a = " + b"9" * 500_000,
    "long line": b"a" * 1_000_000,
    "spaces": b"a" + b" " * 1_000_000 + b"#",
    "spaces again": b"a" + b" " * 3_000 + b"[" + b" " * 900,
    "nothing": b"",
    "zeros": b"\0" * 1_000,
    "no utf-8": b"\xff\xfe\xfa[[package]]\nname = \xff\n",
    "wrong types": b'project = 1\n"dependency-groups" = 2\ntool = 3\npackage = 4\nbuild-system = "x"\ndefault = 1\n',
    "other types": b"[project]\nname = 1\ndependencies = {a = 1}\noptional-dependencies = [1]\ndynamic = 7\n"
    b"[tool]\npoetry = {dependencies = [1], group = 1}\nuv = {sources = {a = 1}, dev-dependencies = 2}\n"
    b"[[package]]\nname = 1\nversion = [2]\nsource = 3\ndependencies = 4\n[[packages]]\nname = []\n",
    "lists": b'{"default": [1], "develop": {"a": 1, "-": {}}, "x": null}',
    "same table twice": b'[project]\nname = "a"\n[project]\nname = "b"\n',
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_no_content_ends_or_delays_a_reader(reader, content) -> None:
    reading = reader(document("some.file", content))
    assert all(gap.component == "site/some.file" for gap in reading.gaps)
    assert all(len(gap.reason) < 1_000 for gap in reading.gaps)


@pytest.mark.parametrize("text", [HOSTILE["deep"], HOSTILE["long key"], HOSTILE["long number"], b"a=1\na=2"])
def test_toml_that_is_not_valid_is_refused(text) -> None:
    with pytest.raises(InvalidTomlError):
        parse_toml(text.decode())


@settings(max_examples=30)
@given(st.binary(max_size=300))
def test_any_bytes_give_an_answer(content) -> None:
    for reader in READERS:
        reader(document("f", content))
