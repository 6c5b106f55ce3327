"""Which addresses are ours. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def accepted(address: str, recipients: Iterable[str]) -> bool:
    """Whether mail to `address` is taken by one that takes it for `recipients`.

    Case does not matter. `name+tag@domain` is `name@domain`; `*@domain` is everybody of the domain, not of those below.
    """
    local, at, domain = address.strip().strip("<>").rpartition("@")
    if not at or not local or not domain:
        return False
    name, domain = local.partition("+")[0].lower(), domain.lower()
    if not name:
        return False
    return any(one in {f"{name}@{domain}", f"*@{domain}"} for one in (known.lower() for known in recipients))
