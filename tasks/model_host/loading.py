"""Weights into memory, for the `transformers` engine, and what they take there.

Only safetensors and GGUF are read: a pickle can run code, and so can a repository's own modules; neither is ever run.
Everything that can be refused is refused before any memory is taken, and a load that fails gives back all it took.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from models.model_host import EngineKind, ModelKind, ModelPath, Quantisation
from tasks.model_host.errors import LoadError
from tasks.model_host.measuring import ranges_of
from tasks.model_host.prediction import Storage
from tasks.model_host.shapes import Architecture, architecture_of

if TYPE_CHECKING:
    import torch

    from tasks.model_host.division import Division

BITSANDBYTES = frozenset({Quantisation.int8, Quantisation.nf4, Quantisation.nf4_dq})
_LEAST_CAPABILITY = {Quantisation.int8: (7, 5), Quantisation.nf4: (6, 0), Quantisation.nf4_dq: (6, 0)}
"""Compute capability of CUDA that bitsandbytes needs."""
_NAMES = {Quantisation.int8: "int8", Quantisation.nf4: "NF4", Quantisation.nf4_dq: "NF4"}


@dataclass(frozen=True)
class Loaded:
    """Weights in memory, and what turns text into their numbers."""

    model: Any = field(repr=False)
    """The torch module, in evaluation."""
    tokenizer: Any = field(repr=False)
    architecture: Architecture = field(repr=False)
    bytes: int
    """What its tensors take, counted one by one."""
    taken: int
    """By how much the memory of the device (CUDA's allocator), or of this process (CPU), has grown."""


def load(
    files: ModelPath,
    quantisation: Quantisation,
    device: str,
    *,
    kind: ModelKind = ModelKind.generate,
    attention: str | None = None,
    component: str = "",
    division: Division | None = None,
) -> Loaded:
    """Load a model. Blocks for as long as it takes: call it in a thread.

    Args:
        files: where it is (see `sources.locate`).
        quantisation: how its weights are held.
        device: `cpu`, `cuda`, `cuda:N`, or `auto`: spread over all GPUs.
        kind: whether it generates or embeds.
        attention: transformers' word for the implementation of attention; by default its own choice.
        component: what messages call the model.
        division: with `cuda`, whose parts go to the visible GPUs in their order; by default one GPU has all.

    Raises:
        LoadError: it cannot be loaded; no memory is held then.
    """
    architecture = architecture_of(files, kind, EngineKind.transformers)
    refuse(architecture, quantisation, device, component=component, cards=len(division.parts) if division else 1)
    before = _in_use(device)
    with _quiet():
        try:
            model = _model(files, architecture, quantisation, division or device, kind, attention)
            tokenizer = _tokenizer(files)
            _complete(model, device, component)
            if division is not None:
                _as_divided(model, division, component)
            return Loaded(model, tokenizer, architecture, measured(model), max(0, _in_use(device) - before))
        except LoadError as error:
            told, remedy = error.what, error.remedy
            traceback.clear_frames(error.__traceback__)  # which hold the weights
        except Exception as error:  # noqa: BLE001 - torch, transformers and the disk each fail in their own ways
            told, remedy = f"could not be loaded: {type(error).__name__}: {str(error)[:500]}", ""
            traceback.clear_frames(error.__traceback__)
    model = tokenizer = None
    _give_back()
    raise LoadError(told, component=component or str(files.gguf or files.folder), remedy=remedy)


def refuse(
    architecture: Architecture, quantisation: Quantisation, device: str, *, component: str = "", cards: int = 1
) -> None:
    """Say what the device, or one of `cards` GPUs, cannot do, before any memory is taken.

    Raises:
        LoadError: it cannot hold or compute with such weights.
    """
    import torch  # noqa: PLC0415 - seconds of imports, for those who load

    if device != "cpu" and not torch.cuda.is_available():
        raise LoadError(f"there is no GPU for the device {device!r}.", component=component, remedy="Use `cpu`.")
    if cards > 1 and (there := torch.cuda.device_count() if device != "cpu" else 0) < cards:
        raise LoadError(
            f"is to be divided over {cards} GPUs; this process sees {there}.",
            component=component,
            remedy="Correct `groups` or `devices` in lama.toml, or see to the GPU that is missing.",
        )
    if quantisation not in BITSANDBYTES:
        return
    name = _NAMES[quantisation]
    linear = [weight for weight in architecture.weights if weight.linear]
    if not linear:
        raise LoadError(f"has nothing that {name} would apply to.", component=component, remedy="Use bf16.")
    _bitsandbytes(component)
    if device == "cpu":
        if packs_nf4() and quantisation is not Quantisation.int8:
            odd = [weight for weight in linear if weight.shape[0] % 32 or weight.shape[-1] % 64]
            if odd:  # bitsandbytes' kernel for such CPUs asserts this at the first use
                raise LoadError(
                    f"{odd[0].name} is {'x'.join(map(str, odd[0].shape))}; {name} on this CPU takes multiples of "
                    "32 rows and 64 columns only.",
                    component=component,
                    remedy="Use int8 or bf16.",
                )
        return
    least = _LEAST_CAPABILITY[quantisation]
    numbers = range(torch.cuda.device_count()) if device == "auto" else [_number(device)]
    for number in numbers if cards == 1 else range(cards):
        if torch.cuda.get_device_capability(number) < least:
            raise LoadError(
                f"{name} needs compute capability {least[0]}.{least[1]}, which GPU {number} does not have.",
                component=component,
                remedy="Use bf16.",
            )


def packs_nf4() -> bool:
    """Whether bitsandbytes packs NF4 anew on this CPU at the first use (`prediction.Storage`)."""
    try:
        _bitsandbytes("")
    except LoadError:
        return False
    from bitsandbytes import functional  # noqa: PLC0415

    asked: Any = functional.has_avx512bf16
    return bool(asked())


def measured(model: torch.nn.Module) -> int:
    """Bytes that the tensors of `model` take: parameters, buffers and quantisation state, each storage once."""
    return sum(one.bytes for one in ranges_of(model))


def _model(
    files: ModelPath,
    architecture: Architecture,
    quantisation: Quantisation,
    device: str | Division,
    kind: ModelKind,
    attention: str | None,
) -> Any:
    import torch  # noqa: PLC0415
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM  # noqa: PLC0415

    auto: Any = AutoModel if kind is ModelKind.embed else AutoModelForCausalLM
    dtype = getattr(torch, Storage.of(architecture, quantisation).dtype)
    placed: dict[str, Any] = {"dtype": dtype, "output_loading_info": True}
    if isinstance(device, str):
        placed["device_map"] = _device_map(device)
    if attention is not None:
        placed["attn_implementation"] = attention
    if quantisation in BITSANDBYTES:
        placed["quantization_config"] = _bitsandbytes_config(quantisation, dtype)
    if files.gguf is not None:
        unpacked = _unpacked(auto, files, dtype)
        config, weights = unpacked.config, unpacked.state_dict()
        made: Any = type(unpacked)
        del unpacked
        if not isinstance(device, str):
            with torch.device("meta"):
                placed["device_map"] = device_map(made(config), device)
        model, told = made.from_pretrained(None, config=config, state_dict=weights, **placed)
    else:
        if not isinstance(device, str):
            config = AutoConfig.from_pretrained(str(files.folder), trust_remote_code=False, local_files_only=True)
            with torch.device("meta"):
                placed["device_map"] = device_map(auto.from_config(config), device)
        model, told = auto.from_pretrained(
            str(files.folder), use_safetensors=True, trust_remote_code=False, local_files_only=True, **placed
        )
    if missing := sorted(name for name in told["missing_keys"] if not name.startswith("pooler.")):
        raise LoadError(f"lacks the weights {', '.join(missing[:3])}; transformers would make them up.")
    if told["mismatched_keys"]:
        raise LoadError(f"has weights of another shape than its configuration says: {told['mismatched_keys']!s:.200}.")
    return model.eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature


def _unpacked(auto: Any, files: ModelPath, dtype: torch.dtype) -> Any:
    """The model of a GGUF file on the CPU, unpacked, and free of where it came from, which forbids quantising it."""
    from transformers import GgufConfig, modeling_gguf_pytorch_utils  # noqa: PLC0415

    # its bar does not ask transformers' own switch (5.23: `from tqdm.auto import tqdm`)
    vars(modeling_gguf_pytorch_utils)["tqdm"] = _without_bar
    assert files.gguf is not None  # noqa: S101 - the caller has looked
    model = auto.from_pretrained(
        str(files.folder),
        gguf_file=files.gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=dtype,
        trust_remote_code=False,
        local_files_only=True,
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model


def _without_bar(steps: Iterable[Any], **_: object) -> Iterable[Any]:
    return steps


def _bitsandbytes_config(quantisation: Quantisation, dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig  # noqa: PLC0415

    config: Any = BitsAndBytesConfig
    if quantisation is Quantisation.int8:
        return config(load_in_8bit=True)
    return config(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=quantisation is Quantisation.nf4_dq,
        bnb_4bit_compute_dtype=dtype,
    )


def _tokenizer(files: ModelPath) -> Any:
    from transformers import AutoTokenizer  # noqa: PLC0415

    place = {"gguf_file": files.gguf.name} if files.gguf is not None else {}
    return AutoTokenizer.from_pretrained(str(files.folder), trust_remote_code=False, local_files_only=True, **place)


def _complete(model: Any, device: str, component: str) -> None:
    """See that all of it is where it belongs: accelerate puts what does not fit on GPUs elsewhere."""
    wanted = "cpu" if device == "cpu" else "cuda"
    for name, parameter in model.named_parameters():
        if parameter.device.type != wanted:
            raise LoadError(
                f"does not fit on {device}: {name} would be on {parameter.device.type}.",
                component=component,
                remedy="Use a smaller quantisation, or more GPUs.",
            )


def device_map(model: torch.nn.Module, division: Division) -> dict[str, int]:
    """The card of each module of `model`, as accelerate takes it; a head that is the embedding goes with it.

    Args:
        model: as it will be loaded; shapes are enough.
        division: made from its architecture.

    Raises:
        LoadError: the two are of different models.
    """
    placed = dict(division.device_map)
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    cards = {id(tensor): card for name, tensor in tensors.items() if (card := _card_of(name, placed)) is not None}
    for name, tensor in tensors.items():
        if _card_of(name, placed) is None:
            if id(tensor) not in cards:
                raise LoadError(f"has {name}, which is on no card.")
            placed[name.rpartition(".")[0] or name] = cards[id(tensor)]
    return placed


def _card_of(name: str, placed: Mapping[str, int]) -> int | None:
    """The card of a tensor by the module that it is in; None: by none."""
    while name:
        if name in placed:
            return placed[name]
        name = name.rpartition(".")[0]
    return None


def _as_divided(model: Any, division: Division, component: str) -> None:
    """See that each card has its part, and nothing else."""
    placed = division.device_map
    for name, parameter in model.named_parameters():
        card = _card_of(name, placed)
        if card is not None and parameter.device.index != card:
            raise LoadError(f"{name} is on {parameter.device}, and not on card {card}.", component=component)


def _device_map(device: str) -> Any:
    if device == "auto":
        return "auto"
    return {"": "cpu" if device == "cpu" else _number(device)}


def _number(device: str) -> int:
    """Which of the visible GPUs `cuda` or `cuda:N` is."""
    _, _, number = device.partition(":")
    if not device.startswith("cuda") or not (number or "0").isdecimal():
        raise LoadError(f"{device[:50]!r} is no device.", remedy="Use cpu, cuda, cuda:N or auto.")
    return int(number or 0)


def _bitsandbytes(component: str) -> None:
    # warns at its import of kernels that are optional, and at every step that int8 computes in float16
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        import bitsandbytes  # noqa: F401, PLC0415
    except ImportError:
        raise LoadError(
            "bitsandbytes is not installed.",
            component=component,
            remedy="Install the extra `models` (`pip install 'lama[models]'`).",
        ) from None


def _in_use(device: str) -> int:
    if device == "cpu":
        import psutil  # noqa: PLC0415

        return int(psutil.Process().memory_info().rss)
    import torch  # noqa: PLC0415

    return sum(torch.cuda.memory_allocated(number) for number in range(torch.cuda.device_count()))


def _give_back() -> None:
    import torch  # noqa: PLC0415

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars, and without advice to whoever reads the log of a host."""
    from transformers.utils import logging as transformers_log  # noqa: PLC0415

    told: Any = transformers_log
    told.set_verbosity_error()
    told.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
