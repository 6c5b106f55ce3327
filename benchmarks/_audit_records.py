"""Advisories in OSV's shape, invented from a seed, and what is true about them.

Every package has a history: its versions, oldest first. A flaw affects stretches of that history, and records tell of
it in the ways that real ones do. Which versions are affected is thus known by position, without comparing any two
versions; that referees those who have to compare them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any

from _audit_words import LONGEST, Prose, cvss3, cvss4, npm_history, package_name, pypi_history

PYPI, NPM = "PyPI", "npm"
Record = dict[str, Any]
Stretch = tuple[int, int]
"""From a position in a history to before another."""

_MALICIOUS = {PYPI: 0.2, NPM: 0.9}  # of all records
_HISTORIES = {PYPI: 0.175, NPM: 0.02}  # packages with flaws, for each record
_CHANGED = 100  # one record in so many differs from one revision to the next
_INSTALLED = 25  # malicious packages that somebody may have installed
_DIGITS = "23456789cfghjmpqrvwx"
_WORDS = ("LOW", "MODERATE", "HIGH", "CRITICAL")
_EMBEDDED = "The product contains code that appears to be malicious in nature."
_WARNING = (
    "\n---\n_-= Per source details. Do not edit below this line.=-_\n\n## Source: reports ({digest})\nAny computer "
    "that has {name} installed or running should be considered fully compromised. All secrets and keys stored on that "
    "computer should be rotated immediately from a different computer.\n\n{text}\n"
)


@dataclass(slots=True)
class Flaw:
    """What is wrong with one package, by all its names."""

    names: list[str]
    records: dict[str, list[Stretch]]
    """By id; withdrawn ones are left out."""


@dataclass(slots=True)
class History:
    """A package that records tell of."""

    name: str
    versions: list[str]
    """Oldest first."""
    flaws: list[Flaw] = field(default_factory=list)

    def flaws_at(self, position: int) -> list[tuple[Flaw, list[str]]]:
        """The flaws of one version, each with the ids of the records that say so."""
        told = (
            (flaw, [id_ for id_, stretches in flaw.records.items() if covers(stretches, position)])
            for flaw in self.flaws
        )
        return [(flaw, ids) for flaw, ids in told if ids]


def covers(stretches: Sequence[Stretch], position: int) -> bool:
    """Whether a position is within one of them."""
    return any(begin <= position < end for begin, end in stretches)


class Ecosystem:
    """Records of one ecosystem and the histories behind them: the same arguments give the same records."""

    def __init__(self, name: str, count: int, *, seed: int, revision: int = 0) -> None:
        self.name = name
        self.count = count
        self.histories: dict[str, History] = {}
        self._random = random.Random(f"{seed} {name}")
        self._prose = Prose(self._random)
        self._revision = revision

    def records(self) -> Iterator[Record]:
        """All records, once. In another revision one in a hundred has other words and a later date."""
        for number, record in enumerate(self._records()):
            if self._revision and number % _CHANGED == self._revision % _CHANGED:
                record["modified"] = f"2026-11-{1 + self._revision % 28:02}T12:00:00Z"
                record["details"] += f"\n\nRevised {self._revision} times."
            yield record

    def _records(self) -> Iterator[Record]:
        malicious = int(self.count * _MALICIOUS[self.name])
        for number in range(int(self.count * _HISTORIES[self.name])):
            self._add_history(number)
        drawn = list(self.histories.values())
        weights = list(accumulate(1 / (rank + 120) for rank in range(len(drawn))))  # few packages have most flaws
        for number in range(malicious):
            yield self._malicious(number)
        serial, made = 0, malicious
        while made < self.count - 1:
            told = self._flaw(serial, self._random.choices(drawn, cum_weights=weights)[0], drawn)
            yield from told
            serial, made = serial + 1, made + len(told)
        if made < self.count:
            yield self._malicious(malicious)

    def _add_history(self, number: int) -> None:
        name = package_name(number, scoped=self.name == NPM and number % 6 == 0)
        length = min(LONGEST, 3 + int(self._random.expovariate(1 / 22)))
        versions = (pypi_history if self.name == PYPI else npm_history)(self._random, length)
        self.histories[name] = History(name, versions)

    def _malicious(self, number: int) -> Record:
        """A record about a package that is malicious as a whole, or in the versions that were taken over."""
        name = package_name(number, malicious=True, scoped=self.name == NPM and number % 9 == 0)
        versions = [f"{1 + at // 10}.{at % 10}.{number % 7}" for at in range(1 + number % 5)]
        year = 2022 + number % 4
        id_, digest = f"MAL-{year}-{number}", f"{self._random.getrandbits(256):064x}"
        when = f"{year}-{1 + number % 12:02}-{1 + number % 27:02}T{number % 24:02}:{number % 60:02}:11Z"
        affected: Record = {"package": self._package(name)}
        if number % 3:
            affected["ranges"] = [self._range([{"introduced": "0"}])]
        if number % 3 == 0 or self.name == PYPI:
            affected["versions"] = versions
        affected["database_specific"] = {
            "cwes": [{"cweId": "CWE-506", "name": "Embedded Malicious Code", "description": _EMBEDDED}],
        }
        if number < _INSTALLED:
            self.histories[name] = History(name, versions, [Flaw([id_], {id_: [(0, len(versions))]})])
        return {
            "schema_version": "1.7.3",
            "id": id_,
            "modified": when,
            "published": when,
            "summary": f"Malicious code in {name} ({self.name})",
            "details": _WARNING.format(digest=digest, name=name, text=self._prose.text(3)),
            "affected": [affected],
            "references": [{"type": "PACKAGE", "url": f"https://registry.example/package/{name}"}],
            "credits": [{"name": f"Finder {number % 97}", "type": "FINDER", "contact": ["finder@example.org"]}],
            "database_specific": {
                "malicious-packages-origins": [
                    {"source": "reports", "sha256": digest, "import_time": when, "modified_time": when,
                     "id": id_, "versions": versions},
                ],
            },
        }  # fmt: skip

    def _flaw(self, serial: int, history: History, drawn: Sequence[History]) -> list[Record]:
        """The records about one new flaw, which is put down in the history that it is about."""
        rng = self._random
        cve, ghsa = f"CVE-{2018 + serial % 9}-{10_000 + serial}", f"GHSA-{self.name[0].lower()}{_letters(serial)}"
        pysec = f"PYSEC-{2018 + serial % 9}-{serial}"
        kind = rng.random() if self.name == PYPI else 0.9
        ids = [pysec, ghsa] if kind < 0.72 else [ghsa] if kind < 0.92 else [pysec]
        names = [*ids, cve] if rng.random() < 0.93 else ids
        about = {history.name: history}
        if rng.random() < 0.04:  # a variant of the package has the same flaw
            sibling = rng.choice(drawn)
            about[sibling.name] = sibling
        stretches = {name: self._stretches(one) for name, one in about.items()}
        flaws = {name: Flaw(names, {}) for name in about}
        records = []
        for id_ in ids:
            if id_ == ghsa and pysec in ids and rng.random() < 0.05:  # two databases, two opinions
                stretches = {name: self._stretches(one) for name, one in about.items()}
            aliases = [name for name in names if name != id_]
            if len(aliases) == 2 and rng.random() < 0.3:
                aliases = [cve]  # they meet in the CVE alone
            withdrawn = rng.random() < 0.025
            affected = [entry for name, one in about.items() for entry in self._affected(id_, one, stretches[name])]
            records.append(self._record(id_, aliases, affected, serial, withdrawn=withdrawn))
            if not withdrawn:
                for name, flaw in flaws.items():
                    flaw.records[id_] = stretches[name]
        for name, flaw in flaws.items():
            if flaw.records:
                about[name].flaws.append(flaw)
        return records

    def _stretches(self, history: History) -> list[Stretch]:
        rng, length = self._random, len(history.versions)
        pairs = 1 if rng.random() < 0.8 else rng.randrange(2, 5)
        if length < 2 * pairs + 1:
            return [(0, rng.randrange(1, length + 1))]
        turns = sorted(rng.sample(range(length), 2 * pairs))
        if rng.random() < 0.7:
            turns[0] = 0
        if rng.random() < 0.15:  # not fixed yet
            turns[-1] = length
        return list(zip(turns[::2], turns[1::2], strict=True))

    def _affected(self, id_: str, history: History, stretches: list[Stretch]) -> list[Record]:
        """`affected` entries: one with one range, one with several, or several with one each, as sources do."""
        rng, versions = self._random, history.versions
        last = rng.random() < 0.1
        events = [self._events(versions, stretch, last=last) for stretch in stretches]
        listed = [versions[begin:end] for begin, end in stretches]
        package = self._package(history.name)
        ghsa = id_.startswith("GHSA")
        entries: list[Record]
        if ghsa and rng.random() < 0.8:
            entries = [{"package": package, "ranges": [self._range(one)], "versions": some}
                       for one, some in zip(events, listed, strict=True)]  # fmt: skip
        else:
            together = rng.random() < 0.6
            if together and not last:
                events = [list(chain.from_iterable(events))]
            every = list(chain.from_iterable(listed))
            entries = [{"package": package, "ranges": [self._range(one) for one in events], "versions": every}]
        chance = rng.random()
        if self.name == NPM or (ghsa and chance < 0.12):
            for entry in entries:
                del entry["versions"]
        elif not ghsa and chance < 0.04:
            for entry in entries:
                del entry["ranges"]
        elif not ghsa and chance < 0.3:
            repository = f"https://git.example/{history.name}"
            commits = [{"introduced": "0"}, {"fixed": f"{rng.getrandbits(160):040x}"}]
            entries[0]["ranges"].insert(0, {"type": "GIT", "repo": repository, "events": commits})
        for entry in entries:
            entry["database_specific"] = {"source": f"https://advisories.example/{self.name}/{id_}.json"}
        return entries

    def _events(self, versions: list[str], stretch: Stretch, *, last: bool) -> list[dict[str, str]]:
        begin, end = stretch
        introduced = {"introduced": "0" if begin == 0 else versions[begin]}
        if last:
            return [introduced, {"last_affected": versions[end - 1]}]
        return [introduced] if end == len(versions) else [introduced, {"fixed": versions[end]}]

    def _range(self, events: list[dict[str, str]]) -> Record:
        return {"type": "SEMVER" if self.name == NPM else "ECOSYSTEM", "events": events}

    def _package(self, name: str) -> dict[str, str]:
        written = name
        if self.name == PYPI and name.startswith("raven"):  # some records write a name as its author does
            written = name.title().replace("-", "_", 1)
        return {"ecosystem": self.name, "name": written, "purl": f"pkg:{self.name.lower()}/{name.replace('@', '%40')}"}

    def _record(self, id_: str, aliases: list[str], affected: list[Record], serial: int, *, withdrawn: bool) -> Record:
        rng = self._random
        published = f"{2018 + serial % 8}-{1 + serial % 12:02}-{1 + serial % 28:02}T{serial % 24:02}:00:07Z"
        record: Record = {
            "schema_version": "1.7.3",
            "id": id_,
            "aliases": aliases,
            "modified": f"2026-{1 + serial % 10:02}-{1 + serial % 28:02}T08:{serial % 60:02}:31.412Z",
            "published": published,
            "details": self._prose.text(rng.randrange(2, 9)),
            "affected": affected,
            "references": [
                {"type": kind, "url": f"https://{host}.example/{name}"}
                for kind, host, name in (("ADVISORY", "nvd", aliases[0] if aliases else id_), ("WEB", "code", id_),
                                         ("FIX", "code", f"commit/{rng.getrandbits(160):040x}"))
            ],
        }  # fmt: skip
        if withdrawn:
            record["withdrawn"] = "2026-10-01T00:00:00Z"
        chance = rng.random()
        severity = [{"type": "CVSS_V3", "score": cvss3(rng)}] if chance < 0.75 else []
        if chance > 0.65 and chance < 0.85:
            severity.append({"type": "CVSS_V4", "score": cvss4(rng)})
        if severity:
            record["severity"] = severity
        if id_.startswith("GHSA"):
            record["summary"] = self._prose.sentence()
            record["database_specific"] = {
                "cwe_ids": [f"CWE-{20 + serial % 900}"],
                "github_reviewed": True,
                "github_reviewed_at": published,
                "nvd_published_at": published,
                "severity": _WORDS[serial % len(_WORDS)],
            }
        return record


def _letters(serial: int) -> str:
    """The rest of a GHSA id; different for different numbers."""
    digits = []
    for _ in range(11):
        serial, digit = divmod(serial, len(_DIGITS))
        digits.append(_DIGITS[digit])
    text = "".join(digits)
    return f"{text[:3]}-{text[3:7]}-{text[7:]}"
