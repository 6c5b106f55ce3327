"""How containers are built: rules for Dockerfiles, and for what starts them (`tasks.scan.compose`)."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from models.report import Finding, Severity, Skip
from tasks.scan.built_in import NO_TIME, BuiltInRule, Hit, UnreadableError, findings_of, read_text, unseen
from tasks.scan.compose import look_at_compose
from tasks.scan.dockerfile import Dockerfile, Instruction, Stage, expand, pairs, read_dockerfile, read_image
from tasks.scan.looked import Looked
from tasks.scan.secret_names import is_made_up, names_a_secret
from tasks.scan.shell import Command, pipelines
from tasks.scan.sources import Sources

ROOT = BuiltInRule(
    "DF001",
    "the container runs as root.",
    Severity.medium,
    "Whoever takes over the program is root in the container, and one flaw of the kernel away from root on the host.",
    "End the last stage with `USER` and an unprivileged user that the image creates (`RUN useradd ...`, `USER app`).",
)
FLOATING = BuiltInRule(
    "DF002",
    "a base image has no tag, or `latest`.",
    Severity.low,
    "The next build may stand on another release than the one that was tested and audited.",
    "Name a release: `FROM python:3.11.9-slim-bookworm`.",
)
UNPINNED = BuiltInRule(
    "DF003",
    "a base image is not pinned by its digest.",
    Severity.info,
    "A tag can be moved to other content by whoever can write to the registry.",
    "Add the digest, `image:tag@sha256:...`, and let a bot raise it.",
)
ADDRESS = BuiltInRule(
    "DF004",
    "ADD takes something from the network without checking it.",
    Severity.low,
    "What is behind the address may change between builds, or be changed on its way when it is plain HTTP.",
    "Give `ADD --checksum=sha256:...`, or download in RUN and compare the checksum there.",
)
BAKED = BuiltInRule(
    "DF005",
    "a secret is written into the image by ENV or ARG.",
    Severity.high,
    "Everybody who can pull the image reads it with `docker history` or `docker inspect`.",
    "Withdraw it where it was issued. In builds use `RUN --mount=type=secret`, in containers give it at start.",
)
PASSED = BuiltInRule(
    "DF006",
    "a build argument is meant for a secret.",
    Severity.low,
    "Values of build arguments stay in the image's history and in the attestation of the build.",
    "Use `RUN --mount=type=secret,id=...` and `docker build --secret`.",
)
PIPED = BuiltInRule(
    "DF007",
    "a download is run at once, unseen.",
    Severity.medium,
    "Whoever controls the server, or the way to it, runs what they like in the build.",
    "Download to a file, compare its checksum or signature, then run it; or install a package.",
)
OPEN_MODE = BuiltInRule(
    "DF008",
    "files are made writable for everybody.",
    Severity.medium,
    "Every process in the container, also one of another user, can replace what the program runs or reads.",
    "Give the files to the user that needs them (`COPY --chown`, `chown`) and only the modes that it needs.",
)
UNCHECKED = BuiltInRule(
    "DF009",
    "the check of certificates or signatures is switched off.",
    Severity.medium,
    "Whoever is on the way to the server can put something else in place of what is downloaded.",
    "Leave the check on; where a private authority signs, install its certificate.",
)
SUDO = BuiltInRule(
    "DF010",
    "sudo is used in the image.",
    Severity.low,
    "A program that may become root makes every USER instruction worth nothing.",
    "Do what needs root before USER; do not install sudo.",
)
SSH = BuiltInRule(
    "DF011",
    "port 22 is exposed: an SSH server in a container.",
    Severity.low,
    "A second way in, with keys and passwords of its own that nobody rotates.",
    "Take it out; `docker exec` and `kubectl exec` ask the host's access control.",
)
WHOLE = BuiltInRule(
    "DF012",
    "the whole folder is copied, with what .dockerignore does not leave out.",
    Severity.low,
    "`.env` and `.git`, with all that was ever committed, end up in the image.",
    "Name both in .dockerignore, or copy only what is needed.",
)
SECRET_FILE = BuiltInRule(
    "DF013",
    "a file that holds secrets is copied into the image.",
    Severity.high,
    "Everybody who can pull the image has it, even when a later instruction deletes it.",
    "Use `RUN --mount=type=secret` in builds, a mounted secret in containers; withdraw what was in images so far.",
)
UNCONFINED = BuiltInRule(
    "DF014",
    "a step of the build leaves the sandbox.",
    Severity.medium,
    "`--security=insecure` is root on the machine that builds; `--network=host` reaches what listens on its loopback.",
    "Do without the flag.",
)
RULES = (
    *(ROOT, FLOATING, UNPINNED, ADDRESS, BAKED, PASSED, PIPED, OPEN_MODE, UNCHECKED, SUDO, SSH, WHOLE, SECRET_FILE),
    UNCONFINED,
)

KIND = "container"
_NAME = re.compile(r"(?:^|.*\.)(?:dockerfile|containerfile)(?:[.-][\w.-]+)?", re.IGNORECASE)
_OTHER = (".dockerignore", ".md", ".rst", ".txt", ".j2", ".jinja", ".tmpl", ".tpl", ".template", ".erb", ".in")
_OTHER_CODE = (".py", ".go", ".js", ".ts", ".rs", ".rb", ".java", ".sh", ".json", ".yaml", ".yml", ".toml", ".vim")
_UNPRIVILEGED = re.compile(
    r"(?:^|[/:_-])(?:nonroot|unprivileged|rootless)(?:$|[/:_-])|^cgr\.dev/chainguard/|^(?:docker\.io/)?bitnami/"
    r"|^(?:docker\.io/)?jenkins/jenkins"
)
"""Images whose default user is not root."""
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh"})
_INTERPRETERS = re.compile(r"(?:python|perl|ruby|node|php)[\d.]*")
_LOADERS = frozenset({"curl", "wget", "fetch"})
_SUBSTITUTED = re.compile(
    r"\b(?:sh|bash|dash|ash|zsh|ksh|eval|source)[ \t]{1,9}(?:-[a-z]{1,9}[ \t]{1,9}){0,4}[\"']?(?:<\(|\$\(|`)"
    r"[ \t]{0,9}(?:curl|wget)\b"
)
_SWITCHES = frozenset(
    {
        *("--allow-unauthenticated", "--allow-insecure-repositories", "--force-yes", "--no-check-certificate"),
        *("--no-check-certificates", "--trusted-host", "--nogpgcheck", "--no-gpg-checks", "--no-gpg-check"),
        *("--allow-untrusted", "--no-verify-ssl", "--tls-verify=false", "--strict-ssl=false", "--insecure"),
    }
)
_VARIABLES = {
    "NODE_TLS_REJECT_UNAUTHORIZED": {"0"},
    "GIT_SSL_NO_VERIFY": {"1", "true"},
    "PYTHONHTTPSVERIFY": {"0"},
    "NPM_CONFIG_STRICT_SSL": {"false"},
}
_SETTINGS = (("strict-ssl", "false"), ("http.sslverify", "false"))
_CURL_K = re.compile(r"-[fsSLvgIOJRi#]*k[a-zA-Z]*")
_OTHERS_WRITE = re.compile(r"[ugo]*[oa][ugoa]*[+=][rwxXst]*w[rwxXst]*")
_SECRET_FILES = re.compile(
    r"(?:^|/)(?:id_(?:rsa|dsa|ecdsa|ed25519)|\.netrc|\.pgpass|\.git-credentials|\.ssh|\.aws|\.gnupg|\.kube)(?:/|$)"
)
_SETTINGS_FILES = re.compile(
    r"(?:^|/)(?:\.env(?:\.(?!example|sample|template|dist|defaults?)[\w-]+)?|\.npmrc|\.pypirc)$"
)


def look_at_containers(sources: Sources, *, timeout_s: float = 120.0) -> Looked:
    """What the Dockerfiles and compose files of `sources` say that should not be so.

    Args:
        sources: the files of a checkout.
        timeout_s: seconds after which no other file is begun; those that are left are skips.
    """
    deadline = time.monotonic() + timeout_s
    findings: list[Finding] = []
    skipped: list[Skip] = []
    names = [name for name in sources.files if is_dockerfile(name)]
    for name in names:
        if time.monotonic() > deadline:
            skipped.append(unseen(KIND, sources.checkout, name, NO_TIME))
            continue
        try:
            text = read_text(sources.root, name)
            ignore = _ignore_file(sources, name)
        except UnreadableError as error:
            skipped.append(unseen(KIND, sources.checkout, name, f"Not looked at: {error}"))
            continue
        looked = judge_dockerfile(sources.checkout, name, text, ignore)
        findings += looked.findings
        skipped += looked.skipped
    composed = look_at_compose(sources, deadline=deadline)
    metrics = {"security_dockerfiles_total": float(len(names)), **(composed.metrics or {})}
    return Looked((*findings, *composed.findings), (*skipped, *composed.skipped), metrics, {"containers": "looked"})


def is_dockerfile(name: str) -> bool:
    """Whether a file of this name is a Dockerfile; templates of Dockerfiles are none."""
    last = PurePosixPath(name).name.lower()
    return _NAME.fullmatch(last) is not None and not last.endswith((*_OTHER, *_OTHER_CODE))


def judge_dockerfile(checkout: str, file: str, text: str, ignore: str | None = None) -> Looked:
    """Findings about the Dockerfile `text`, and a skip for what in it is not understood.

    `ignore` is the text of the .dockerignore that applies; None when there is none.
    """
    read = read_dockerfile(text)
    hits = [hit for rule in _CHECKS for hit in rule(read)]
    hits += _whole(read, ignore)
    skipped: tuple[Skip, ...] = ()
    if read.unknown or not read.stages:
        lines = ", ".join(map(str, read.unknown[:5]))
        reason = f"Line {lines} is no instruction; the rest was looked at." if lines else "It has no FROM."
        skipped = (unseen(KIND, checkout, file, f"Not wholly understood: {reason}"),)
    return Looked(findings_of(KIND, checkout, file, hits), skipped)


def _user(read: Dockerfile) -> Iterator[Hit]:
    if not read.stages:
        return
    last = read.stages[-1]
    first = [*last.lineage][-1]
    image = first.image.lower()
    if "windows" in image or "nanoserver" in image:
        return  # users and their rights are others there
    users = [(one, stage) for stage in last.lineage for one in reversed(stage.instructions) if one.word == "USER"]
    if users:
        instruction, stage = users[0]
        user = expand(instruction.text.strip(), _values(read, stage)).partition(":")[0].strip("\"' ")
        if user == "root" or (user.isdigit() and int(user[:20]) == 0):
            yield Hit(ROOT, instruction.line, "USER says so.")
        return
    runs = {"CMD", "ENTRYPOINT"} & {one.word for stage in last.lineage for one in stage.instructions}
    if image == "scratch" and not runs:
        return  # files to take out of the build; nothing is run
    if not _UNPRIVILEGED.search(image):
        yield Hit(ROOT, last.line, "There is no USER instruction, so it is root unless the base image says otherwise.")


def _values(read: Dockerfile, stage: Stage) -> dict[str, str]:
    """What variables stand for at the end of `stage`, as far as the file says."""
    given = {name: value for one in read.before for name, value in pairs(one) if value is not None}
    values: dict[str, str] = {}
    for part in reversed([*stage.lineage]):
        for instruction in part.instructions:
            if instruction.word in {"ARG", "ENV"}:
                for name, value in pairs(instruction):
                    known = value if value is not None else given.get(name)
                    if known is not None:
                        values[name] = expand(known, values)
    return values


def _images(read: Dockerfile) -> Iterator[Hit]:
    images = [(stage.line, stage.image) for stage in read.stages if stage.base is None]
    names = {stage.name for stage in read.stages}
    for one in read.instructions:
        source = one.flag("from") or ""
        if one.word == "COPY" and source and not source.isdigit() and source.lower() not in names and "$" not in source:
            images.append((one.line, source))
    for line, reference in images:
        image = read_image(reference)
        if not reference or image.name.lower() == "scratch":
            continue
        shown = reference if "$" not in reference else "What a build argument without a default names"
        if image.floats and "$" not in reference:
            yield Hit(FLOATING, line, f"`{shown[:200]}`.")
        elif not image.digest:
            yield Hit(UNPINNED, line, f"`{shown[:200]}`.")


def _added(read: Dockerfile) -> Iterator[Hit]:
    for one in read.instructions:
        if one.word == "ADD" and one.flag("checksum") is None:
            for source in one.words[:-1]:
                if re.match(r"(?i)(?:https?|ftp|git)://|git@", source):
                    plain = source.lower().startswith(("http:", "ftp:", "git:"))
                    yield Hit(ADDRESS, one.line, severity=Severity.medium if plain else None)


def _secrets(read: Dockerfile) -> Iterator[Hit]:
    for one in read.instructions:
        if one.word not in {"ENV", "ARG"}:
            continue
        for name, value in pairs(one):
            if not names_a_secret(name) or is_made_up(value or ""):
                if one.word == "ARG" and value is None and names_a_secret(name):
                    yield Hit(PASSED, one.line, f"`{name[:80]}`.")
            elif "$" in (value or ""):
                yield Hit(BAKED, one.line, f"`{name[:80]}` keeps what a build argument is given.", Severity.medium)
            else:
                yield Hit(BAKED, one.line, f"`{name[:80]}`; its value is not told here.")


def _commands(one: Instruction) -> Iterator[tuple[int, tuple[Command, ...]]]:
    """The pipelines that an instruction runs, each with its line in the file."""
    if one.word not in {"RUN", "CMD", "ENTRYPOINT"}:
        return
    if one.text.lstrip().startswith("["):
        words = one.words
        shell = words[0].rpartition("/")[2] in _SHELLS and "-c" in words if words else False
        texts = words[words.index("-c") + 1 :][:1] if shell else []
        for text in texts:
            yield from ((one.line, pipeline) for pipeline in pipelines(text, breaks=True))
        if not shell and words:
            yield one.line, (Command(tuple(words), 0),)
        return
    for pipeline in pipelines(one.text, breaks=False):
        yield one.lines[min(pipeline[0].line, len(one.lines) - 1)], pipeline
    for document in one.documents:
        for pipeline in pipelines(document.text, breaks=True):
            yield document.line + pipeline[0].line, pipeline


def _run(read: Dockerfile) -> Iterator[Hit]:
    for one in read.instructions:
        for line, pipeline in _commands(one):
            for at, command in enumerate(pipeline):
                if at and _runs_input(command) and any(before.program in _LOADERS for before in pipeline[:at]):
                    yield Hit(PIPED, line)
                if command.runs("chmod") and _opens(command):
                    yield Hit(OPEN_MODE, line)
                if command.runs("sudo"):
                    yield Hit(SUDO, line)
                if "NOPASSWD:" in " ".join(command.words):
                    yield Hit(SUDO, line, "It asks for no password.", Severity.medium)
                if _unchecked(command):
                    yield Hit(UNCHECKED, line)
        if one.word in {"RUN", "CMD", "ENTRYPOINT"}:
            yield from _substituted(one)
        if one.word in {"COPY", "ADD"} and _octal_opens(one.flag("chmod") or ""):
            yield Hit(OPEN_MODE, one.line)
        if one.word == "ENV" and any((value or "").lower() in _VARIABLES.get(name, ()) for name, value in pairs(one)):
            yield Hit(UNCHECKED, one.line)
        if one.word == "RUN" and (one.flag("security") == "insecure" or one.flag("network") == "host"):
            yield Hit(UNCONFINED, one.line, severity=Severity.high if one.flag("security") == "insecure" else None)


def _substituted(one: Instruction) -> Iterator[Hit]:
    for match in _SUBSTITUTED.finditer(one.text):
        yield Hit(PIPED, one.lines[min(one.text.count("\n", 0, match.start()), len(one.lines) - 1)])
    for document in one.documents:
        for match in _SUBSTITUTED.finditer(document.text):
            yield Hit(PIPED, document.line + document.text.count("\n", 0, match.start()))


def _runs_input(command: Command) -> bool:
    """Whether a command runs what it is given on its standard input."""
    if command.program in _SHELLS:
        return "-c" not in command.arguments
    return bool(_INTERPRETERS.fullmatch(command.program)) and command.arguments[:1] in {(), ("-",)}


def _opens(command: Command) -> bool:
    modes = [word for word in command.arguments if not re.fullmatch(r"-[A-Zcfv]+|--[a-z-]+", word)][:1]
    return any(_octal_opens(mode) or any(_OTHERS_WRITE.fullmatch(part) for part in mode.split(",")) for mode in modes)


def _octal_opens(mode: str) -> bool:
    """Whether an octal mode lets others write, where no sticky bit protects what is theirs."""
    return re.fullmatch(r"0*[0-7]{3,4}", mode) is not None and bool(int(mode, 8) & 0o002) and not int(mode, 8) & 0o1000


def _unchecked(command: Command) -> bool:
    words = [word.lower() for word in command.words]
    told = any(word in _SWITCHES or word.startswith(("--trusted-host=", "pip_trusted_host=")) for word in words)
    told = told or any("trusted=yes" in word and "[" in word for word in words) or "[trusted=yes]" in " ".join(words)
    told = told or any(words[at : at + 2] == list(pair) for pair in _SETTINGS for at in range(len(words)))
    told = told or any("=".join((name.lower(), value)) in words for name in _VARIABLES for value in _VARIABLES[name])
    return told or (command.program == "curl" and any(_CURL_K.fullmatch(word) for word in command.arguments))


def _exposed(read: Dockerfile) -> Iterator[Hit]:
    for one in read.instructions:
        if one.word == "EXPOSE" and any(word.partition("/")[0] == "22" for word in one.words):
            yield Hit(SSH, one.line)


def _copied(read: Dockerfile) -> Iterator[Hit]:
    for one in read.instructions:
        if one.word in {"COPY", "ADD"} and one.flag("from") is None:
            for source in one.words[:-1]:
                if _SECRET_FILES.search(source):
                    yield Hit(SECRET_FILE, one.line, f"`{source[:200]}`.")
                elif _SETTINGS_FILES.search(source):
                    yield Hit(SECRET_FILE, one.line, f"`{source[:200]}`.", Severity.medium)


_CHECKS: Sequence[Callable[[Dockerfile], Iterable[Hit]]] = (_user, _images, _added, _secrets, _run, _exposed, _copied)


def _whole(read: Dockerfile, ignore: str | None) -> Iterator[Hit]:
    taken = [name for name in (".env", ".git") if ignore is None or not ignores(ignore, name)]
    if not taken or not read.stages:
        return
    for stage in read.stages[-1].lineage:
        for one in stage.instructions:
            sources = one.words[:-1] if one.word in {"COPY", "ADD"} and one.flag("from") is None else []
            if any(PurePosixPath(source) in {PurePosixPath("."), PurePosixPath("/")} for source in sources):
                yield Hit(WHOLE, one.line, f"Not left out: {' and '.join(taken)}.")


def ignores(text: str, name: str) -> bool:
    """Whether a .dockerignore with this text leaves out `name`, an entry of the topmost folder."""
    out = False
    for line in text.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        again = pattern.startswith("!")
        pattern = pattern.removeprefix("!").strip().removeprefix("./").strip("/")
        while pattern.startswith("**/"):
            pattern = pattern[3:]
        if len(pattern) <= 200 and fnmatch.fnmatchcase(name, pattern.removesuffix("/**")):
            out = not again
    return out


def _ignore_file(sources: Sources, name: str) -> str | None:
    """The .dockerignore that applies to a Dockerfile: its own, its folder's, or the checkout's."""
    path = PurePosixPath(name)
    for candidate in (f"{name}.dockerignore", str(path.parent / ".dockerignore"), ".dockerignore"):
        if candidate in sources.files:
            return read_text(sources.root, candidate)
    return None
