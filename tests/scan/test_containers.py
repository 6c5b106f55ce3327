"""Dockerfiles and compose files: what should not be so is found where it stands, and what is fine is left alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blocks.settings import CHECKOUT
from models.health_check import Checkout
from models.report import Severity
from tasks.scan.built_in import UnreadableError
from tasks.scan.compose import is_compose, judge_compose
from tasks.scan.containers import ignores, is_dockerfile, judge_dockerfile, look_at_containers
from tasks.scan.dockerfile import read_dockerfile, read_image
from tasks.scan.looked import Looked
from tasks.scan.shell import pipelines
from tasks.scan.sources import Sources, list_sources

FINE = """# syntax=docker/dockerfile:1
ARG TAG=3.11.9-slim
FROM python:${TAG}@sha256:aaaa AS build
COPY pyproject.toml .
RUN --mount=type=secret,id=pypi pip install . && curl -fsSL https://x.example/a.tgz -o a.tgz
FROM build
USER app
"""


def rules(looked: Looked) -> dict[str, list[int]]:
    """The lines at which each rule hits."""
    return {str(one.evidence["rule"]): list(one.evidence["lines"]) for one in looked.findings}  # type: ignore[arg-type]


def docker(text: str, ignore: str | None = ".env\n.git") -> dict[str, list[int]]:
    return rules(judge_dockerfile("app", "Dockerfile", text, ignore))


def after(*lines: str) -> dict[str, list[int]]:
    """The hits of `lines` in a file that is fine otherwise; its second line is the first of them."""
    return docker("\n".join(["FROM a:1@sha256:aa", *lines, "USER app"]))


def composed(text: str, others: dict[str, str] | None = None) -> Looked:
    def other(name: str) -> str:
        if name not in (others or {}):
            raise UnreadableError("is not in this checkout.")
        return (others or {})[name]

    return judge_compose("app", "compose.yaml", text, other)


def served(*lines: str) -> dict[str, list[int]]:
    """The hits of a service with these lines; its third line is the first of them."""
    found = rules(composed("\n".join(["services:", "  a:", *(f"    {line}" for line in lines)])))
    found.pop("CP011", None)
    return found


def test_a_dockerfile_that_is_fine_has_no_finding() -> None:
    assert docker(FINE) == {}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["ENV DB_PASSWORD=hunter2hunter2"], {"DF005": [2]}),
        (["ENV API_KEY hunter2 hunter2"], {"DF005": [2]}),
        (["ARG NPM_TOKEN", "RUN npm ci"], {"DF006": [2]}),
        (["ARG NPM_TOKEN", "ENV NPM_TOKEN=$NPM_TOKEN"], {"DF005": [3], "DF006": [2]}),
        (["ENV PASSWORD_FILE=/run/secrets/p TOKEN= SECRET=<yours> TOKEN_TTL=3600 GPG_KEY=A035C8C1 PWD=/x"], {}),
        (["ADD http://x.example/a.tgz /a"], {"DF004": [2]}),
        (["ADD --checksum=sha256:aa https://x.example/a.tgz /a"], {}),
        (["RUN curl -sSL https://x.example/i.sh | sudo -E bash -"], {"DF007": [2], "DF010": [2]}),
        (["RUN set -e; \\", "  # why", "  wget -qO- https://x.example/i | tee /l | sh"], {"DF007": [4]}),
        (['RUN bash -c "$(curl -fsSL https://x.example/i.sh)"'], {"DF007": [2]}),
        (["RUN bash <(curl -s https://x.example/i.sh)"], {"DF007": [2]}),
        (["RUN <<EOF", "apt-get update", "curl https://x.example | sh", "EOF"], {"DF007": [4]}),
        (['RUN ["sh", "-c", "curl https://x.example | sh"]'], {"DF007": [2]}),
        (["RUN curl https://x.example | python3 -c 'import json' | tar x # curl | sh"], {}),
        (["RUN echo 'curl https://x.example | sh'"], {}),
        (["RUN curl https://x.example/a | python3"], {"DF007": [2]}),
        (["RUN chmod -R 777 /srv"], {"DF008": [2]}),
        (["RUN chmod a+rwx /srv && chmod 1777 /tmp && chmod 0755 /a && chmod u+w,go-w /b"], {"DF008": [2]}),
        (["COPY --chmod=666 a /a"], {"DF008": [2]}),
        (["RUN curl -fsSLk https://x.example -o /a"], {"DF009": [2]}),
        (["RUN pip install --trusted-host pypi.example x && npm config set strict-ssl false"], {"DF009": [2]}),
        (["ENV NODE_TLS_REJECT_UNAUTHORIZED=0"], {"DF009": [2]}),
        (['RUN echo "deb [trusted=yes] http://x.example ./" > /etc/apt/sources.list'], {"DF009": [2]}),
        (["EXPOSE 8080 22/tcp"], {"DF011": [2]}),
        (["COPY . /app"], {}),
        (["COPY .env id_rsa /app/"], {"DF013": [2]}),
        (["COPY .env.example /app/"], {}),
        (["RUN --security=insecure make"], {"DF014": [2]}),
        (["ONBUILD RUN chmod 777 /x"], {"DF008": [2]}),
    ],
)
def test_what_a_dockerfile_should_not_say(lines: list[str], expected: dict[str, list[int]]) -> None:
    assert after(*lines) == expected


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("FROM a:1", True),
        ("FROM a:1\nUSER app", False),
        ("FROM a:1\nUSER app\nUSER root", True),
        ("FROM a:1\nUSER 0:0", True),
        ("FROM a:1\nUSER 1000:0", False),
        ("FROM a:1\nARG U=root\nUSER $U", True),
        ("ARG U=app\nFROM a:1\nARG U\nUSER ${U}", False),
        ("FROM a:1 AS base\nUSER app\nFROM base", False),
        ("FROM a:1 AS base\nUSER app\nFROM b:1\nCOPY --from=base /x /x", True),
        ("FROM a:1\nUSER root\nFROM b:1\nUSER app", False),
        ("FROM gcr.io/distroless/static:nonroot", False),
        ("FROM a:1 AS build\nFROM scratch\nCOPY --from=build /x /x", False),
        ('FROM a:1 AS build\nFROM scratch\nCOPY --from=build /x /x\nENTRYPOINT ["/x"]', True),
        ("FROM mcr.microsoft.com/windows/servercore:1", False),
    ],
)
def test_only_the_user_at_the_end_of_the_last_stage_counts(text: str, root: bool) -> None:
    assert ("DF001" in docker(text)) is root


def test_base_images_float_or_are_tagged_or_are_pinned() -> None:
    images = ("python", "python:latest", "r.example:5000/p:$V", "a@sha256:aa AS x", "x")
    text = "\n".join(["ARG V=1", *(f"FROM {image}" for image in images), "COPY --from=nginx / /"])
    found = docker(text)
    assert found["DF002"] == [2, 3, 7]
    assert found["DF003"] == [4]
    assert read_image("r.example:5000/p:1@sha256:aa").name == "r.example:5000/p"


def test_what_a_dockerignore_leaves_out_is_not_copied() -> None:
    text = "FROM a:1@sha256:aa\nCOPY . .\nUSER app"
    assert docker(text, None) == {"DF012": [2]}
    assert docker(text, "# none\n*\n!src\n") == {}
    assert docker(text, ".git\n**/.env*\n") == {}
    assert docker(text, ".git\n") == {"DF012": [2]}
    assert ignores("*\n!.env", ".git")
    assert not ignores("*\n!.env", ".env")


def test_no_value_of_a_secret_is_told() -> None:
    looked = judge_dockerfile("app", "Dockerfile", "FROM a:1\nENV DB_PASSWORD=hunter2hunter2")
    looked2 = composed(
        "services:\n  a:\n    environment:\n      DB_PASSWORD: hunter2hunter2\n      U: pg://u:hunter2hunter2@h/d"
    )
    told = "".join(one.model_dump_json() for one in (*looked.findings, *looked2.findings))
    assert "DB_PASSWORD" in told
    assert "hunter2" not in told


def test_what_is_not_understood_is_a_skip() -> None:
    looked = judge_dockerfile("app", "Dockerfile", "FROM a:1\nINCLUDE+ other\nUSER app\nRUN chmod 777 /x")
    assert rules(looked)["DF008"] == [4]
    assert looked.skipped[0].may_hide("security.container:app/Dockerfile/DF001")
    assert judge_dockerfile("app", "Dockerfile", "").skipped


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["privileged: true"], {"CP001": [3]}),
        (["network_mode: host", "pid: host"], {"CP002": [3, 4]}),
        (["volumes: ['/var/run/docker.sock:/var/run/docker.sock:ro']"], {"CP003": [3]}),
        (["volumes:", "  - type: bind", "    source: /", "    target: /host"], {"CP004": [4]}),
        (
            ["volumes: ['~/.ssh:/root/.ssh', data:/data, ./x:/x, '/etc/localtime:/etc/localtime:ro', /etc]"],
            {"CP004": [3]},
        ),
        (["cap_add: [SYS_ADMIN, CHOWN]"], {"CP005": [3]}),
        (["security_opt:", "  - seccomp:unconfined"], {"CP006": [4]}),
        (["ports: ['127.0.0.1:5432:5432', '[::1]:1:1', '${IP}:1:1']"], {}),
        (["ports:", "  - 5432", "  - '${PORT:-6379}:6379'"], {"CP007": [4, 5]}),
        (["ports:", "  - {target: 5432, published: 5432, host_ip: 127.0.0.1}", "  - {target: 99}"], {"CP007": [5]}),
        (["environment:", "  POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?}", "  X_PASSWORD_FILE: /run/x"], {}),
        (["environment:", "  - POSTGRES_PASSWORD=kaHg72bsL1", "  - TOKEN"], {"CP008": [4]}),
        (["environment:", "  POSTGRES_PASSWORD: ${P:-postgres}"], {"CP009": [4]}),
        (["environment: {MYSQL_USER: shop, MYSQL_PASSWORD: shop}"], {"CP009": [3]}),
        (["environment: {POSTGRES_HOST_AUTH_METHOD: trust}"], {"CP009": [3]}),
        (["environment: {NEO4J_AUTH: neo4j/test}"], {"CP009": [3]}),
        (["environment: {DB: 'postgresql://app:kaHg72bsL1@db/app'}"], {"CP008": [3]}),
        (["command: redis-server --requirepass kaHg72bsL1"], {"CP008": [3]}),
        (["user: '0:0'"], {"CP010": [3]}),
        (["image: redis"], {"CP012": [3]}),
        (["image: lama:latest", "build: ."], {}),
    ],
)
def test_what_a_compose_file_should_not_say(lines: list[str], expected: dict[str, list[int]]) -> None:
    assert served(*lines) == expected


def test_a_data_server_on_every_address_weighs_more() -> None:
    (db, _) = composed("services:\n  db:\n    ports: ['15432:5432']").findings
    (web, _) = composed("services:\n  web:\n    ports: ['80:80']").findings
    assert (db.severity, web.severity) == (Severity.high, Severity.info)
    default = "services:\n  db:\n    environment: {POSTGRES_PASSWORD: postgres}\n"
    assert composed(default).findings[0].severity is Severity.medium
    assert Severity.high in {one.severity for one in composed(default + "    ports: ['5432:5432']").findings}


def test_anchors_merge_keys_and_extends_are_followed_and_what_is_own_wins() -> None:
    text = """
x-base: &base
  privileged: true
  user: root
services:
  a:
    <<: *base
    user: app
  b:
    extends: a
    privileged: false
    user: root
"""
    found = rules(composed(text))
    assert found["CP001"] == [3]
    assert found["CP010"] == [12]
    other = {"base/common.yml": "services:\n  web:\n    cap_add: [ALL]\n"}
    text = "services:\n  a:\n    extends:\n      file: base/common.yml\n      service: web\n"
    assert rules(composed(text, other))["CP005"] == [4]
    gone = composed(text)
    assert gone.skipped[0].may_hide("security.compose:app/compose.yaml/CP005")
    assert composed("services:\n  a:\n    extends: a\n").skipped
    assert composed("services:\n  a:\n    extends: {file: ../../etc/x.yml, service: a}\n").skipped


def test_reset_and_override_take_away_what_was_inherited() -> None:
    text = "services:\n  a:\n    ports: ['5432:5432']\n  b:\n    extends: a\n    ports: {}\n"
    assert rules(composed(text.replace("{}", "!reset []")))["CP007"] == [3]
    assert rules(composed(text.replace("{}", "!override ['6379:6379']")))["CP007"] == [3, 6]


def test_hostile_yaml_is_a_skip_in_no_time() -> None:
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    merged = "".join(f"m{n}: &m{n}\n  <<: [{', '.join([f'*m{n - 1}'] * 9)}]\n" for n in range(1, 12))
    hostile = (
        f"a0: &a0 [x, x]\n{levels}services:\n  a:\n    ports: *a11\n",
        f"m0: &m0 {{a: 1}}\n{merged}services:\n  a: *m11\n",
        "services:\n  a: &a\n    <<: *a\n",
        f"x: &x '{'v' * 1_000_000}'\nservices:\n  a:\n    ports: [{'*x, ' * 20_000}]\n",
        "services: " + "[" * 200_000,
        "- " * 50_000,
        "services:\n" + "".join(f"  s{n}: {{}}\n" for n in range(60_000)),
        "services: !!python/object/apply:os.system ['true']\n",
        "services:\n  a: \x01\n",
    )
    begun = time.perf_counter()
    skipped = [bool(composed(text).skipped) for text in hostile]
    assert time.perf_counter() - begun < 10
    assert skipped == [False, True, True, True, True, True, True, False, True]


async def test_a_checkout_is_looked_at_by_names_and_never_through_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "Dockerfile").write_text("FROM a")
    root = tmp_path / "app"
    (root / "svc").mkdir(parents=True)
    (root / "Dockerfile").symlink_to(outside / "Dockerfile")
    (root / "svc/Dockerfile.prod").write_text("FROM a:1@sha256:aa\nCOPY . .\nUSER app")
    (root / "svc/.dockerignore").write_text(".env\n")
    (root / "docker-compose.yml").write_text("include: [svc/more.yml]\nservices:\n  a: {privileged: true}\n")
    (root / "svc/more.yml").write_text("services:\n  b: {pid: host}\n")
    (root / "Containerfile").write_bytes(b"FROM a\0")
    sources = await list_sources(Checkout(name="app", path=root), timeout_s=20)
    looked = look_at_containers(sources)
    assert {one.key for one in looked.findings if one.severity is not Severity.info} == {
        "security.container:app/svc/Dockerfile.prod/DF012",
        "security.compose:app/docker-compose.yml/CP001",
        "security.compose:app/svc/more.yml/CP002",
    }
    assert [skip.component for skip in looked.skipped] == ["app/Containerfile"]


async def test_this_system_is_built_and_started_as_its_own_rules_ask() -> None:
    looked = look_at_containers(await list_sources(Checkout(name="lama", path=CHECKOUT), timeout_s=20))
    assert looked.skipped == ()
    assert {one.severity for one in looked.findings} <= {Severity.info}


def test_names_of_dockerfiles_and_compose_files() -> None:
    for name in (
        "Dockerfile",
        "a/Dockerfile.prod",
        "web.dockerfile",
        "Containerfile",
        "x/dev.Dockerfile",
        "Dockerfile-web",
    ):
        assert is_dockerfile(name), name
    for name in ("Dockerfile.md", "Dockerfile.j2", "Dockerfile.dockerignore", "dockerfile.py", "MyDockerfile"):
        assert not is_dockerfile(name), name
    for name in ("compose.yaml", "a/docker-compose.prod.yml", "compose.override.yaml", "dev.compose.yml"):
        assert is_compose(name), name
    for name in ("compose.py", "decompose.yaml", "composer.yml"):
        assert not is_compose(name), name


DOCKERISH = st.lists(
    st.sampled_from(
        [
            *(
                "FROM a AS b",
                "FROM b",
                "FROM $X",
                "RUN",
                "RUN <<A",
                "A",
                "\\",
                "RUN a \\",
                "# c",
                "`",
                'ENV A="',
                "ENV",
            ),
            *(
                "ARG X=${Y:-${Z}}",
                "COPY --from=",
                "COPY",
                "USER",
                "ADD []",
                'CMD ["\\ud800"]',
                "EXPOSE",
                "ONBUILD ONBUILD",
            ),
            *(
                "ENTRYPOINT [",
                "COPY --chmod=9 . .",
                "USER 99999999999999999999999999",
                "chmod",
                "RUN chmod 777777",
                "'",
            ),
        ]
    )
    | st.text(max_size=20),
    max_size=12,
)


@given(DOCKERISH.map("\n".join))
@settings(max_examples=150)
@example("FROM a\nRUN --x\\\n--y\\\nz")
def test_no_text_breaks_the_reader_of_dockerfiles(text: str) -> None:
    looked = judge_dockerfile("app", "Dockerfile", text, text)
    lines = text.count("\n") + 1
    for finding in looked.findings:
        assert all(1 <= line <= lines for line in finding.evidence["lines"])  # type: ignore[union-attr,operator]
    read_dockerfile(text)


YAMLISH = st.recursive(
    st.sampled_from(
        ["host", "true", "ALL", "5432:5432", "/:/x", "${A:-b}", "null", "!reset x", "a", "'0'", "1:2:3:4:5"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(
            st.sampled_from(
                ["ports", "volumes", "environment", "extends", "file", "service", "source", "user", "image", "a"]
            ),
            inner,
            max_size=4,
        ).map(lambda pairs: f"{{{', '.join(f'{key}: {value}' for key, value in pairs.items())}}}")
    ),
    max_leaves=12,
)


@given(st.builds("services: {{a: {}}}\ninclude: {}".format, YAMLISH, YAMLISH) | YAMLISH | st.text(max_size=60))
@settings(max_examples=150)
def test_no_text_breaks_the_reader_of_compose_files(text: str) -> None:
    composed(text, {"a": text, "host": "services: {a: {extends: a}}"})


@given(st.text(alphabet="ab |&;(){}'\"\\$`#>\n", max_size=40))
@settings(max_examples=150)
def test_dividing_shell_text_loses_no_word_and_ends(text: str) -> None:
    found = pipelines(text, breaks=True)
    assert all(pipeline and all(command.words for command in pipeline) for pipeline in found)
    for pipeline in found:
        for command in pipeline:
            _ = command.program, command.arguments, command.runs("sudo")
            assert 0 <= command.line <= text.count("\n")


def test_large_files_take_little_time() -> None:
    begun = time.perf_counter()
    judge_dockerfile("app", "Dockerfile", "FROM a:1\n" + "RUN <<A " * 20_000 + "\nUSER app")
    judge_dockerfile("app", "Dockerfile", "FROM a:1\nRUN " + "sh -c " * 30_000)
    judge_dockerfile("app", "Dockerfile", "FROM a:1\n" + "ENV A=${A:-" * 20_000)
    assert time.perf_counter() - begun < 5


def test_sources_without_any_such_file_are_quickly_done(tmp_path: Path) -> None:
    looked = look_at_containers(Sources("app", tmp_path, ("a.py",)))
    assert (looked.findings, looked.skipped) == ((), ())


def test_what_there_was_no_time_for_is_a_skip(tmp_path: Path) -> None:
    looked = look_at_containers(Sources("app", tmp_path, ("Dockerfile", "compose.yaml")), timeout_s=-1)
    assert [skip.component for skip in looked.skipped] == ["app/Dockerfile", "app/compose.yaml"]
