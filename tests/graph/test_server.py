"""The embedded graph server: who gets in, what is on the disk, and what a crash leaves."""

from __future__ import annotations

import pytest

from blocks.graph import Graph
from blocks.settings import Settings


def test_it_is_up(graph: Settings) -> None:
    with Graph.of(graph).get_sync_client() as driver, driver.session() as session:
        assert session.run("CREATE (n:A {uid: 1}) RETURN n.uid AS uid").single(strict=True)["uid"] == 1
