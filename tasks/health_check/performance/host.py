"""Measures this host."""

from __future__ import annotations

import contextlib
import errno
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from tasks.health_check.performance.samples import HostSample, Process, Volume

_INTERVAL_S = 0.5
_WRITES = 5
_TOP = 5
_UNLIMITED = 1 << 60
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


def measure_host(home: Path, places: Mapping[str, Path]) -> HostSample:
    """The host over half a second; `places` are what should fit on its disks, by what to call it.

    Blocks: run it in a thread.
    """
    processes = list(psutil.process_iter())
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.cpu_percent(None)  # the first call only starts its clock
    cpu = psutil.cpu_times_percent(_INTERVAL_S)
    unseen: list[tuple[str, str]] = []
    total, used = _memory()
    swap = psutil.swap_memory()
    latency, unwritable = None, ""
    if home.is_dir():
        try:
            latency = _latency(home)
        except OSError as error:
            if error.errno not in _CANNOT_WRITE:
                raise
            unwritable = os.strerror(error.errno or errno.EIO)
    else:
        unseen.append(("disk_latency", f"{home} does not exist yet; `lama up` creates it."))
    return HostSample(
        cores=os.cpu_count() or 1,
        cpu_ratio=max(0.0, 1 - cpu.idle / 100),
        iowait_ratio=getattr(cpu, "iowait", 0.0) / 100,
        load=psutil.getloadavg()[1],
        memory_total_bytes=total,
        memory_used_ratio=used,
        swap_total_bytes=swap.total,
        swap_used_ratio=swap.percent / 100,
        volumes=_volumes(places, unseen),
        disk_latency_s=latency,
        unwritable=unwritable,
        processes=_top(processes),
        unseen=tuple(unseen),
    )


def _memory() -> tuple[int, float]:
    """Bytes there are and the share in use: the machine's, or the container's where its limit is the tighter one."""
    memory = psutil.virtual_memory()
    machine = (memory.total, 1 - memory.available / memory.total)
    group = Path("/sys/fs/cgroup")
    for limit, usage, facts in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            text = (group / limit).read_text().strip()
            total = _UNLIMITED if text == "max" else int(text)
            if total >= memory.total:
                continue
            pairs = (line.split() for line in (group / facts).read_text().splitlines())
            cached = {name: int(value) for name, value in pairs}
            reclaimable = cached.get("inactive_file", cached.get("total_inactive_file", 0))
            used = max(0, int((group / usage).read_text()) - reclaimable)
        except (OSError, ValueError):  # no such version of cgroups here
            continue
        return total, min(1.0, used / total)
    return machine


def _latency(home: Path) -> float:
    """Seconds that a small write takes to be on the disk; leaves nothing behind."""
    times = []
    descriptor, name = tempfile.mkstemp(dir=home, prefix=".latency-")
    try:
        for _ in range(_WRITES):
            begun = time.perf_counter()
            os.write(descriptor, b"\0" * 4096)
            os.fsync(descriptor)
            times.append(time.perf_counter() - begun)
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)
    return statistics.median(times)


def _volumes(places: Mapping[str, Path], unseen: list[tuple[str, str]]) -> tuple[Volume, ...]:
    holds: dict[Path, list[str]] = {}
    for name, path in places.items():
        if (mount := _mount_of(path)) is not None:
            holds.setdefault(mount, []).append(name)
    found = []
    for mount, names in sorted(holds.items()):
        try:
            facts = os.statvfs(mount)
        except OSError as error:
            unseen.append(("disk", f"{mount} ({', '.join(names)}): {error.strerror}"))
            continue
        usable = facts.f_blocks - facts.f_bfree + facts.f_bavail  # without what is reserved for root
        found.append(
            Volume(
                mount=str(mount),
                holds=tuple(sorted(names)),
                total_bytes=facts.f_blocks * facts.f_frsize,
                free_bytes=facts.f_bavail * facts.f_frsize,
                used_ratio=1 - facts.f_bavail / usable if usable else 0.0,
                inodes_used_ratio=1 - facts.f_favail / facts.f_files if facts.f_files else None,
            )
        )
    return tuple(found)


def _mount_of(path: Path) -> Path | None:
    """Where the file system of `path` is mounted; of what does not exist (yet), that of its nearest folder."""
    path = path.absolute()
    with contextlib.suppress(OSError):
        path = path.resolve()
    for folder in (path, *path.parents):
        if folder.is_mount():
            return folder
    return None


def _top(processes: list[psutil.Process]) -> tuple[Process, ...]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error), process.oneshot():
            name = "".join(character for character in process.name() if character.isprintable())[:64]
            cpu = process.cpu_percent(None) / 100
            found.append(Process(pid=process.pid, name=name, cpu_ratio=cpu, memory_bytes=process.memory_info().rss))
    by_cpu = sorted(found, key=lambda process: -process.cpu_ratio)[:_TOP]
    by_memory = sorted(found, key=lambda process: -process.memory_bytes)[:_TOP]
    return tuple(dict.fromkeys((*by_cpu, *by_memory)))
