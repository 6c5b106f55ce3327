"""Two devices that share a vault, and a third that may come."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sync.devices import Node


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def mac(tmp_path: Path, store: Path) -> Node:
    node = Node(tmp_path, store, "mac")
    node.vault.create()
    return node


@pytest.fixture
def pc(tmp_path: Path, store: Path, mac: Node) -> Node:
    node = Node(tmp_path, store, "pc")
    node.vault.join()
    mac.vault.approve(node.id)
    return node


@pytest.fixture
def pi(tmp_path: Path, store: Path, mac: Node) -> Node:
    """It has asked to be let in."""
    node = Node(tmp_path, store, "pi")
    node.vault.join()
    return node
