"""The words of a pull request that upgrades dependencies."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.audit.patch import Patch
from tasks.audit.remedies import Upgrade
from tasks.proposals.pull_request import in_code

PREFIX = "lama/audit-"
"""What the names of its branches begin with."""


def describe(upgrades: Sequence[Upgrade], patch: Patch) -> tuple[str, str]:
    """Title and Markdown body of a pull request. Names go into code: an `@` in one calls nobody."""
    made = [one for one in upgrades if one.to is not None]
    first = f"{made[0].package.name} to {made[0].to}" if made else "dependencies"
    title = f"Upgrade {first}" + (f" and {len(made) - 1} more" if len(made) > 1 else "")
    lines = ["What changes, and the known vulnerabilities that go with it:", ""]
    for one in made:
        ids = ", ".join(map(in_code, one.clears)) or "none"
        lines.append(f"- {in_code(one.package.name)} to {in_code(str(one.to))}: {ids}")
        lines += [f"  - {in_code(other.by)} asks for {in_code(other.requirement)}" for other in one.blocked_by]
    if patch.untouched:
        lines += ["", "Not changed, and left to you:", ""]
        lines += [f"- {in_code(one.package.name)} in {in_code(one.file)}: {one.reason}" for one in patch.untouched]
    if patch.commands:
        lines += ["", "Then refresh what is made from these files:", "", "```sh"]
        lines += [command.replace("```", "") for command in patch.commands] + ["```"]
    return " ".join(title.split())[:200], "\n".join(lines) + "\n"
