"""The NVIDIA GPUs of this machine, by NVML; none where there is no driver."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from blocks.errors import ConfigurationError


@dataclass(frozen=True)
class Gpu:
    """One GPU."""

    index: int
    """As NVML counts them; it may change with a restart."""
    uuid: str
    """`GPU-...`: stays, and is what `CUDA_VISIBLE_DEVICES` takes."""
    name: str
    memory_bytes: int


def gpus() -> tuple[Gpu, ...]:
    """Every GPU that NVML shows us. Reads the driver; takes no memory of a GPU."""
    with _nvml() as nvml:
        if nvml is None:
            return ()
        found = []
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            found.append(
                Gpu(
                    index=index,
                    uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
                    name=_text(nvml.nvmlDeviceGetName(handle)),
                    memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
                )
            )
        return tuple(found)


def chosen_gpus(device: str) -> tuple[Gpu, ...]:
    """The GPUs that `device` of `[model_host]` means; empty: the CPU.

    Args:
        device: `auto`, `cpu`, `cuda`, the UUID of a GPU, or UUIDs or numbers of several, divided by commas.

    Raises:
        ConfigurationError: it names a GPU that is not here.
    """
    if device == "cpu":
        return ()
    found = gpus()
    if "," in device:
        return _members(device.split(","), found)
    if device in {"auto", "cuda"}:
        if device == "cuda" and not found:
            raise ConfigurationError(
                "no GPU can be seen.", component="model_host.device", remedy="Install NVIDIA's driver, or say `cpu`."
            )
        return found
    chosen = tuple(gpu for gpu in found if gpu.uuid == device)
    if not chosen:
        there = ", ".join(f"{gpu.uuid} ({gpu.name})" for gpu in found) or "none"
        raise ConfigurationError(f"{device} is not here; there is {there}.", component="model_host.device")
    return chosen


def grouped_gpus(device: str, groups: Sequence[Sequence[int | str]]) -> tuple[tuple[Gpu, ...], ...]:
    """The GPUs that `device` means, as the hosts have them: each group together, every other GPU by itself.

    Raises:
        ConfigurationError: a GPU of a group is not here, or in two groups.
    """
    found = chosen_gpus(device)
    together = [_members([str(member) for member in group], found) for group in groups]
    uuids = [gpu.uuid for group in together for gpu in group]
    if len(set(uuids)) < len(uuids):
        raise ConfigurationError(
            "a GPU is named twice, by its number and by its UUID.",
            component="model_host.groups",
            remedy="Name it once.",
        )
    alone = [(gpu,) for gpu in found if gpu.uuid not in uuids]
    return tuple(sorted([*together, *alone], key=lambda group: min(gpu.index for gpu in group)))


def _members(names: Sequence[str], found: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """The GPUs of a group by numbers or UUIDs."""
    known = {gpu.uuid: gpu for gpu in found} | {str(gpu.index): gpu for gpu in found}
    if missing := [name for name in names if name not in known]:
        there = ", ".join(f"{gpu.index}: {gpu.uuid} ({gpu.name})" for gpu in found) or "none"
        raise ConfigurationError(
            f"GPU {missing[0]} of a group is not here; there is {there}.", component="model_host.groups"
        )
    return tuple(known[name] for name in names)


@contextlib.contextmanager
def _nvml() -> Iterator[Any]:
    try:
        import pynvml  # noqa: PLC0415 - of the extra `models`
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, or one that we may not talk to
        yield None
        return
    try:
        yield pynvml
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
