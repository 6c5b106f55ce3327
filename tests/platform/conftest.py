"""One platform for all tests of the platform: starting it is what costs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.platform.node import Node, temporary_node


@pytest.fixture(scope="package")
def node() -> Iterator[Node]:
    """A node whose platform is up. Tests that break it leave it up again."""
    with temporary_node() as fresh:
        fresh.start()
        yield fresh
