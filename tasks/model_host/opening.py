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
from tasks.model_host.counting import Counted, count
from tasks.model_host.division import Division, divide
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
    """With `cuda`, the GPU that this process sees, or the group of GPUs."""
    threads: int
    """Computing threads on the CPU."""
    cards: tuple[Gpu, ...] = ()
    """The GPUs that this process sees, in the order in which torch counts them."""
    room: int = 0
    """Bytes that models may use of each GPU, where there are several."""

    @property
    def numbers(self) -> range:
        """The GPUs as torch counts them."""
        return range(max(1, len(self.cards)))

    def fragmentation(self) -> float:
        """Share of what torch's allocator has taken from the GPU and holds for nobody; 0 on a CPU."""
        torch = sys.modules.get("torch")
        if self.device == "cpu" or torch is None or not torch.cuda.is_initialized():
            return 0.0
        taken = sum(torch.cuda.memory_reserved(card) for card in self.numbers)
        used = sum(torch.cuda.memory_allocated(card) for card in self.numbers)
        return (taken - used) / taken if taken else 0.0

    def held(self) -> int:
        """Bytes of the device that this process holds."""
        torch = sys.modules.get("torch")
        if self.device == "cuda":
            if torch is None or not torch.cuda.is_initialized():
                return 0
            return sum(int(torch.cuda.memory_reserved(card)) for card in self.numbers)
        return int(psutil.Process().memory_info().rss)

    def cap(self, capacity: int, *, beside: int) -> None:
        """Bound the memory of this process, the last line behind the ledger: it dies before its neighbours do.

        Args:
            capacity: bytes that models may use.
            beside: bytes that the process itself may use, on a CPU.
        """
        if self.device == "cuda":
            import torch  # noqa: PLC0415

            for card in self.numbers:
                total = torch.cuda.get_device_properties(card).total_memory
                torch.cuda.set_per_process_memory_fraction(share_of_card(capacity, total), card)
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

    division = division_of(entry, counted, machine)
    cards = len(division.parts) if division else 1
    refuse(counted.architecture, entry.quantisation, machine.device, component=entry.name, cards=cards)
    if division is not None:
        return division.charged
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
        return await _open_transformers(entry, files, machine, counted)
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


def division_of(entry: CatalogueEntry, counted: Counted, machine: Machine) -> Division | None:
    """How a model of the transformers engine is divided over the GPUs of `machine`; None: it lies on the first.

    Raises:
        LoadError: it is to be on GPUs that this host has not got, or it cannot be divided.
    """
    if entry.devices is None:
        if len(machine.cards) < 2 or entry.kind is ModelKind.embed:
            return None
        return divide(counted, [machine.room] * len(machine.cards))
    chosen = _chosen(entry, machine)
    if chosen == {0}:
        return None
    return divide(counted, [machine.room if at in chosen else None for at in range(len(machine.cards))])


def _chosen(entry: CatalogueEntry, machine: Machine) -> set[int]:
    """Which of the GPUs of `machine`, as torch counts them, `devices` of a model means."""
    wanted = entry.devices
    if isinstance(wanted, int):
        if wanted <= max(1, len(machine.cards)):
            return set(range(wanted))
        missing = f"{wanted} GPUs; this host has {len(machine.cards) or 'none that can be told apart'}"
    else:
        places = {gpu.uuid: at for at, gpu in enumerate(machine.cards)}
        places |= {str(gpu.index): at for at, gpu in enumerate(machine.cards)}
        names = [str(name) for name in wanted or ()]
        if all(name in places for name in names):
            return {places[name] for name in names}
        missing = f"the GPUs {', '.join(names)}; this host has {', '.join(gpu.uuid for gpu in machine.cards) or 'none'}"
    raise LoadError(
        f"is to be divided over {missing}.",
        component=entry.name,
        remedy="Give one host these GPUs by `groups` in [model_host], or leave devices out.",
    )


async def _open_transformers(entry: CatalogueEntry, files: ModelPath, machine: Machine, counted: Counted) -> Engine:
    import torch  # noqa: PLC0415

    from tasks.model_host import loading  # noqa: PLC0415

    torch.set_num_threads(machine.threads)
    window, division = counted.context_window, division_of(entry, counted, machine)
    load = partial(loading.load, kind=entry.kind, component=entry.name, division=division)
    loaded = await asyncio.to_thread(load, files, entry.quantisation, machine.device)
    if entry.kind is ModelKind.embed:
        from tasks.model_host.embedding import EmbeddingEngine  # noqa: PLC0415

        made = partial(EmbeddingEngine, name=entry.name, folder=files.folder, context_window=window)
        return await asyncio.to_thread(made, loaded.model, loaded.tokenizer)
    from tasks.model_host.transformers_engine import TransformersEngine  # noqa: PLC0415

    return await TransformersEngine.start(loaded.model, loaded.tokenizer, name=entry.name, context_window=window)
