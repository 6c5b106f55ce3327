"""Whether what fits models is installed: it is an extra, and a node that trains nothing needs none of it."""

from __future__ import annotations

from importlib.util import find_spec

from blocks.errors import ConfigurationError

_NEEDED = ("lightgbm", "matplotlib", "mlflow", "pandas", "pyarrow", "scipy", "sklearn", "skops")


def check_installed() -> None:
    """Refuse to start without the libraries.

    Raises:
        ConfigurationError: says which one is missing, and what to install.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed.", component="train",
            remedy="Install Lama with its extra `training`: pip install -c constraints.txt -e '.[training]'.",
        )  # fmt: skip
