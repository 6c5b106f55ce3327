"""Where the site of a checkout is, and what is kept of it from build to build."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from hashlib import blake2b
from pathlib import Path

from blocks.errors import ConfigurationError
from blocks.home import Home
from models.docs import DocsSettings
from models.health_check import Checkout


def output_of(home: Home, chosen: DocsSettings, checkout: Checkout, configured: Collection[Checkout]) -> Path:
    """The folder of the checkout's site, unless somebody names one.

    Those that `lama.toml` does not have are told apart by their paths: any number of folders may have one name.
    """
    name = folder_name(checkout.name)
    if checkout.name not in {one.name for one in configured if one.path.resolve() == checkout.path.resolve()}:
        name = f"{name}-{_mark(checkout)}"
    return (chosen.output or home.path / "docs") / name


def cache_of(home: Home, checkout: Checkout) -> Path:
    """The file that remembers what was read of the checkout."""
    return home.cache / "docs" / f"{folder_name(checkout.name)}-{_mark(checkout)}.sqlite"


def _mark(checkout: Checkout) -> str:
    return blake2b(os.fsencode(checkout.path.resolve()), digest_size=6).hexdigest()


def folder_name(name: str) -> str:
    """`name` as the name of one folder: letters, digits and `._-` stay, and it is none that leads elsewhere."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")
    if plain == name:
        return plain
    return f"{plain[:60]}-{blake2b(name.encode(), digest_size=4).hexdigest()}".lstrip("-")


def chosen_checkout(text: str | None, configured: tuple[Checkout, ...]) -> Checkout:
    """The checkout that `text` names: of `lama.toml`, or a folder; without one, the folder that one stands in.

    Raises:
        ConfigurationError: it is neither, or cannot be read.
    """
    if text == "":
        raise ConfigurationError("the path is empty.", component="docs", remedy="Leave it out for this folder.")
    for checkout in configured:
        if checkout.name == text:
            return _readable(checkout)
    folder = Path(text or ".").expanduser().absolute().resolve()
    for checkout in configured:
        if checkout.path.resolve() == folder:
            return _readable(checkout)
    if not folder.is_dir():
        known = ", ".join(checkout.name for checkout in configured)
        raise ConfigurationError(
            f"{text!r} is no folder, and no checkout of lama.toml{f': there are {known}' if known else ''}.",
            component="docs",
        )
    return _readable(Checkout(name=folder.name or "root", path=folder))


def _readable(checkout: Checkout) -> Checkout:
    try:
        with os.scandir(checkout.path):
            return checkout
    except OSError as error:
        raise ConfigurationError(
            f"{checkout.path} cannot be read: {error.strerror or error}.", component=checkout.name
        ) from error
