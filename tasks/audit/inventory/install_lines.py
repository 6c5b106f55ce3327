"""What the commands of a build install: apt, pip, uv and npm are understood, others are named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tasks.advisories.package import DEBIAN, PYPI, Package
from tasks.audit.component import Component, Evidence, Origin, Place
from tasks.audit.inventory import npm_names
from tasks.audit.inventory.requirement import NotARequirementError, origin_of, parse, shown
from tasks.audit.inventory.walk import reader_of
from tasks.scan.shell import Command, pipelines

_APT = {"apt-get", "apt", "aptitude"}
_PIP = re.compile(r"pip(?:[0-9](?:\.[0-9]+)?)?")
_PYTHON = re.compile(r"python(?:[0-9](?:\.[0-9]+)?)?")
_NPM = {"npm": {"install", "i", "add"}, "yarn": {"add"}, "pnpm": {"add", "install", "i"}, "bun": {"add", "install"}}
_OTHERS = {
    ("apk", "add"): "Alpine",
    ("dnf", "install"): "Red Hat",
    ("microdnf", "install"): "Red Hat",
    ("yum", "install"): "Red Hat",
    ("zypper", "install"): "SUSE",
    ("zypper", "in"): "SUSE",
    ("gem", "install"): "RubyGems",
    ("gem", "i"): "RubyGems",
    ("bundle", "add"): "RubyGems",
    ("cargo", "install"): "crates.io",
    ("cargo", "add"): "crates.io",
    ("go", "install"): "Go",
    ("go", "get"): "Go",
    ("composer", "require"): "Packagist",
    ("dotnet", "tool"): "NuGet",
    ("dotnet", "add"): "NuGet",
    ("conda", "install"): PYPI,
    ("conda", "create"): PYPI,
    ("mamba", "install"): PYPI,
    ("mamba", "create"): PYPI,
    ("micromamba", "install"): PYPI,
    ("micromamba", "create"): PYPI,
    ("pixi", "add"): PYPI,
}
_PROJECTS = {"uv", "pdm", "poetry", "rye"}
_SHELLS = {"sh", "bash", "ash", "dash", "zsh"}
_WRAPPERS = {"xargs", "timeout", "nice", "chroot", "retry", "parallel", "gosu", "su-exec", "runuser"}
_MOST_NESTED = 4
_DEBIAN_NAME = re.compile(r"([a-z0-9][a-z0-9+.-]+?)(?::[a-z0-9]+)?(?:=([A-Za-z0-9.+:~*-]+)|/[a-z0-9-]+)?\+?", re.ASCII)
_WITH_VALUE = {
    "apt": {"-t", "-o", "-c", "-a", "--target-release", "--default-release", "--option", "--config-file"},
    "pip": {
        *("-r", "--requirement", "-c", "--constraint", "-i", "--index-url", "--extra-index-url", "-f", "--find-links"),
        *("-t", "--target", "--prefix", "--root", "--platform", "--python-version", "--implementation", "--abi"),
        *("--no-binary", "--only-binary", "--progress-bar", "--trusted-host", "--cache-dir", "--timeout", "--proxy"),
        *("--retries", "--cert", "--client-cert", "--src", "--python", "-p", "--index-strategy", "--index", "--log"),
        *("--exists-action", "--upgrade-strategy", "--global-option", "--config-settings", "-C", "--report", "--extra"),
        *("--root-user-action", "--default-index", "--with", "--keyring-provider", "--exclude-newer", "--group"),
    },
    "npm": {"--prefix", "--registry", "--cache", "-C", "--dir", "--cwd", "--tag", "--omit", "--include", "-w"},
}
_EDITABLE = {"-e", "--editable"}


@dataclass(frozen=True, slots=True)
class Installed:
    """What one command installs."""

    components: tuple[Component, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()
    """What was not understood, each with its ecosystem."""


def installed(command: Command, place: Place, apt: str | None, expand: Callable[[str], str]) -> Installed:
    """The packages that `command` asks for.

    Args:
        command: one command of a shell.
        place: where it stands.
        apt: the ecosystem of apt's packages, when it is known.
        expand: replaces variables whose values are known.
    """
    return _installed(command, place, apt, expand, 0)


def _installed(command: Command, place: Place, apt: str | None, expand: Callable[[str], str], depth: int) -> Installed:
    program, words = command.program, [expand(word) for word in command.arguments]
    inner = _inner(program, words) if depth < _MOST_NESTED else []
    parts = [_installed(one, place, apt, expand, depth + 1) for one in inner]
    parts.append(_by_name(program, words, place, apt))
    unread = [what for part in parts for what in part.unread]
    if command.runs("xargs") and any(_is_installer(one) for one in (program, *(one.program for one in inner))):
        unread.append(("what xargs hands over", ""))
    return Installed(tuple(component for part in parts for component in part.components), tuple(unread))


def _by_name(program: str, words: list[str], place: Place, apt: str | None) -> Installed:
    if _PYTHON.fullmatch(program) and words[:2] == ["-m", "pip"]:
        program, words = "pip", words[2:]
    is_once = words[:2] == ["tool", "run"] if program == "uv" else words[:1] == ["run"] and program == "pipx"
    if program in {"uv", "pipx"} and words[:1] in (["pip"], ["tool"]):
        words = words[1:]
    plain = [word for word in words if not word.startswith("-")]
    action = plain[0] if plain else ""
    if is_once or program in {"uvx", "npx", "bunx"}:
        return _run_once(program, plain[1:] if is_once else plain, place)
    if program in _APT and action == "install":
        return _collect(_named(words, action, "apt"), lambda word: _debian(word, place, apt or DEBIAN), DEBIAN)
    if (_PIP.fullmatch(program) and action in {"install", "download", "wheel"}) or (
        (program in {"uv", "pipx"} and action == "install") or (program in _PROJECTS and action == "add")
    ):
        found = _collect(_named(words, action, "pip"), lambda word: _python(word, place), PYPI)
        return Installed(found.components, (*found.unread, *_lists(words)))
    if program == "yarn" and plain[:2] == ["global", "add"]:
        words, action = words[words.index("global") + 1 :], "add"
    if action in _NPM.get(program, ()):
        return _collect(_named(words, action, "npm"), lambda word: _node(word, place), "npm")
    ecosystem = _OTHERS.get((program, action)) or _by_options(program, words)
    return Installed(unread=((f"what {program} installs", ecosystem),)) if ecosystem is not None else Installed()


def _inner(program: str, words: list[str]) -> list[Command]:
    """The commands that a command runs: `sh -c '...'`, `eval '...'`, `timeout 5 ...`."""
    if program == "eval":
        return [one for pipeline in pipelines(" ".join(words), breaks=True) for one in pipeline]
    if program in _SHELLS:
        at = next((at for at, word in enumerate(words) if re.fullmatch(r"-[a-z]*c[a-z]*", word)), None)
        text = words[at + 1] if at is not None and at + 1 < len(words) else ""
        return [one for pipeline in pipelines(text, breaks=True) for one in pipeline]
    if program in _WRAPPERS:
        start = next((at for at, word in enumerate(words) if _is_installer(word.rpartition("/")[2])), None)
        return [] if start is None else [Command(tuple(words[start:]), 0)]
    return []


def _is_installer(program: str) -> bool:
    return (
        program in {*_APT, *_NPM, *_SHELLS, *_PROJECTS, "pipx", "conda"}
        or _PIP.fullmatch(program) is not None
        or _PYTHON.fullmatch(program) is not None
    )


def _run_once(program: str, plain: list[str], place: Place) -> Installed:
    """What `npx`, `uvx` and `pipx run` fetch to run it. Without a version it may be the project's own command."""
    is_node = program in {"npx", "bunx"}
    word = plain[0] if plain else ""
    if is_node and "@" not in word[1:]:
        return Installed()
    if is_node:
        return _collect([word], lambda text: _node(text, place), "npm")
    return _collect([word.replace("@", "==", 1)] if word else [], lambda text: _python(text, place), PYPI)


def _by_options(program: str, words: list[str]) -> str | None:
    """The ecosystem of what is installed by options rather than by a word for it."""
    if program.startswith("easy_install"):
        return PYPI
    if program == "dpkg":
        return None if {"-i", "--install", "--unpack"}.isdisjoint(words) else DEBIAN
    if program == "rpm" and any(re.match(r"-[a-z]*[iU]|--install|--upgrade", word) for word in words):
        is_query = any(re.match(r"-[a-zA-Z]*q|--query|--import|--initdb", word) for word in words)
        return None if is_query else "Red Hat"
    return None


def _lists(words: list[str]) -> Iterator[tuple[str, str]]:
    """Requirements files with names that do not say that they are some: nobody else reads them."""
    for option, value in zip(words, [*words[1:], ""], strict=True):
        name, _, joined = option.partition("=")
        file = joined if name == "--requirement" and joined else value if option in {"-r", "--requirement"} else ""
        file = option[2:] if option.startswith("-r") and len(option) > 2 else file
        if file and reader_of(file) is None:
            yield f"what is in {shown(file)}", PYPI


def _collect(words: Iterable[str], read: Callable[[str], Component | None], ecosystem: str) -> Installed:
    components: list[Component] = []
    unread: list[tuple[str, str]] = []
    for word in dict.fromkeys(words):
        found = None if "$" in word else read(word)
        if found is not None:
            components.append(found)
        elif not _is_of_the_build(word):
            unread.append((shown(word)[:80], ecosystem))
    return Installed(tuple(components), tuple(unread))


def _named(words: list[str], action: str, family: str) -> Iterator[str]:
    """The arguments behind the action that are no options, nor values of options, nor redirections."""
    with_value = _WITH_VALUE[family]
    rest = iter(words)
    behind = False
    for word in rest:
        if word.startswith("-"):
            if word in with_value or word in _EDITABLE:
                next(rest, None)
        elif re.match(r"[0-9]*&?[<>]", word):
            if word.endswith((">", "<")):
                next(rest, None)
        elif behind:
            yield word
        else:
            behind = word == action


def _is_of_the_build(word: str) -> bool:
    """Whether it is a file or a folder of what is built: its own source code, or read as what it is."""
    if "://" in word:
        return False
    return word.startswith((".", "/")) or word == "~" or ("/" in word and "$" not in word and not word.startswith("@"))


def _debian(word: str, place: Place, ecosystem: str) -> Component | None:
    if word.endswith("-") or (found := _DEBIAN_NAME.fullmatch(word)) is None:
        return None
    version = found[2] if found[2] and "*" not in found[2] else None
    return _component(Package(ecosystem, found[1]), version, f"= {found[2]}" if found[2] else "", place)


def _python(word: str, place: Place) -> Component | None:
    if "://" in word and " @ " not in word:
        origin, told = origin_of(word)
        return None if told is None else _component(Package(PYPI, told[0]), told[1], "", place, origin)
    if _is_of_the_build(word) and " @ " not in word:
        return None
    try:
        wanted = parse(word)
    except NotARequirementError:
        return None
    if wanted.url:
        return _component(Package(PYPI, wanted.name), None, "", place, origin_of(wanted.url)[0])
    return _component(Package(PYPI, wanted.name), wanted.pinned, wanted.requirement, place)


def _node(word: str, place: Place) -> Component | None:
    if word.startswith((".", "/")) or "://" in word:
        return None
    name, specifier = npm_names.split(word)
    wanted = npm_names.asked(name, specifier)
    known = npm_names.package(wanted.name)
    return None if known is None else _component(known, wanted.version, wanted.requirement, place, wanted.origin)


def _component(
    package: Package, version: str | None, requirement: str, place: Place, origin: Origin = Origin.registry
) -> Component:
    return Component(
        package=package,
        version=version,
        place=place,
        evidence=Evidence.declared,
        requirement=requirement,
        origin=origin,
        direct=True,
    )
