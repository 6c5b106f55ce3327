"""What a model of the catalogue will take on a device, and opening it there."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import psutil

from models.model_host import CatalogueEntry, EngineKind, Footprint, ModelHostSettings, ModelKind, ModelPath
from tasks.model_host.counting import count
from tasks.model_host.engine import Engine
from tasks.model_host.errors import LoadError
from tasks.model_host.prediction import kv_per_token, share_of_card

if TYPE_CHECKING:
    from blocks.gpus import Gpu

_OF_A_GPU = 0.9
_OF_A_CPU = 0.5


@dataclass(frozen=True)
class Machine:
    """Where models run."""

    device: Literal["cpu", "cuda"]
    """With `cuda`, the one GPU that this process sees."""
    threads: int
    """Computing threads on the CPU."""

    def fragmentation(self) -> float:
        """Share of what torch's allocator has taken from the GPU and holds for nobody; 0 on a CPU."""
        torch = sys.modules.get("torch")
        if self.device == "cpu" or torch is None or not torch.cuda.is_initialized():
            return 0.0
        taken = torch.cuda.memory_reserved()
        return (taken - torch.cuda.memory_allocated()) / taken if taken else 0.0

    def held(self) -> int:
        """Bytes of the device that this process holds."""
        torch = sys.modules.get("torch")
        if self.device == "cuda":
            return int(torch.cuda.memory_reserved()) if torch is not None and torch.cuda.is_initialized() else 0
        return int(psutil.Process().memory_info().rss)

    def cap(self, capacity: int, *, beside: int) -> None:
        """Bound the memory of this process, the last line behind the ledger: it dies before its neighbours do.

        Args:
            capacity: bytes that models may use.
            beside: bytes that the process itself may use, on a CPU.
        """
        if self.device == "cuda":
            import torch  # noqa: PLC0415

            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(share_of_card(capacity, total), 0)
        elif sys.platform == "linux":
            import resource  # noqa: PLC0415

            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            wanted = capacity + beside
            if hard == resource.RLIM_INFINITY or wanted < hard:
                with contextlib.suppress(ValueError, OSError):
                    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def memory_of(settings: ModelHostSettings, gpu: Gpu | None) -> int:
    """Bytes that models may use: what the settings say, or 90 % of the GPU, or half of the machine's."""
    if settings.memory_bytes is not None:
        return settings.memory_bytes
    return int(gpu.memory_bytes * _OF_A_GPU) if gpu is not None else int(psutil.virtual_memory().total * _OF_A_CPU)


def predict_entry(entry: CatalogueEntry, machine: Machine) -> Footprint:
    """What a model will take; reads headers only.

    Raises:
        LoadError: its files are not there or damaged, or it cannot be held like that on this device.
        ConfigurationError: its entry cannot be used.
    """
    counted = count(entry)
    if counted.engine is EngineKind.llamacpp:
        return counted.footprint("cpu").model_copy(update={"elsewhere": machine.device != "cpu"})
    from tasks.model_host.loading import packs_nf4, refuse  # noqa: PLC0415 - imports torch

    refuse(counted.architecture, entry.quantisation, machine.device, component=entry.name)
    return counted.footprint(machine.device, packs_nf4=machine.device == "cpu" and packs_nf4())


async def open_engine(entry: CatalogueEntry, machine: Machine) -> Engine:
    """Load a model and start its engine.

    Raises:
        LoadError: it cannot be loaded; no memory is held.
        ConfigurationError: its entry cannot be used.
    """
    counted = await asyncio.to_thread(count, entry)
    files = counted.files
    assert files is not None  # noqa: S101 - as of every entry
    if counted.engine is EngineKind.transformers:
        return await _open_transformers(entry, files, machine, counted.context_window)
    if machine.device != "cpu":
        in_host_memory(counted.footprint("cpu"), int(psutil.virtual_memory().available), entry.name)
    from tasks.model_host.llamacpp_engine import open_llamacpp  # noqa: PLC0415

    assert files.gguf is not None  # noqa: S101 - `engine_of` has seen to it
    return await open_llamacpp(
        files.gguf,
        context_window=counted.context_window,
        concurrency=entry.concurrency,
        threads=machine.threads,
        kv_per_token=kv_per_token(counted.architecture, 2),
        workspace=counted.footprint("cpu").workspace,
        embeds=entry.kind is ModelKind.embed,
    )


def in_host_memory(footprint: Footprint, available: int, component: str) -> None:
    """See that a model that computes on the CPU of a host whose ledger is that of a GPU has room in the machine.

    Raises:
        LoadError: it has none.
    """
    if footprint.total > available:
        raise LoadError(
            f"llama.cpp runs it on the CPU, where it takes {footprint.total:,} bytes; {available:,} are free.",
            component=component,
            remedy='Write engine = "transformers" to have it on the GPU, or unload another GGUF model.',
        )


async def _open_transformers(entry: CatalogueEntry, files: ModelPath, machine: Machine, window: int) -> Engine:
    import torch  # noqa: PLC0415

    from tasks.model_host import loading  # noqa: PLC0415

    torch.set_num_threads(machine.threads)
    loaded = await asyncio.to_thread(
        loading.load, files, entry.quantisation, machine.device, kind=entry.kind, component=entry.name
    )
    if entry.kind is ModelKind.embed:
        from tasks.model_host.embedding import EmbeddingEngine  # noqa: PLC0415

        made = partial(EmbeddingEngine, name=entry.name, folder=files.folder, context_window=window)
        return await asyncio.to_thread(made, loaded.model, loaded.tokenizer)
    from tasks.model_host.transformers_engine import TransformersEngine  # noqa: PLC0415

    return await TransformersEngine.start(loaded.model, loaded.tokenizer, name=entry.name, context_window=window)
