"""What one run looks at; everything that looks is given the same."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from blocks.settings import Settings
from models.configuration import Configuration
from models.health_check import Checkout
from tasks.checkouts import choose_checkouts, described
from tasks.commits import check_commit


@dataclass(frozen=True)
class Target:
    """The subject of one run."""

    settings: Settings
    """Of this node."""
    configuration: Configuration
    """What `lama.toml` says."""
    checkouts: tuple[Checkout, ...]
    """Those to look at in this run; of the configuration, or named by whoever started it."""
    run_id: str
    """The flow run's id, or one made up outside of Prefect."""
    host: str
    """This node's name, for the component of findings about it."""
    commit: str | None = None
    """The commit that one of the checkouts should be at, such as that of a push."""
    named: bool = False
    """Whether whoever started it named the checkouts; what a run may take for gone, is in these alone then."""

    @property
    def whole(self) -> bool:
        """Whether everything that is configured is looked at."""
        return {checkout.path for checkout in self.configuration.checkouts} <= {c.path for c in self.checkouts}

    @property
    def scope(self) -> str:
        """What is looked at, in words; runs of equal scope are compared with each other."""
        return f"{self.host}; checkouts: {described(self.checkouts, self.configuration)}"


def target_of(
    settings: Settings,
    configuration: Configuration,
    asked: list[str] | None,
    *,
    component: str,
    run_id: str | None = None,
    commit: str | None = None,
) -> Target:
    """The target that `asked` names: names of `lama.toml` or absolute paths; None: everything that is configured.

    Raises:
        ConfigurationError: a name is not known, the list is empty, or `commit` is no id of one; the message names
            `component`.
    """
    return Target(
        settings=settings,
        configuration=configuration,
        checkouts=choose_checkouts(asked, configuration, component=component),
        run_id=run_id or str(uuid4()),
        host=settings.node,
        commit=check_commit(commit, component=component),
        named=asked is not None,
    )
