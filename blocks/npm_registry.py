"""A registry of npm packages as a block: where their versions are looked up."""

from __future__ import annotations

from typing import Any, ClassVar

from prefect.blocks.core import Block

from blocks.registry_address import ABBREVIATED, NpmAddress

__all__ = ["ABBREVIATED", "NpmRegistry"]


class NpmRegistry(Block, NpmAddress):
    """A registry that speaks npm's API."""

    _block_type_name: ClassVar[str] = "Lama npm registry"
    _block_type_slug: ClassVar[str] = "lama-npm-registry"
    _documentation_url: ClassVar[Any] = "https://github.com/npm/registry/blob/main/docs/responses/package-metadata.md"
