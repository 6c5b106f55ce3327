"""Projects that use what the invented advisories are about: locks as uv and npm write them, at chosen versions."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from _audit_mirror import Truth
from _audit_records import NPM, PYPI, History
from _audit_words import npm_history, pypi_history, unwritten_name

Finding = tuple[str, str, str]
"""Package, version, and the name that stands for the flaw."""
Pins = dict[str, str]

_UNIVERSE = {"written": 1600, "unwritten": 1400}
_VULNERABLE = 0.4  # of the packages of a lock
_MOST = 4  # vulnerabilities of one version in use
_PLATFORMS = (
    *(f"cp{v}-cp{v}-manylinux_2_17_x86_64.manylinux2014_x86_64" for v in (311, 312, 313, 314)),
    *(f"cp{v}-cp{v}-macosx_11_0_arm64" for v in (311, 312, 313, 314)),
    *(f"cp{v}-cp{v}-win_amd64" for v in (311, 312, 313, 314)),
)


@dataclass(frozen=True, slots=True)
class Project:
    """One project on disk."""

    folder: Path
    ecosystem: str
    pins: tuple[tuple[str, str], ...]
    """Package and version; npm may use one package at several versions."""

    def expected(self, truth: Truth) -> set[Finding]:
        """What an audit has to find in it."""
        histories = truth.histories[self.ecosystem]
        return {
            (name, version, flaw.names[0])
            for name, version in self.pins
            if name in histories and version in histories[name].versions
            for flaw, _ids in histories[name].flaws_at(histories[name].versions.index(version))
        }


class Universe:
    """Packages that projects draw from; some that records are about and some that none is about."""

    def __init__(self, truth: Truth, ecosystem: str, rng: random.Random, *, share: float = 1.0) -> None:
        written = [history for history in truth.histories[ecosystem].values() if len(history.versions) > 1]
        count = min(int(_UNIVERSE["written"] * share), len(written))
        self.written = rng.sample(written, count)
        history = pypi_history if ecosystem == PYPI else npm_history
        self.unwritten = [
            History(unwritten_name(number), history(rng, 12)) for number in range(int(_UNIVERSE["unwritten"] * share))
        ]
        self.choices = {one.name: _choices(one) for one in self.written}
        self._random = rng

    def draw(self, count: int) -> Pins:
        """A lock's packages with their versions: about four in ten have one to four vulnerabilities."""
        rng = self._random
        written = rng.sample(self.written, min(int(count * 0.6), len(self.written)))
        rng.shuffle(written)
        wanted = int(count * _VULNERABLE)
        pins: Pins = {}
        for one in written:
            weak, clean = self.choices[one.name]
            if weak and (wanted > 0 or not clean):
                pins[one.name] = self._one_of(weak)
                wanted -= 1
            elif clean:
                pins[one.name] = self._one_of(clean)
        for one in rng.sample(self.unwritten, min(count - len(pins), len(self.unwritten))):
            pins[one.name] = self._one_of(one.versions)
        return pins

    def _one_of(self, versions: Sequence[str]) -> str:
        """One of the later versions; few people use pre-releases."""
        releases = [version for version in versions if version.replace(".", "").isdigit()]
        return self._random.choice((releases if releases and self._random.random() < 0.97 else versions)[-8:])


def one_lock(folder: Path, truth: Truth, *, packages: int, seed: int, index: str) -> Project:
    """A Python project with `uv.lock`, `requirements.txt` and `pyproject.toml` of the same pins."""
    rng = random.Random(f"{seed} lock")
    pins = Universe(truth, PYPI, rng).draw(packages)
    write_python(folder, "one-lock", pins, rng, index=index)
    return Project(folder, PYPI, tuple(pins.items()))


def monorepo(folder: Path, truth: Truth, *, projects: int, seed: int, index: str) -> list[Project]:
    """Python projects of 200 to 500 packages each, mostly at the versions that the others use as well."""
    rng = random.Random(f"{seed} monorepo")
    universe = Universe(truth, PYPI, rng)
    house = universe.draw(len(universe.written) + len(universe.unwritten))
    found = []
    for number in range(projects):
        own = universe.draw(rng.randrange(200, 501))
        pins = {name: house.get(name, version) if rng.random() < 0.8 else version for name, version in own.items()}
        target = folder / "packages" / f"project-{number:02}"
        write_python(target, f"project-{number:02}", pins, rng, index=index)
        found.append(Project(target, PYPI, tuple(pins.items())))
    return found


def npm_lock(folder: Path, truth: Truth, *, packages: int, seed: int) -> Project:
    """A JavaScript project with a `package-lock.json`, some packages twice at different versions."""
    rng = random.Random(f"{seed} npm")
    universe = Universe(truth, NPM, rng)
    pins = tuple(universe.draw(packages).items())
    nested = tuple(
        (name, rng.choice(weak or clean))
        for name, (weak, clean) in ((name, universe.choices[name]) for name, _ in pins[:40] if name in universe.choices)
    )
    _write_npm(folder, pins, nested, rng)
    return Project(folder, NPM, tuple(dict.fromkeys((*pins, *nested))))


def _choices(history: History) -> tuple[list[str], list[str]]:
    """Versions with a few vulnerabilities, and those without any."""
    counts = [len(history.flaws_at(position)) for position in range(len(history.versions))]
    weak = [version for version, count in zip(history.versions, counts, strict=True) if 1 <= count <= _MOST]
    clean = [version for version, count in zip(history.versions, counts, strict=True) if count == 0]
    return weak, clean


def write_python(folder: Path, name: str, pins: Mapping[str, str], rng: random.Random, *, index: str) -> None:
    """The three files of a Python project; everything is reachable from the project, by one way at least.

    The lock names `index` as where its packages are from.
    """
    names = list(pins)
    direct = max(1, len(names) // 8)
    requires: dict[str, list[str]] = {one: [] for one in names}
    for position, one in enumerate(names[direct:], start=direct):
        for parent in {rng.randrange(position), rng.randrange(position)}:
            requires[names[parent]].append(one)
    folder.mkdir(parents=True, exist_ok=True)
    packages = {one: _uv_package(one, pins[one], sorted(requires[one]), rng, index) for one in names}
    packages[name] = _uv_project(name, sorted(names[:direct]), pins)
    head = 'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n'
    (folder / "uv.lock").write_text(head + "".join(packages[one] for one in sorted(packages)))
    (folder / "requirements.txt").write_text("".join(f"{one}=={pins[one]}\n" for one in sorted(names)))
    wanted = "".join(f'    "{one}>={pins[one]}",\n' for one in sorted(names[:direct]))
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "{name}"\nversion = "1.0.0"\nrequires-python = ">=3.11"\ndependencies = [\n{wanted}]\n'
    )


def _uv_package(name: str, version: str, requires: Sequence[str], rng: random.Random, index: str) -> str:
    stem, digest = name.replace("-", "_"), hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    tags = _PLATFORMS if rng.random() < 0.12 else ("py3-none-any",)
    dependencies = "".join(
        f'    {{ name = "{one}"' + (", marker = \"sys_platform != 'zos'\"" if rng.random() < 0.05 else "") + " },\n"
        for one in requires
    )
    sdist = f"{stem}-{version}.tar.gz"
    wheels = "".join(f"    {_uv_file(f'{stem}-{version}-{tag}.whl', digest)},\n" for tag in tags)
    return (
        f'\n[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "{index}" }}\n'
        + (f"dependencies = [\n{dependencies}]\n" if dependencies else "")
        + f"sdist = {_uv_file(sdist, digest)}\nwheels = [\n{wheels}]\n"
    )


def _uv_file(name: str, digest: str) -> str:
    url = f"https://files.pythonhosted.org/packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{name}"
    return f'{{ url = "{url}", hash = "sha256:{digest}", size = 123456, upload-time = "2026-01-01T00:00:00.000Z" }}'


def _uv_project(name: str, requires: Sequence[str], pins: Mapping[str, str]) -> str:
    dependencies = "".join(f'    {{ name = "{one}" }},\n' for one in requires)
    wanted = "".join(f'    {{ name = "{one}", specifier = ">={pins[one]}" }},\n' for one in requires)
    return (
        f'\n[[package]]\nname = "{name}"\nversion = "1.0.0"\nsource = {{ virtual = "." }}\n'
        f"dependencies = [\n{dependencies}]\n\n[package.metadata]\nrequires-dist = [\n{wanted}]\n"
    )


def _write_npm(
    folder: Path, pins: Sequence[tuple[str, str]], nested: Sequence[tuple[str, str]], rng: random.Random
) -> None:
    direct = {name: f"^{version}" for name, version in pins[: max(1, len(pins) // 8)]}
    packages: dict[str, object] = {"": {"name": "npm-lock", "version": "1.0.0", "dependencies": direct}}
    requires: dict[str, dict[str, str]] = {name: {} for name, _ in pins}
    for position, (name, version) in enumerate(pins[len(direct) :], start=len(direct)):
        requires[pins[rng.randrange(position)][0]][name] = f"^{version}"
    for name, version in pins:
        packages[f"node_modules/{name}"] = _npm_package(name, version) | {"dependencies": requires[name]}
    for (parent, _), (name, version) in zip(reversed(pins), nested, strict=False):
        requires[parent][name] = version
        packages[f"node_modules/{parent}/node_modules/{name}"] = _npm_package(name, version)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"name": "npm-lock", "version": "1.0.0", "dependencies": direct}
    (folder / "package.json").write_text(json.dumps(manifest, indent=2))
    lock = {"name": "npm-lock", "version": "1.0.0", "lockfileVersion": 3, "requires": True, "packages": packages}
    (folder / "package-lock.json").write_text(json.dumps(lock, indent=2))


def _npm_package(name: str, version: str) -> dict[str, object]:
    return {
        "version": version,
        "integrity": f"sha512-{hashlib.sha256(name.encode()).hexdigest()}",
    }
