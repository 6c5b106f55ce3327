"""What Dockerfiles, compose files, workflows and file systems of images are said to hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.advisories.package import ACTIONS, DOCKER, NPM, PYPI, Package
from tasks.audit.component import Origin, Scope
from tasks.audit.inventory.compose import read_compose
from tasks.audit.inventory.dockerfile import read_dockerfile
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.image import read_image
from tasks.audit.inventory.image_names import ecosystem_of, full_name
from tasks.audit.inventory.inside import resolve
from tasks.audit.inventory.workflow import read_workflow

DIGEST = "sha256:" + "0123456789abcdef" * 4
COMMIT = "0123456789" * 4


def dockerfile(text: str, name: str = "Dockerfile") -> Reading:
    return read_dockerfile(Document("site", name, text.encode()))


def told(reading: Reading, family: str) -> list[tuple[str, str | None, str, int | None]]:
    return [
        (one.package.name, one.version, one.requirement, one.place.line)
        for one in reading.components
        if one.package.family == family
    ]


def test_base_images_are_known_by_their_full_names_and_stages_are_no_images() -> None:
    reading = dockerfile(f"""# syntax=docker/dockerfile:1
ARG PY=3.12
FROM --platform=$BUILDPLATFORM python:${{PY}}-slim AS base
FROM base AS build
COPY --from=ghcr.io/astral-sh/uv:0.5.1 /uv /bin/
COPY --from=base /a /a
COPY --from=0 /a /a
RUN --mount=type=bind,from=golang:1.22,target=/go true
FROM scratch
FROM localhost:5000/team/app@{DIGEST}
FROM node:${{NODE:-20}}
FROM alpine
""")
    assert told(reading, DOCKER) == [
        ("docker.io/library/python", "3.12-slim", "3.12-slim", 3),
        ("ghcr.io/astral-sh/uv", "0.5.1", "0.5.1", 5),
        ("docker.io/library/golang", "1.22", "1.22", 8),
        ("localhost:5000/team/app", DIGEST, "", 10),
        ("docker.io/library/node", "20", "20", 11),
        ("docker.io/library/alpine", None, "", 12),
    ]
    hashed = {one.package.name: one.hashed for one in reading.components}
    assert [name for name, is_hashed in hashed.items() if is_hashed] == ["localhost:5000/team/app"]
    assert {one.package.name: one.scope for one in reading.components}["docker.io/library/alpine"] is Scope.runtime
    assert not reading.gaps


def test_packages_of_apt_belong_to_the_release_that_the_base_image_tells() -> None:
    reading = dockerfile("""FROM python:3.12-slim-bookworm AS base
ENV CURL=7.88.1-10+deb12u5
FROM base
RUN apt-get update && \\
    # what is needed
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -t bookworm-backports \\
      curl=${CURL} \\
      "git" libssl3:amd64 && \\
    rm -rf /var/lib/apt/lists/*
""")
    assert [(one.package, one.version, one.place.line) for one in reading.components[1:]] == [
        (Package("Debian:12", "curl"), "7.88.1-10+deb12u5", 6),
        (Package("Debian:12", "git"), None, 6),
        (Package("Debian:12", "libssl3"), None, 6),
    ]
    assert [gap.hides[-1] for gap in reading.gaps] == ["dependencies.vulnerability:site/debian/"]
    assert "source packages" in reading.gaps[0].reason


@pytest.mark.parametrize(
    ("image", "ecosystem"),
    [
        ("debian:12", "Debian:12"),
        ("debian:12.5-slim", "Debian:12"),
        ("debian:bookworm-20240101-slim", "Debian:12"),
        ("node:20-bullseye", "Debian:11"),
        ("docker.io/library/ubuntu:22.04", "Ubuntu:22.04:LTS"),
        ("ubuntu:23.10", "Ubuntu:23.10"),
        ("ubuntu:noble", "Ubuntu:24.04:LTS"),
        ("buildpack-deps:jammy", "Ubuntu:22.04:LTS"),
        ("python:3.12", None),
        ("debian:stable", None),
        ("team/debian-like:12", None),
    ],
)
def test_releases_that_tags_tell(image: str, ecosystem: str | None) -> None:
    assert ecosystem_of(image) == ecosystem


def test_what_pip_uv_and_npm_install_by_name_is_asked_for() -> None:
    reading = dockerfile("""FROM python:3.12
ARG FLASK=2.0.1
RUN pip install -i https://user:pw@index/simple 'Requests==2.31.0' "uvicorn[standard]>=0.20,<1" -r requirements.txt .
RUN ["pip3", "install", "django==4.2", "-e", "./here"]
RUN python3 -m pip install "flask==$FLASK" 2>&1 | tee log; uv pip install --system httpx==0.27.0
RUN <<EOF
npm install -g typescript@5.4.2 @scope/x@^1
npm ci
echo pip install never
EOF
ONBUILD RUN pip install later==1
SHELL ["/bin/bash", "-c"]
""")
    assert told(reading, PYPI) == [
        ("requests", "2.31.0", "==2.31.0", 3),
        ("uvicorn", None, ">=0.20,<1", 3),
        ("django", "4.2", "==4.2", 4),
        ("flask", "2.0.1", "==2.0.1", 5),
        ("httpx", "0.27.0", "==0.27.0", 5),
        ("later", "1", "==1", 11),
    ]
    assert told(reading, NPM) == [("typescript", "5.4.2", "5.4.2", 7), ("@scope/x", None, "^1", 7)]
    assert not reading.gaps


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'pip install alpha==1.0'",
        "bash -lc 'set -e; sudo pip install alpha==1.0'",
        'eval "pip install alpha==1.0"',
        "timeout 60 pip install alpha==1.0",
        "pip download alpha==1.0",
        "uv add alpha==1.0",
        "poetry add alpha==1.0",
        "uvx alpha@1.0",
        "pipx run alpha==1.0",
        "uv tool run alpha==1.0 && uv run beta",
        "pip install https://example.org/alpha-1.0-py3-none-any.whl",
    ],
)
def test_other_ways_to_install_the_same(command: str) -> None:
    reading = dockerfile(f"FROM python:3.12\nRUN {command}\n")
    assert [one[:2] for one in told(reading, PYPI)] == [("alpha", "1.0")]
    assert not reading.gaps


@pytest.mark.parametrize(
    "command",
    [
        "pip install git+https://me:hush@example.org/a.git",
        "pip install -r /tmp/list.txt",
        "pip install --requirement=list.txt",
        "cat list | xargs pip install",
        "conda install -y a=1",
        "easy_install a",
        "dpkg -i a.deb",
        "rpm -ivh https://example.org/a.rpm",
        "cargo add serde",
        "npx --yes a@https://me:hush@example.org/a.tgz",
    ],
)
def test_what_is_installed_from_elsewhere_is_told(command: str) -> None:
    reading = dockerfile(f"FROM python:3.12\nRUN {command}\n")
    assert reading.gaps or [one for one in reading.components if one.origin is not Origin.registry]
    assert "hush" not in repr(reading)


def test_commands_in_commands_come_to_an_end() -> None:
    assert dockerfile("FROM x\nRUN " + "eval " * 5_000 + "pip install a==1\n").components


def test_what_a_build_brings_in_unseen_is_told() -> None:
    reading = dockerfile("""ARG BASE
FROM $BASE
FROM debian:12
RUN apk add curl && dnf -y install nginx && pip install $EXTRA && gem install rails
what is this
""")
    hidden = {gap.hides[-1].rpartition(":site/")[2].rstrip("/") for gap in reading.gaps}
    assert hidden == {"docker", "alpine", "red-hat", "pypi", "rubygems", ""}
    assert dockerfile("RUN x").gaps
    assert dockerfile("").gaps
    assert dockerfile("FROM x\n" + "#" * 300_000).gaps
    assert dockerfile("not a Dockerfile", "Dockerfile.dockerignore") == Reading()


def test_with_the_backtick_as_escape_a_backslash_ends_no_line() -> None:
    reading = dockerfile("# escape=`\nFROM windows:1\nRUN dir C:\\\nRUN pip install `\n  a==1\n")
    assert told(reading, PYPI) == [("a", "1", "==1", 4)]


def test_variables_that_double_do_not_grow() -> None:
    reading = dockerfile("FROM a\nENV A=xxxx\n" + "ENV A=$A$A\n" * 5000 + "RUN pip install a==$A\n")
    assert [one.package.family for one in reading.components] == [DOCKER]
    assert reading.gaps


@given(st.text(alphabet="FROMRUNapt-get install\\\n\"'$ {}[]<#=:@&|;\t", max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_without_an_error(text: str) -> None:
    dockerfile(text)
    dockerfile("FROM a\nRUN " + text)
    read_compose(Document("site", "compose.yml", text.encode()))
    read_workflow(Document("site", "w.yml", text.encode()))


def test_compose_files_start_images_that_are_not_built_there() -> None:
    content = """x-cache: &cache
  image: redis:${REDIS:-7.2}
services:
  a: {<<: *cache, ports: [1]}
  b: {image: "mine:1", build: .}
  c: {image: "$UNKNOWN"}
  d:
    build:
      dockerfile_inline: |
        FROM debian:12
        RUN apt-get install -y openssl
  e: &e
    depends_on: *cache
"""
    reading = read_compose(Document("site", "compose.yml", content.encode()))
    assert told(reading, DOCKER) == [
        ("docker.io/library/redis", "7.2", "7.2", 2),
        ("docker.io/library/debian", "12", "12", 10),
    ]
    assert [(one.package, one.place.line) for one in reading.components[2:]] == [(Package("Debian:12", "openssl"), 11)]
    assert "line 6" in reading.gaps[0].reason


@pytest.mark.parametrize(
    "content",
    [
        "services: [" * 1000,
        "a: &a {b: 1}\nservices: *b",
        "services: &a\n  <<: *a\n",
        "a0: &a0 {x: {image: r}}\n"
        + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 15))
        + "services: *a14\n",
        "services: words",
        "\x00",
    ],
)
def test_hostile_yaml_is_a_gap(content: str) -> None:
    reading = read_compose(Document("site", "compose.yml", content.encode()))
    assert not reading.components
    assert reading.gaps


def test_workflows_use_actions_by_tags_and_by_commits() -> None:
    content = f"""on: push
jobs:
  a:
    container: node:20
    services: {{db: {{image: "postgres:16"}}}}
    steps:
      - uses: actions/checkout@v4
      - uses: "Actions/Setup-Node@v4.1.1"
      - uses: github/codeql-action/init@{COMMIT} # v3.28.1
      - uses: actions/cache@{COMMIT}
      - uses: docker://alpine:3.19
      - uses: ./.github/actions/local
      - run: |
          echo uses: x/y@v1
  b:
    uses: org/repo/.github/workflows/x.yml@main
  c:
    container: ${{{{ matrix.image }}}}
"""
    reading = read_workflow(Document("site", ".github/workflows/ci.yml", content.encode()))
    assert told(reading, ACTIONS) == [
        ("actions/checkout", "v4", "v4", 7),
        ("actions/setup-node", "v4.1.1", "v4.1.1", 8),
        ("github/codeql-action", "v3.28.1", COMMIT, 9),
        ("actions/cache", None, COMMIT, 10),
        ("org/repo", None, "main", 16),
    ]
    assert [one.hashed for one in reading.components if one.package.family == ACTIONS] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert [name for name, *_ in told(reading, DOCKER)] == [
        "docker.io/library/alpine",
        "docker.io/library/node",
        "docker.io/library/postgres",
    ]
    assert {one.scope for one in reading.components} == {Scope.build}
    assert [gap.hides[-1] for gap in reading.gaps] == ["dependencies.vulnerability:site/docker/"]
    action = b"runs: {using: composite, steps: [{uses: a/b@v1.2.3}, {uses: nonsense}]}"
    reading = read_workflow(Document("site", "action.yml", action))
    assert told(reading, ACTIONS) == [("a/b", "v1.2.3", "v1.2.3", 1)]
    assert "nonsense" in reading.gaps[0].reason


@given(st.from_regex(r"[a-z0-9]{1,6}(/[a-z0-9]{1,6}){0,2}", fullmatch=True))
def test_a_full_name_is_the_full_name_of_itself(name: str) -> None:
    assert full_name(full_name(name)) == full_name(name)
    assert full_name(name).startswith("docker.io/")


# --- file systems of images ---

STATUS = """Package: libssl3
Status: install ok installed
Source: openssl
Version: 3.0.11-1~deb12u2
Description: a library
 with Package: in its
 .
 description

Package: openssl
Status: install ok installed
Version: 3.0.11-1~deb12u2

Package: libc6
Status: install ok installed
Source: glibc (2.36-9)
Version: 2.36-9+b1

Package: gone
Status: deinstall ok config-files
Version: 1.0

Package: BROKEN NAME
Status: install ok installed
Version: 1.0
"""


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def versions(reading: Reading) -> dict[Package, str | None]:
    return {one.package: one.version for one in reading.components}


def test_an_image_holds_the_source_packages_that_are_installed(tmp_path: Path) -> None:
    root = make(tmp_path, {"usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\n', "var/lib/dpkg/status": STATUS})
    (root / "etc").mkdir()
    (root / "etc/os-release").symlink_to("/usr/lib/os-release")  # the image's, not that of this machine
    reading = read_image("site", root)
    assert versions(reading) == {
        Package("Debian:12", "openssl"): "3.0.11-1~deb12u2",
        Package("Debian:12", "glibc"): "2.36-9",
    }
    first = reading.components[0]
    assert (first.place.file, first.place.line, first.place.table) == ("var/lib/dpkg/status", 1, "libssl3")
    assert "BROKEN NAME" in reading.gaps[0].reason


def test_images_without_dpkg_list_one_file_a_package(tmp_path: Path) -> None:
    files = {
        "etc/os-release": "ID=ubuntu\nVERSION_ID='22.04'\n",
        "var/lib/dpkg/status.d/tzdata": "Package: tzdata\nVersion: 2024a-0ubuntu0.22.04\n",
        "var/lib/dpkg/status.d/tzdata.md5sums": "0123  usr/share/zoneinfo/UTC\n",
    }
    reading = read_image("site", make(tmp_path, files))
    assert versions(reading) == {Package("Ubuntu:22.04:LTS", "tzdata"): "2024a-0ubuntu0.22.04"}
    assert not reading.gaps


@pytest.mark.parametrize(
    ("files", "hidden"),
    [
        ({"etc/os-release": "ID=alpine\n", "lib/apk/db/installed": "P:musl\n"}, "alpine"),
        ({"etc/os-release": "ID=rocky\n", "var/lib/rpm/rpmdb.sqlite": "x"}, "red-hat"),
        ({"etc/os-release": "ID=kali\n", "var/lib/dpkg/status": STATUS.partition("\n\n")[0]}, "debian"),
        ({"etc/os-release": "ID=debian\n", "var/lib/dpkg/status": STATUS.partition("\n\n")[0]}, "debian"),
        ({"bin/sh": "x"}, ""),
    ],
)
def test_what_of_an_image_is_not_looked_at_is_told(tmp_path: Path, files: dict[str, str], hidden: str) -> None:
    reading = read_image("site", make(tmp_path, files))
    assert [gap.hides[-1] for gap in reading.gaps] == [
        f"dependencies.vulnerability:site/{hidden + '/' if hidden else ''}"
    ]


def test_packages_of_npm_and_stray_distributions_are_found_wherever_they_are(tmp_path: Path) -> None:
    files = {
        "etc/os-release": "ID=debian\nVERSION_ID=12\n",
        "var/lib/dpkg/status": STATUS.partition("\n\n")[0] + "\n",
        "app/node_modules/x/package.json": '{"name": "x", "version": "1.0.0", "license": "MIT"}',
        "app/node_modules/x/node_modules/@s/y/package.json": '{"name": "@s/y", "version": "2.0.0"}',
        "app/node_modules/.pnpm/z@3.0.0/node_modules/z/package.json": '{"name": "z", "version": "3.0.0"}',
        "app/node_modules/broken/package.json": "{",
        "opt/python/lib/site-packages/a-1.0.dist-info/METADATA": "Name: a\nVersion: 1.0\n\n",
        "proc/1/node_modules/p/package.json": '{"name": "p", "version": "1.0.0"}',
    }
    root = make(tmp_path, files)
    (root / "app/node_modules/z").symlink_to(".pnpm/z@3.0.0/node_modules/z")
    reading = read_image("site", root)
    found = versions(reading)
    del found[Package("Debian:12", "openssl")]
    assert found == {
        Package(NPM, "x"): "1.0.0",
        Package(NPM, "@s/y"): "2.0.0",
        Package(NPM, "z"): "3.0.0",
        Package(PYPI, "a"): "1.0",
    }
    assert [gap.component for gap in reading.gaps] == ["site/app/node_modules"]


def test_an_image_whose_database_is_emptied_is_never_clean(tmp_path: Path) -> None:
    files = {"etc/os-release": "ID=debian\nVERSION_ID=12\n", "var/lib/dpkg/status": ""}
    assert "lists no package" in read_image("site", make(tmp_path / "a", files)).gaps[0].reason
    files["var/lib/dpkg/status.d/x"] = "Package: x\nVersion: 1\n"
    assert not read_image("site", make(tmp_path / "b", files)).gaps


def test_links_never_lead_out_of_an_image(tmp_path: Path) -> None:
    secret = tmp_path / "status"
    secret.write_text(STATUS)
    (tmp_path / "package.json").write_text('{"name": "outside", "version": "1.0.0"}')
    root = make(tmp_path / "image", {"etc/os-release": "ID=debian\nVERSION_ID=12\n"})
    for place, target in {
        "var/lib/dpkg/status": str(secret),
        "var/lib/dpkg/status.d": "../../../../../..",
        "app/node_modules/x/package.json": str(tmp_path / "package.json"),
        "srv/node_modules": str(tmp_path),
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).symlink_to(target)
    reading = read_image("site", root)
    assert not reading.components
    assert reading.gaps


def test_pipes_loops_and_huge_files_do_not_hold_up_an_image(tmp_path: Path) -> None:
    root = make(tmp_path, {"etc/os-release": "ID=debian\nVERSION_ID=12\n", "a/node_modules/x/y": ""})
    (root / "var/lib/dpkg").mkdir(parents=True)
    os.mkfifo(root / "var/lib/dpkg/status")
    os.mkfifo(root / "a/node_modules/x/package.json")
    (root / "usr").symlink_to("usr")
    reading = read_image("site", root)
    assert not reading.components
    assert len(reading.gaps) == 2


def test_paths_of_an_image_are_those_that_a_container_sees(tmp_path: Path) -> None:
    root = os.path.realpath(make(tmp_path, {"a/b/c": "x"}))
    (tmp_path / "abs").symlink_to("/a/b")
    (tmp_path / "up").symlink_to("../../../../a")
    (tmp_path / "loop").symlink_to("/loop2")
    (tmp_path / "loop2").symlink_to("/loop")
    for path in ("a/b/c", "/abs/c", "up/b/c", "../../a/./b/c", "abs/../b/c"):
        assert resolve(root, path) == f"{root}/a/b/c"
    for path in ("loop", "etc/passwd", "a/b/c/d", "x\0y"):
        assert resolve(root, path) is None
