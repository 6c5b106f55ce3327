"""Version specifiers, raised: what is written where a newer version is asked for, in the manner of what was there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

_CLAUSE = re.compile(r"(\s*)(===|==|~=|!=|<=|>=|<|>)(\s*)([^\s,]+)(\s*)")
_PLAIN = re.compile(r"[0-9]+(?:\.[0-9]+)*(?:[-+.][0-9A-Za-z.+-]+)?")
_CARET = re.compile(r"([\^~])(\s*)([0-9]+(?:\.[0-9]+){0,3}(?:[-+.][0-9A-Za-z.+-]+)?)")
_PARTIAL = re.compile(r"[0-9]+(?:\.(?:[0-9]+|[xX*])){0,2}")


@dataclass(frozen=True, slots=True)
class Range:
    """A specifier of Python packages: `>=1,<2`; in Poetry's manner also `^1.2`, `~1.2`, `1.2.*` and `1.2`."""

    text: str
    poetry: bool = False

    @property
    def pinned(self) -> str | None:
        """The only version that it allows, as written; None when it allows several."""
        plain = self._plain
        for clause in (plain or "").split(","):
            found = _CLAUSE.fullmatch(clause)
            if found and found[2] in {"==", "==="} and not found[4].endswith(".*"):
                return found[4]
        return None

    def allows(self, version: str) -> bool | None:
        """Whether `version` is allowed; None when one of both cannot be understood."""
        try:
            plain = self._plain
            return None if plain is None else SpecifierSet(plain).contains(Version(version), prereleases=True)
        except (InvalidSpecifier, InvalidVersion):
            return None

    def allows_any(self, versions: Iterable[str]) -> bool:
        """Whether one of `versions` is allowed."""
        return any(self.allows(version) for version in versions)

    def raised(self, to: str) -> str | None:
        """The text of a range that allows `to` and nothing below it; None when that cannot be written.

        Exact pins stay exact, upper bounds stay unless `to` lies above them (then the next generation is the new
        one), and what is excluded stays excluded.
        """
        stripped = self.text.strip()
        if self.poetry and stripped in {"", "*"}:
            return f">={to}"
        if self.poetry and (found := _CARET.fullmatch(stripped)):
            return f"{found[1]}{found[2]}{to}"
        if self.poetry and _PLAIN.fullmatch(stripped):
            return to
        if self.poetry and stripped.endswith(".*") and _PLAIN.fullmatch(stripped[:-2]):
            return f"^{to}"
        try:
            return self._raised(Version(to), to)
        except InvalidVersion:
            return None

    def _raised(self, wanted: Version, to: str) -> str | None:
        if not self.text.strip():
            return f">={to}"
        parts: list[str] = []
        has_floor = False
        for clause in self.text.split(","):
            if not clause.strip():
                continue
            found = _CLAUSE.fullmatch(clause)
            if found is None:
                return None
            before, operator, gap, version, after = found.groups()
            if operator in {"==", "==="} and not version.endswith(".*"):
                if "+" in version or len(self.text.split(",")) > 1:
                    return None  # a local build is on no registry; beside a pin, other clauses say something odd
                return f"{before}{operator}{gap}{to}{after}"
            if operator in {">=", ">"} and not SpecifierSet(f"{operator}{version}").contains(wanted, prereleases=True):
                return None  # `to` would be a step back
            now = _bound(operator, version, wanted, to)
            if now is None:
                continue
            has_floor = has_floor or now == (">=", to)
            parts.append(f"{before}{now[0]}{gap}{now[1]}{after}")
        text = ",".join(parts)
        if not has_floor:
            lead = text[: len(text) - len(text.lstrip())]
            comma = ", " if ", " in self.text else ","
            text = f"{lead}>={to}{comma}{text.lstrip()}" if parts else f">={to}"
        return text

    @property
    def _plain(self) -> str | None:
        """The specifier of PEP 440 that means the same; None when there is none."""
        text = self.text.strip()
        if not self.poetry:
            return text
        if text in {"", "*"}:
            return ""
        if "|" in text:
            return None
        if found := _CARET.fullmatch(text):
            return _caret(found[1], found[3])
        if _PLAIN.fullmatch(text) or (text.endswith(".*") and _PLAIN.fullmatch(text[:-2])):
            return f"=={text}"
        return text


def raised_npm(text: str, to: str) -> str | None:
    """The range of npm's that allows `to` and nothing below it, in the manner of `text`; None when `text` is of a kind
    that is better changed by a person: alternatives, hyphens, tags, addresses.
    """
    stripped = text.strip()
    if stripped in {"", "*", "x", "X"}:
        return f">={to}"
    if found := _CARET.fullmatch(stripped):
        return f"{found[1]}{found[2]}{to}"
    if re.fullmatch(r"=?\s*v?[0-9]+\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.+-]+)?", stripped):
        return to
    if found := re.fullmatch(r">=(\s*)[0-9][0-9A-Za-z.+-]*", stripped):
        return f">={found[1]}{to}"
    if _PARTIAL.fullmatch(stripped):
        return f"^{to}"
    return None


def next_generation(version: Version) -> str:
    """The first version of the next generation: `3` after 2.7.1, `0.5` after 0.4.9."""
    epoch = f"{version.epoch}!" if version.epoch else ""
    return f"{epoch}{version.major + 1}" if version.major else f"{epoch}0.{version.minor + 1}"


def _bound(operator: str, version: str, wanted: Version, to: str) -> tuple[str, str] | None:
    """What becomes of one clause; None when it goes."""
    allowed = SpecifierSet(f"{operator}{version}").contains(wanted, prereleases=True)
    if operator in {">=", ">"}:
        return ">=", to
    if operator == "!=":
        return (operator, version) if allowed else None
    if allowed:
        return operator, version
    if operator in {"<", "<="}:
        return "<", next_generation(wanted)
    length = max(version.removesuffix(".*").count(".") + 1, 1)
    kept = ".".join(map(str, [*wanted.release, 0, 0, 0, 0][:length]))
    epoch = f"{wanted.epoch}!" if wanted.epoch else ""
    return operator, f"{epoch}{kept}.*" if operator == "==" else f"{epoch}{kept}"


def _caret(operator: str, version: str) -> str | None:
    """Poetry's caret and tilde, as its manual defines them."""
    try:
        parsed = Version(version)
    except InvalidVersion:
        return None
    numbers = list(parsed.release)
    if operator == "~":
        place = min(1, len(numbers) - 1)
    else:
        place = next((index for index, number in enumerate(numbers) if number), len(numbers) - 1)
    upper = [*numbers[:place], numbers[place] + 1]
    return f">={version},<{'.'.join(map(str, upper))}"
