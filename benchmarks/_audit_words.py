"""Names, histories of versions, sentences and vectors out of a seed: what invented records are made of."""

from __future__ import annotations

import random

LONGEST = 160
"""Versions of one package at most."""


def _each(words: str) -> list[str]:
    return words.split()


_FIRST = _each("""
    amber basil cedar delta ember fable garnet harbor indigo jasper kernel lumen maple nectar onyx pepper
    quartz raven saffron timber umber velvet willow xenon yarrow zephyr anchor beacon cobalt dynamo engine
    falcon glacier hazel ivory jungle kettle lantern meadow nimbus orchid pebble quiver ripple signal thicket
    uplink vector walnut yonder
""")
_SECOND = _each("""
    api auth base cache client codec config core crypto data date db dom event feed file form fs graph grid
    hash html http image index io json key lang lib list loader log mail map math merge model net node parse
    path pool proxy query queue render rest route rpc schema server shell socket sort sql state store stream
    string style sync table task template test text time token tools tree type url util vault view web worker
    xml yaml zip
""")
_WORDS = _each("""
    a an any allows application attacker authenticated because before buffer bypass cache can certain check
    code component configuration crafted cross data default denial deserialisation directory disclosure does
    does-not encoded endpoint escape execution exhaustion expression file fixed following forgery function
    handler header improper in input injection instance is issue lack leads library limit local log may memory
    method not of on operation option or output overflow parameter parser path payload permission pollution
    properly prototype read regular remote request resource response restricted result return sanitised
    scripting sensitive server service session site so that the this through to token traversal
    unauthenticated uncontrolled under untrusted update upgrade uses validation value version via
    vulnerability when which with without write
""")

_METRICS_3 = ("AV:NALP", "AC:LH", "PR:NLH", "UI:NR", "S:UC", "C:NLH", "I:NLH", "A:LH")
_METRICS_4 = ("AV:NALP", "AC:LH", "AT:NP", "PR:NLH", "UI:NPA", "VC:LH", "VI:NLH", "VA:NLH", "SC:NL", "SI:NL", "SA:NL")


def package_name(number: int, *, malicious: bool = False, scoped: bool = False) -> str:
    """The name of the package with that number: all are different, and normal in the sense of PEP 503."""
    first, rest = _FIRST[number % len(_FIRST)], number // len(_FIRST)
    second, more = _SECOND[rest % len(_SECOND)], rest // len(_SECOND)
    name = f"{first}-{second}{more or ''}"
    if malicious:
        name = f"{first}{second}-{'js' if number % 2 else 'py'}{number}"
    return f"@{_FIRST[number % 41]}/{name}" if scoped else name


def unwritten_name(number: int) -> str:
    """A package that no record is about."""
    return f"plain-{package_name(number)}"


class Prose:
    """Sentences, as many as it takes."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self._sentences = [
            " ".join(rng.choices(_WORDS, k=rng.randrange(9, 22))).capitalize() + "." for _ in range(1500)
        ]

    def sentence(self) -> str:
        """One."""
        return self._random.choice(self._sentences)

    def text(self, sentences: int) -> str:
        """Paragraphs of three."""
        said = self._random.choices(self._sentences, k=sentences)
        return "\n\n".join(" ".join(said[at : at + 3]) for at in range(0, sentences, 3))


def cvss3(rng: random.Random) -> str:
    """A vector of CVSS 3.1."""
    return "/".join(["CVSS:3.1", *_metrics(rng, _METRICS_3)])


def cvss4(rng: random.Random) -> str:
    """A vector of CVSS 4.0."""
    return "/".join(["CVSS:4.0", *_metrics(rng, _METRICS_4)])


def _metrics(rng: random.Random, metrics: tuple[str, ...]) -> list[str]:
    return [f"{name}:{rng.choice(values)}" for name, _, values in (metric.partition(":") for metric in metrics)]


def pypi_history(rng: random.Random, length: int) -> list[str]:
    """Versions in the order of PEP 440, oldest first: short and long ones, pre-, post- and calendar releases."""
    calendar = rng.random() < 0.06
    major, minor, patch = (rng.randrange(2016, 2021), rng.randrange(1, 9), 0) if calendar else (0, rng.randrange(4), 0)
    short = rng.random() < 0.3  # 1.2 rather than 1.2.0
    found: list[str] = []

    def add(suffix: str = "") -> None:
        found.append((f"{major}.{minor}" if short and patch == 0 else f"{major}.{minor}.{patch}") + suffix)

    while len(found) < length:
        turn = rng.random()
        if turn < 0.6:
            patch += 1
        elif turn < 0.93 or (calendar and minor < 12):
            minor, patch = minor + 1, 0
        else:
            major, minor, patch = major + 1, 1 if calendar else 0, 0
        if patch == 0 and rng.random() < 0.3:
            for suffix in ("a1", "b1", "b2", "rc1", "rc2", "rc10")[rng.randrange(5) :]:
                add(suffix)
        add()
        if rng.random() < 0.03:
            add(".post1")
    return found[:length]


def npm_history(rng: random.Random, length: int) -> list[str]:
    """Versions in the order of semantic versioning, oldest first, with pre-releases between them."""
    major, minor, patch = 0, rng.randrange(3), rng.randrange(3)
    found: list[str] = []
    while len(found) < length:
        turn = rng.random()
        if turn < 0.6:
            patch += 1
        elif turn < 0.92:
            minor, patch = minor + 1, 0
        else:
            major, minor, patch = major + 1, 0, 0
        if patch == 0 and rng.random() < 0.25:
            before = ("alpha.1", "alpha.beta", "beta.2", "beta.11", "rc.1")[rng.randrange(4) :]
            found.extend(f"{major}.{minor}.{patch}-{suffix}" for suffix in before)
        found.append(f"{major}.{minor}.{patch}")
    return found[:length]
