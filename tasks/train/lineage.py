"""What a model was made with: enough to make it again."""

from __future__ import annotations

import platform
from importlib import metadata

from blocks.settings import CHECKOUT
from models.health_check import Checkout
from tasks.commits import CHANGED, commits_of

_LIBRARIES = ("lightgbm", "numpy", "pandas", "scikit-learn", "scipy", "skops")


def environment() -> dict[str, str]:
    """Versions of Python and of the libraries that fit models."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


async def code_version() -> str:
    """The commit of the checkout, with `+` behind it where files differ from it; without one, Lama's version."""
    found = await commits_of([Checkout(name="lama", path=CHECKOUT)])
    if "lama" in found:
        commit = found["lama"]
        return f"{commit.removesuffix(CHANGED)[:12]}{'+' if commit.endswith(CHANGED) else ''}"
    return metadata.version("lama")
