"""How containers are started: rules for compose files (compose-spec.io). Pure but for the reading of the files."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from models.report import Finding, Severity, Skip
from tasks.scan.built_in import NO_TIME, BuiltInRule, Hit, UnreadableError, findings_of, read_text, unseen
from tasks.scan.dockerfile import expand, read_image
from tasks.scan.listeners import DELICATE, is_loopback
from tasks.scan.looked import Looked
from tasks.scan.secret_names import is_made_up, names_a_secret
from tasks.scan.sources import Sources
from tasks.scan.yaml_tree import Node, Walk, YamlError, read_yaml

PRIVILEGED = BuiltInRule(
    "CP001",
    "a container is privileged.",
    Severity.high,
    "It has every capability and every device of the host: whoever takes it over has the host.",
    "Take `privileged: true` out; give the one device or capability that is needed.",
)
HOST = BuiltInRule(
    "CP002",
    "a container shares a namespace with the host.",
    Severity.medium,
    "It reaches what listens on the host's loopback, or sees and signals the host's processes.",
    "Take `network_mode: host`, `pid: host`, `ipc: host`, `userns_mode: host` out; publish the ports that are needed.",
)
DOCKER = BuiltInRule(
    "CP003",
    "a container has the socket of the container engine.",
    Severity.high,
    "Whoever can write to it starts a privileged container: it is root on the host, also when mounted read-only.",
    "Take the mount out, or put a proxy between that allows only the calls that are needed.",
)
MOUNT = BuiltInRule(
    "CP004",
    "a folder of the host that should be the host's alone is mounted.",
    Severity.high,
    "What is in the container reads keys and settings of the host, and can change them unless it is mounted read-only.",
    "Mount only the folder with the data, and add `:ro` where it is only read.",
)
CAPABILITY = BuiltInRule(
    "CP005",
    "a container gets capabilities that lead to the host.",
    Severity.high,
    "With ALL, SYS_ADMIN and their like, the walls of a container can be climbed.",
    "`cap_drop: [ALL]`, then add only what the program needs.",
)
UNCONFINED = BuiltInRule(
    "CP006",
    "a profile that confines a container is switched off.",
    Severity.medium,
    "seccomp, AppArmor and SELinux keep flaws of the kernel out of reach of what is in the container.",
    "Take it out of `security_opt`; write a profile where the default one is too narrow.",
)
PUBLISHED = BuiltInRule(
    "CP007",
    "ports are published on every address.",
    Severity.low,
    "Other machines reach them, past the rules of ufw and firewalld: engines publish before those are asked. Many "
    "servers of data rely on being out of reach.",
    "Publish on loopback, `127.0.0.1:5432:5432`, or not at all: services of one file reach each other by name.",
)
PASSWORD = BuiltInRule(
    "CP008",
    "a password is written down.",
    Severity.medium,
    "Everybody who reads the file or its history has it.",
    "Take it from the environment, `${POSTGRES_PASSWORD:?}`, or from a secret, `POSTGRES_PASSWORD_FILE`; change it.",
)
DEFAULT = BuiltInRule(
    "CP009",
    "a server has a password that everybody knows, or none.",
    Severity.medium,
    "Such passwords are the first that are tried.",
    "Make one with `openssl rand -hex 24`, and demand that it is given: `${POSTGRES_PASSWORD:?}`.",
)
ROOT = BuiltInRule(
    "CP010",
    "a container is told to run as root.",
    Severity.low,
    "Whoever takes over the program is root in the container.",
    "Take `user: root` out, or name an unprivileged user.",
)
NEW_PRIVILEGES = BuiltInRule(
    "CP011",
    "services may gain privileges that they did not start with.",
    Severity.info,
    "A setuid program in the image makes an unprivileged process root.",
    "`security_opt: [no-new-privileges:true]`.",
)
FLOATING = BuiltInRule(
    "CP012",
    "an image has no tag, or `latest`.",
    Severity.low,
    "The next start may bring another release than the one that was tested and audited.",
    "Name a release, better still with its digest.",
)
RULES = (
    *(PRIVILEGED, HOST, DOCKER, MOUNT, CAPABILITY, UNCONFINED, PUBLISHED, PASSWORD, DEFAULT, ROOT, NEW_PRIVILEGES),
    FLOATING,
)

KIND = "compose"
_NAME = re.compile(r"(?:[\w.-]+[.-])?(?:docker-|podman-)?compose(?:[.-][\w.-]+)?\.ya?ml", re.IGNORECASE)
_SOCKETS = re.compile(r"(?:^|/)(?:docker|podman|containerd|crio)\.sock$")
_ONLY_THE_HOSTS = re.compile(
    r"/|/(?:etc|root|boot|proc|sys|dev|run|var|var/run|var/lib|var/lib/docker|home|usr|lib|bin|sbin)"
    r"|/etc/(?:shadow|sudoers|ssh|kubernetes)(?:/.*)?"
    r"|(?:~|\$HOME|\$\{HOME\}|/root|/home/[^/]+)(?:/\.(?:ssh|aws|kube|docker|gnupg|config)(?:/.*)?)?"
)
_CLIMBERS = {"ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "SYS_PTRACE", "DAC_READ_SEARCH", "BPF"}
_STRONG = {"NET_ADMIN", "NET_RAW", "SYS_TIME", "SYS_BOOT", "DAC_OVERRIDE", "SETUID", "SYS_CHROOT", "MKNOD", "PERFMON"}
_WEB = {"80", "443", "8080", "8443"}
_KNOWN = frozenset(
    {
        *("postgres", "password", "passw0rd", "admin", "root", "secret", "changeme", "change_me", "example", "test"),
        *("guest", "minioadmin", "minio123", "123456", "12345678", "letmein", "neo4j", "mysql", "mariadb", "mongo"),
        *("redis", "elastic", "rabbitmq", "grafana", "pass", "qwerty", "default", "docker", "dev", "development"),
        *("airflow", "prefect", "letta", "supersecret", "mysecretpassword", "my-secret-pw", "adminadmin"),
    }
)
_NO_PASSWORD = {
    "POSTGRES_HOST_AUTH_METHOD": {"trust"},
    "MYSQL_ALLOW_EMPTY_PASSWORD": {"yes", "true", "1"},
    "MARIADB_ALLOW_EMPTY_ROOT_PASSWORD": {"yes", "true", "1"},
    "ALLOW_EMPTY_PASSWORD": {"yes", "true", "1"},
    "ALLOW_ANONYMOUS_LOGIN": {"yes", "true", "1"},
    "NEO4J_AUTH": {"none"},
    "xpack.security.enabled": {"false"},
    "DISABLE_SECURITY_PLUGIN": {"true"},
}
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]{0,30}://([^\s/:@]{0,200}):([^\s/@]{1,200})@", re.IGNORECASE)
_OPEN = re.compile(r"\$(?:\{[^{}]*\}|\w+)")  # a variable that nothing is known of
_EXTENDS = 8


@dataclass(frozen=True, slots=True)
class Service:
    """One service with what it inherits."""

    name: str
    line: int
    parts: tuple[tuple[dict[str, Node], int | None], ...]
    """What it says itself, then what it extends; with the line to name for what stands in another file."""

    def one(self, key: str) -> tuple[Node, int] | None:
        """The value that counts, with its line."""
        for part, line in self.parts:
            if key in part:
                return None if part[key].tag == "!reset" else (part[key], line or part[key].line)
        return None

    def text(self, key: str) -> tuple[str, int]:
        """The scalar that counts, interpolated; empty when there is none."""
        found = self.one(key)
        return (expand(found[0].text or "", {}), found[1]) if found else ("", self.line)

    def every(self, key: str) -> Iterator[tuple[Node, int | None]]:
        """The values that add up, its own first."""
        for part, line in self.parts:
            if key in part:
                if part[key].tag != "!reset":
                    yield part[key], line
                if part[key].tag in {"!reset", "!override"}:
                    return


Others = Callable[[str], str]
"""Gives the text of another file of the checkout; raises `UnreadableError`."""


def look_at_compose(sources: Sources, *, deadline: float) -> Looked:
    """What the compose files of `sources` say that should not be so.

    Args:
        sources: the files of a checkout.
        deadline: the time of `time.monotonic` after which no other file is begun.
    """
    findings: list[Finding] = []
    skipped: list[Skip] = []
    known = frozenset(sources.files)

    def text(name: str) -> str:
        if name not in known:
            raise UnreadableError("is not in this checkout.")
        return read_text(sources.root, name)

    names = dict.fromkeys(name for name in sources.files if is_compose(name))
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if time.monotonic() > deadline:
            skipped.append(unseen(KIND, sources.checkout, name, NO_TIME))
            continue
        try:
            content = text(name)
        except UnreadableError as error:
            skipped.append(unseen(KIND, sources.checkout, name, f"Not looked at: {error}"))
            continue
        looked = judge_compose(sources.checkout, name, content, text)
        findings += looked.findings
        skipped += looked.skipped
        # What is included may have any name.
        more = [one for one in included(name, content) if one in known and one not in names]
        names.update(dict.fromkeys(more))
        waiting += more
    return Looked(tuple(findings), tuple(skipped), {"security_compose_files_total": float(len(names))})


def is_compose(name: str) -> bool:
    """Whether a file of this name is a compose file."""
    return _NAME.fullmatch(PurePosixPath(name).name) is not None


def judge_compose(checkout: str, file: str, text: str, others: Others) -> Looked:
    """Findings about the compose file `text`, and skips for what in it could not be followed."""
    walk = Walk()
    gaps: list[str] = []
    try:
        hits = [hit for document in read_yaml(text) for hit in _hits(walk, document, file, others, gaps)]
    except YamlError as error:
        return Looked(skipped=(unseen(KIND, checkout, file, f"Not looked at: {error}"),))
    skipped = tuple(unseen(KIND, checkout, file, reason) for reason in dict.fromkeys(gaps))
    return Looked(findings_of(KIND, checkout, file, hits), skipped)


def included(file: str, text: str) -> tuple[str, ...]:
    """The files of the checkout that the compose file `text` includes; those elsewhere are told when it is judged."""
    found: list[str] = []
    with contextlib.suppress(YamlError):  # told when it is judged
        walk = Walk()
        for document in read_yaml(text):
            for name, _ in _includes(walk, document):
                with contextlib.suppress(UnreadableError):
                    found.append(_below(PurePosixPath(file).parent, name))
    return tuple(found)


def _includes(walk: Walk, document: Node) -> Iterator[tuple[str, int]]:
    for item in walk.sequence(walk.mapping(document).get("include")):
        for node in [item] if item.text is not None else walk.sequence(walk.mapping(item).get("path")):
            yield node.text or "", node.line


def _hits(walk: Walk, document: Node, file: str, others: Others, gaps: list[str]) -> Iterator[Hit]:
    top = walk.mapping(document)
    if not document.is_mapping and document.text:
        gaps.append("Not looked at: it is no mapping of services.")
    for name, line in _includes(walk, document):
        try:
            others(_below(PurePosixPath(file).parent, name))
        except UnreadableError as error:
            gaps.append(f"Line {line}: it includes a file that was not looked at: {error}")
    old = {name: node for name, node in top.items() if {"image", "build"} & walk.mapping(node).keys()}
    services = walk.mapping(top["services"]) if "services" in top else old
    loose: list[Service] = []
    for name, node in services.items():
        service = Service(name[:80], node.line, tuple(_parts(walk, services, node, file, others, gaps)))
        for check in _CHECKS:
            yield from check(walk, service)
        if not any(
            "no-new-privileges" in text and "false" not in text for text, _ in _texts(walk, service, "security_opt")
        ):
            loose.append(service)
    if loose:
        yield Hit(NEW_PRIVILEGES, loose[0].line, f"{', '.join(service.name for service in loose[:10])}.")


def _parts(
    walk: Walk, services: Mapping[str, Node], node: Node, file: str, others: Others, gaps: list[str]
) -> Iterator[tuple[dict[str, Node], int | None]]:
    """What a service says itself, and what it says by `extends`."""
    line: int | None = None
    for _ in range(_EXTENDS):
        part = walk.mapping(node)
        yield part, line
        extends = part.get("extends")
        if extends is None:
            return
        given = walk.mapping(extends)
        name = extends.text or (given["service"].text if "service" in given else None) or ""
        other = given["file"].text if "file" in given else None
        if other is not None:
            line = line or extends.line
            try:
                path = _below(PurePosixPath(file).parent, other)
                document = next(iter(read_yaml(others(path))), None)
            except (UnreadableError, YamlError) as error:
                gaps.append(f"Line {line}: it extends a file that was not looked at: {error}")
                return
            file, services = path, walk.mapping(walk.mapping(document).get("services"))
        if name not in services:
            gaps.append(f"Line {line or extends.line}: it extends a service that is not there.")
            return
        node = services[name]
    gaps.append(f"Line {node.line}: it extends more than {_EXTENDS} others.")


def _below(folder: PurePosixPath, name: str) -> str:
    """The path of `name` as seen from `folder`, within the checkout."""
    parts: list[str] = [] if str(folder) == "." else list(folder.parts)
    if "$" in name or name.startswith("/"):
        raise UnreadableError("is not in this checkout.")
    for part in PurePosixPath(name).parts:
        if part == "..":
            if not parts:
                raise UnreadableError("is not in this checkout.")
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _texts(walk: Walk, service: Service, key: str) -> Iterator[tuple[str, int]]:
    """The texts of a list, with their lines."""
    for node, line in service.every(key):
        for item in walk.sequence(node):
            if item.text is not None:
                yield expand(item.text, {}), line or item.line


def _powers(walk: Walk, service: Service) -> Iterator[Hit]:
    if service.text("privileged")[0].lower() in {"true", "yes", "on"}:
        yield Hit(PRIVILEGED, service.text("privileged")[1], f"`{service.name}`.")
    for key, severity in (("network_mode", None), ("pid", Severity.high), ("ipc", None), ("userns_mode", None)):
        value, line = service.text(key)
        if value == "host":
            yield Hit(HOST, line, f"`{service.name}`: {key}.", severity)
    for text, line in _texts(walk, service, "cap_add"):
        name = text.upper().removeprefix("CAP_")
        if name in _CLIMBERS | _STRONG:
            severity = Severity.high if name in _CLIMBERS else Severity.medium
            yield Hit(CAPABILITY, line, f"`{service.name}`: {name}.", severity)
    for text, line in _texts(walk, service, "security_opt"):
        told = text.replace("=", ":").replace(" ", "").lower()
        if told.endswith(":unconfined") or told in {"label:disable", "no-new-privileges:false"}:
            yield Hit(UNCONFINED, line, f"`{service.name}`: {told}.")
    user, line = service.text("user")
    if user.partition(":")[0] in {"root", "0"}:
        yield Hit(ROOT, line, f"`{service.name}`.")
    image, line = service.text("image")
    if image and service.one("build") is None and "$" not in image and read_image(image).floats:
        yield Hit(FLOATING, line, f"`{image[:200]}`.")


def _mounts(walk: Walk, service: Service) -> Iterator[Hit]:
    for node, line in service.every("volumes"):
        for item in walk.sequence(node) if node.is_sequence else []:
            if item.text is not None:
                source, colon, rest = expand(item.text, {}).partition(":")
                source = source if colon else ""  # a path alone is one in the container
                readonly = "ro" in rest.rpartition(":")[2].split(",")
            else:
                given = {key: value.text or "" for key, value in walk.mapping(item).items()}
                source, readonly = expand(given.get("source", ""), {}), given.get("read_only") == "true"
            source = source.rstrip("/") or source[:1]
            if _SOCKETS.search(source):
                yield Hit(DOCKER, line or item.line, f"`{service.name}`.")
            elif _ONLY_THE_HOSTS.fullmatch(source):
                severity = Severity.medium if readonly else Severity.high
                yield Hit(MOUNT, line or item.line, f"`{service.name}`: {source[:100]}.", severity)


def _published(walk: Walk, service: Service) -> Iterator[Hit]:
    for node, line in service.every("ports"):
        for item in walk.sequence(node) if node.is_sequence else []:
            if item.text is not None:
                told = _OPEN.sub("$", expand(item.text, {})).partition("/")[0]
                rest, _, ports = told.rpartition(":")
                address = rest.rpartition(":")[0]
            else:
                given = {key: expand(value.text or "", {}) for key, value in walk.mapping(item).items()}
                address, ports = given.get("host_ip", ""), given.get("target", "")
            if not ports or "$" in address or (address and is_loopback(address)):
                continue
            first, _, last = ports.partition("-")
            numbers = [int(port) for port in (first, last or first) if port.isdigit() and len(port) <= 5]
            span = range(numbers[0], numbers[1] + 1) if len(numbers) == 2 else range(0)
            delicate = [name for port, name in DELICATE.items() if port in span]
            severity = Severity.high if delicate else Severity.info if first in _WEB else None
            shown = f"`{service.name}`: {ports[:20]}{f' ({delicate[0]})' if delicate else ''}."
            yield Hit(PUBLISHED, line or item.line, shown, severity)


def _environment(walk: Walk, service: Service) -> Iterator[tuple[str, str, int]]:
    for node, line in service.every("environment"):
        if node.is_sequence:
            for item in walk.sequence(node):
                name, given, value = (item.text or "").partition("=")
                if given:
                    yield name, value, line or item.line
        else:
            for name, value_node in walk.mapping(node).items():
                yield name, value_node.text or "", line or value_node.line


def _passwords(walk: Walk, service: Service) -> Iterator[Hit]:
    given = list(_environment(walk, service))
    reachable = Severity.high if any(hit.severity is not Severity.info for hit in _published(walk, service)) else None
    users = {expand(value, {}).lower() for name, value, _ in given if name.upper().endswith(("USER", "USERNAME"))}
    for name, written, line in given:
        value = expand(written, {})  # with the defaults that it gives: `${PASSWORD:-postgres}`
        told = f"`{service.name}`: {name[:80]}"
        if value.lower() in _NO_PASSWORD.get(name, ()):
            yield Hit(DEFAULT, line, f"{told} does without one.", reachable)
        elif name == "NEO4J_AUTH" and "/" in value and "$" not in value:
            known = value.partition("/")[2].lower() in _KNOWN
            yield Hit(DEFAULT, line, f"{told}.", reachable) if known else Hit(PASSWORD, line, f"{told}.")
        elif (names_a_secret(name) and not is_made_up(value) and "$" not in value) or _in_url(value):
            secret = _in_url(value) or value
            well_known = secret.lower() in _KNOWN or (names_a_secret(name) and value.lower() in users)
            yield Hit(DEFAULT, line, f"{told}.", reachable) if well_known else Hit(PASSWORD, line, f"{told}.")
    for key in ("command", "entrypoint"):
        found = service.one(key)
        words = [node.text or "" for node in walk.sequence(found[0])] if found else []
        words = words[0].split() if len(words) == 1 else words
        for option, value in itertools.pairwise(words):
            if option == "--requirepass" and "$" not in value and found:
                yield Hit(DEFAULT if value.lower() in _KNOWN else PASSWORD, found[1], f"`{service.name}`: {option}.")


def _in_url(value: str) -> str:
    """The password in an address; empty where there is none, or it is a variable."""
    match = _PASSWORD_IN_URL.search(value[:4000])
    return match.group(2) if match and "$" not in match.group(2) and not is_made_up(match.group(2)) else ""


_CHECKS: tuple[Callable[[Walk, Service], Iterable[Hit]], ...] = (_powers, _mounts, _published, _passwords)
