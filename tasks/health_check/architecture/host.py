"""What this machine is."""

from __future__ import annotations

import os
import platform

import psutil

_GIB = 1 << 30


def host_facts() -> dict[str, str]:
    """Facts of this machine that change only when somebody changes it."""
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "distribution": _distribution(),
        "architecture": platform.machine(),
        "cores": str(os.cpu_count() or 1),
        "memory_gib": str(round(psutil.virtual_memory().total / _GIB)),
        "python": platform.python_version(),
    }


def _distribution() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:  # macOS, and containers made from nothing
        return platform.mac_ver()[0] or "unknown"
    return release.get("PRETTY_NAME", release.get("NAME", "unknown"))
