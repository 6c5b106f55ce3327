"""What the commands of a build install: apt, pip, uv and npm are understood, others are named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tasks.advisories.package import DEBIAN, PYPI, Package
from tasks.audit.component import Component, Evidence, Origin, Place
from tasks.audit.inventory import npm_names
from tasks.audit.inventory.requirement import NotARequirementError, origin_of, parse
from tasks.scan.shell import Command

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
    ("cargo", "install"): "crates.io",
    ("go", "install"): "Go",
    ("composer", "require"): "Packagist",
    ("dotnet", "tool"): "NuGet",
}
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
    program, words = command.program, [expand(word) for word in command.arguments]
    if _PYTHON.fullmatch(program) and words[:2] == ["-m", "pip"]:
        program, words = "pip", words[2:]
    if program in {"uv", "pipx"} and words[:1] in (["pip"], ["tool"]):
        words = words[1:]
    plain = [word for word in words if not word.startswith("-")]
    action = plain[0] if plain else ""
    if program in _APT and action == "install":
        return _collect(_named(words, action, "apt"), lambda word: _debian(word, place, apt or DEBIAN), DEBIAN)
    if (_PIP.fullmatch(program) or program in {"uv", "pipx"}) and action == "install":
        return _collect(_named(words, action, "pip"), lambda word: _python(word, place), PYPI)
    if program == "yarn" and plain[:2] == ["global", "add"]:
        words, action = words[words.index("global") + 1 :], "add"
    if action in _NPM.get(program, ()):
        return _collect(_named(words, action, "npm"), lambda word: _node(word, place), "npm")
    if (ecosystem := _OTHERS.get((program, action))) is not None:
        return Installed(unread=((f"what {program} installs", ecosystem),))
    return Installed()


def _collect(words: Iterable[str], read: Callable[[str], Component | None], ecosystem: str) -> Installed:
    components: list[Component] = []
    unread: list[tuple[str, str]] = []
    for word in dict.fromkeys(words):
        found = None if "$" in word else read(word)
        if found is not None:
            components.append(found)
        elif not _is_of_the_build(word):
            unread.append((word[:80], ecosystem))
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
    return word.startswith((".", "/")) or word == "~" or ("/" in word and "$" not in word and not word.startswith("@"))


def _debian(word: str, place: Place, ecosystem: str) -> Component | None:
    if word.endswith("-") or (found := _DEBIAN_NAME.fullmatch(word)) is None:
        return None
    version = found[2] if found[2] and "*" not in found[2] else None
    return _component(Package(ecosystem, found[1]), version, f"= {found[2]}" if found[2] else "", place)


def _python(word: str, place: Place) -> Component | None:
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
