"""A package index as a block: where newer versions of packages are looked up."""

from __future__ import annotations

from typing import Any, ClassVar

from prefect.blocks.core import Block

from blocks.registry_address import JSON, IndexAddress

__all__ = ["JSON", "PackageIndex"]


class PackageIndex(Block, IndexAddress):
    """An index that speaks the simple API, in JSON (PEP 691) or HTML (PEP 503)."""

    _block_type_name: ClassVar[str] = "Lama package index"
    _block_type_slug: ClassVar[str] = "lama-package-index"
    _documentation_url: ClassVar[Any] = "https://packaging.python.org/en/latest/specifications/simple-repository-api/"
