"""What a model is made of, before any weight is read: its tensors, its attention, its limits.

Weights that torch holds are counted on a model that is built on torch's meta device, which has shapes and no memory, so
that what is counted is what will be made. Keys and values are counted from the projections that make them; a layer that
keeps any other state is refused, never guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.model_host import EngineKind, ModelKind, ModelPath
from tasks.model_host.errors import LoadError
from tasks.model_host.headers import Gguf, Tensor, read_gguf, read_json, read_weights

_MOST = {
    "num_hidden_layers": 512,
    "n_layer": 512,
    "n_embd": 1 << 20,
    "n_positions": 1 << 24,
    "n_ctx": 1 << 24,
    "n_inner": 1 << 22,
    "num_": 4096,
    "n_": 4096,
    "hidden_size": 1 << 20,
    "intermediate_size": 1 << 22,
    "vocab_size": 1 << 24,
}
"""Largest numbers that a configuration may have: beyond, even counting would take for ever."""
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?|blk)\.(\d+)\.(.+)$")
_FUSED = re.compile(r"(?:^|\.)(?:qkv_proj|query_key_value|c_attn|Wqkv|qkv|attn_qkv)\.weight$")
_KEYS = re.compile(r"(?:^|\.)(?:k_proj|attn_k)\.weight$")
_VALUES = re.compile(r"(?:^|\.)(?:v_proj|attn_v)\.weight$")
_OTHER_STATE = re.compile(
    r"(?:^|[._])(?:mamba|ssm|A_log|conv1d|linear_attn|lin_attn|recurrent|rg_lru|time_mix|time_mixing|delta_net|kda"
    r"|cross_attn|crossattention|cross_attention|kv_a_proj_with_mqa|kv_b_proj|attn_kv_a_mqa|attn_kv_b|indexer)(?:[._]|$)"
)
_TORCH_WORDS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Weight:
    """A parameter, as it is in memory."""

    name: str
    shape: tuple[int, ...]
    linear: bool
    """Whether bitsandbytes converts it: the matrix of a linear layer other than the head."""
    fp32: bool = False
    """Whether it stays in 32 bits whatever is asked for."""
    stored: int | None = None
    """Bytes in the file, where the file's own form is kept in memory (GGUF)."""


@dataclass(frozen=True)
class Layer:
    """The numbers that a layer keeps of a token: the widths of its keys and values."""

    keys: int
    values: int
    window: int | None = None
    """Tokens of its sliding window; None: it attends to all."""


@dataclass(frozen=True)
class Architecture:
    """A model without its weights."""

    family: str
    hidden: int
    intermediate: int
    vocab: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    """Most tokens that it was made for."""
    tied: bool
    """Whether the head is the embedding."""
    stored_dtype: str
    """torch's word for how its file holds most weights; for GGUF, what it is unpacked to."""
    layers: tuple[Layer, ...]
    """Empty: it keeps no keys and values."""
    weights: tuple[Weight, ...]
    """Tied ones once."""
    buffers: tuple[int, ...] = ()
    """Bytes of each."""
    buffer_names: tuple[str, ...] = ()
    """Their names, where they are known."""

    @property
    def parameters(self) -> int:
        """How many weights there are."""
        total = 0
        for weight in self.weights:
            count = 1
            for dimension in weight.shape:
                count *= dimension
            total += count
        return total


def architecture_of(files: ModelPath, kind: ModelKind, engine: EngineKind) -> Architecture:
    """The architecture of the model in `files`, from headers.

    Raises:
        LoadError: a file is broken, or the model has something that is not known.
    """
    if engine is EngineKind.llamacpp:
        if files.gguf is None:
            raise LoadError(
                "is no GGUF file, and llama.cpp reads nothing else.",
                component=str(files.folder),
                remedy='Write `engine = "transformers"`.',
            )
        return of_gguf(read_gguf(files.gguf), kind, component=str(files.gguf))
    if files.gguf is not None:
        read_gguf(files.gguf)  # says what is wrong with a broken file before transformers stumbles over it
        return of_config(_config_of_gguf(files.gguf), kind, stored="float32", component=str(files.gguf))
    tensors = read_weights(files.folder)
    config = read_json(files.folder / "config.json")
    return of_config(config, kind, stored=_stored_dtype(tensors, files.folder), component=str(files.folder))


def of_config(
    config: Mapping[str, Any], kind: ModelKind, *, stored: str | None = None, component: str = ""
) -> Architecture:
    """The architecture that a `config.json` of Hugging Face describes. No weights are needed.

    Args:
        config: its content.
        kind: whether it generates or embeds.
        stored: torch's word for how the weights are stored; by default what the configuration says.
        component: what messages call it.

    Raises:
        LoadError: it is no configuration of a model that is known, or its attention is of an unknown kind.
    """
    given = _checked(config, component)
    import torch  # noqa: PLC0415 - seconds of imports, for those who count
    from transformers import CONFIG_MAPPING, AutoModel, AutoModelForCausalLM  # noqa: PLC0415

    family = str(given["model_type"])
    if family not in CONFIG_MAPPING:
        raise LoadError(
            f"is a {family[:50]!r}, which transformers has no code for; code that comes with weights is not run.",
            component=component,
        )
    try:
        made = CONFIG_MAPPING[family].from_dict(given)
        auto: Any = AutoModel if kind is ModelKind.embed else AutoModelForCausalLM
        with torch.device("meta"):
            model = auto.from_config(made)
    except Exception as error:  # noqa: BLE001 - a stranger's numbers meet the code of hundreds of architectures
        raise LoadError(f"describes no model that can be made: {str(error)[:300]}", component=component) from None
    weights = _weights_of(model)
    heads = _number(made, "num_attention_heads", 1)
    hidden = _number(made, "hidden_size", 0)
    head_dim = getattr(made, "head_dim", None) or (hidden // max(heads, 1))
    kv_heads = getattr(made, "num_key_value_heads", None) or heads
    layers: tuple[Layer, ...] = ()
    if kind is ModelKind.generate:
        layers = _layers(
            {weight.name: weight.shape for weight in weights},
            windows=_windows(made, component),
            widths=(heads * head_dim, kv_heads * head_dim),
            component=component,
        )
    return Architecture(
        family=family,
        hidden=hidden,
        intermediate=_number(made, "intermediate_size", 4 * hidden),
        vocab=_number(made, "vocab_size", 0),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        context=_number(made, "max_position_embeddings", 0) or _number(made, "n_positions", 2048),
        tied=len({id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False)})
        < sum(1 for _ in model.named_parameters(remove_duplicate=False)),
        stored_dtype=stored or str(given.get("dtype") or given.get("torch_dtype") or "float32").removeprefix("torch."),
        layers=layers,
        weights=weights,
        buffers=tuple(buffer.numel() * buffer.element_size() for buffer in model.buffers()),
        buffer_names=tuple(name for name, _ in model.named_buffers()),
    )


def layer_of(tensor: str) -> tuple[str, int] | None:
    """The module that is the layer which has `tensor`, and its number; None: it is in no layer."""
    place = _LAYER.search(tensor)
    return (tensor[: place.end(1)], int(place[1])) if place else None


def of_gguf(header: Gguf, kind: ModelKind, *, component: str = "") -> Architecture:
    """The architecture of a GGUF file as llama.cpp runs it: weights stay as the file has them.

    A sliding window is not counted: llama.cpp knows by itself which layers have one, the file does not say.

    Raises:
        LoadError: it keeps another state than keys and values, or says too little.
    """
    family = header.fields.get("general.architecture")
    if not isinstance(family, str) or not family:
        raise LoadError("does not say its architecture.", component=component)

    def number(key: str, default: int = 0) -> int:
        value = header.fields.get(f"{family}.{key}", default)
        if isinstance(value, tuple):
            value = max(value, default=default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise LoadError(f"has no proper {family}.{key}.", component=component)
        return value

    heads, hidden = number("attention.head_count", 1), number("embedding_length")
    kv_heads = number("attention.head_count_kv", heads)
    head_dim = number("attention.key_length", hidden // max(heads, 1))
    context = number("context_length")
    per_layer = isinstance(header.fields.get(f"{family}.attention.head_count_kv"), tuple)
    if not (heads and hidden and context):
        raise LoadError("does not say how large it is.", component=component)
    layers: tuple[Layer, ...] = ()
    if kind is ModelKind.generate or header.fields.get(
        f"{family}.attention.causal", True
    ):  # it keeps them all the same
        layers = _layers(
            {name: tensor.shape for name, tensor in header.tensors.items()},
            windows=(None,) * number("block_count"),
            widths=None if per_layer else (heads * head_dim, kv_heads * head_dim),
            component=component,
        )
    vocab = header.tensors.get("token_embd.weight")
    return Architecture(
        family=family,
        hidden=hidden,
        intermediate=number("feed_forward_length", 4 * hidden),
        vocab=vocab.shape[0] if vocab and vocab.shape else number("vocab_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        context=context,
        tied="output.weight" not in header.tensors,
        stored_dtype="float32",
        layers=layers,
        weights=tuple(
            Weight(name, tensor.shape, linear=False, stored=tensor.bytes) for name, tensor in header.tensors.items()
        ),
    )


def _checked(config: Mapping[str, Any], component: str) -> dict[str, Any]:
    """The configuration, without what only concerns its file."""
    given = dict(config)
    if not isinstance(given.get("model_type"), str):
        raise LoadError("is no configuration of a model: it has no model_type.", component=component)
    for key, value in given.items():
        most = next((most for start, most in _MOST.items() if key.startswith(start)), None)
        if most is not None and isinstance(value, int | float) and not 0 <= value <= most:
            raise LoadError(f"has {key} = {value!r:.30}; at most {most:,} is believed.", component=component)
    quantised = given.pop("quantization_config", None)
    if isinstance(quantised, dict) and quantised.get("quant_method") != "gguf":
        raise LoadError(
            f"was quantised before, by {str(quantised.get('quant_method'))[:30]!r}.",
            component=component,
            remedy="Use the model that it was made from, or a GGUF file of it.",
        )
    if strange := [part for part in ("vision_config", "audio_config", "text_config") if given.get(part)]:
        raise LoadError(f"reads more than text ({strange[0]}); such models are not counted yet.", component=component)
    for key, what in (
        ("is_encoder_decoder", "attends across from a decoder to an encoder"),
        ("add_cross_attention", "has cross attention"),
        ("kv_lora_rank", "keeps latent vectors (MLA) instead of keys and values"),
        ("num_kv_shared_layers", "shares keys and values between layers"),
        ("attention_k_eq_v", "keeps keys that are its values, too"),
    ):
        if given.get(key):
            raise LoadError(f"{what} ({key}); what that takes is not known here.", component=component)
    return given


def _weights_of(model: Any) -> tuple[Weight, ...]:
    """Parameters of a model of transformers, tied ones once, with what bitsandbytes will make of each."""
    import torch  # noqa: PLC0415
    from transformers.pytorch_utils import Conv1D  # noqa: PLC0415
    from transformers.quantizers.base import HfQuantizer  # noqa: PLC0415
    from transformers.quantizers.quantizers_utils import should_convert_module  # noqa: PLC0415

    kept = HfQuantizer.get_modules_to_not_convert(model, None, model._keep_in_fp32_modules)  # noqa: SLF001 - as its quantizers do
    linear = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if (type(module) is torch.nn.Linear or isinstance(module, Conv1D)) and should_convert_module(name, kept)
    }
    pinned = tuple(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    return tuple(
        Weight(name, tuple(parameter.shape), name in linear, fp32=any(part in name.split(".") for part in pinned))
        for name, parameter in model.named_parameters()
    )


def _windows(made: Any, component: str) -> tuple[int | None, ...]:
    """The sliding window of each layer."""
    from transformers.cache_utils import get_layer_types_and_kwargs  # noqa: PLC0415

    try:
        types, details = get_layer_types_and_kwargs(made.get_text_config(decoder=True))
    except (AttributeError, TypeError, ValueError) as error:
        raise LoadError(f"has layers that contradict it: {str(error)[:200]}", component=component) from None
    for kind in types:
        if kind not in {"full_attention", "sliding_attention"}:
            raise LoadError(f"has layers of {kind!r}; what those keep is not known here.", component=component)
    windows = tuple(detail.get("sliding_window") for detail in details)
    for window in windows:
        if window is not None and (not isinstance(window, int) or window < 1):
            raise LoadError(f"has a sliding window of {window!r:.20} tokens.", component=component)
    return windows


def _layers(
    shapes: Mapping[str, tuple[int, ...]],
    *,
    windows: tuple[int | None, ...],
    widths: tuple[int, int] | None,
    component: str,
) -> tuple[Layer, ...]:
    """What each layer keeps, from its projections.

    Where known, the `widths` of queries and keys are what these have to agree with.
    """
    found: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if _OTHER_STATE.search(name):
            raise LoadError(
                f"keeps another state than keys and values ({name[:100]}); what that takes is not known here.",
                component=component,
            )
        if place := _LAYER.search(name):
            found.setdefault(int(place[1]), {})[place[2]] = shape
    if len(found) != len(windows) or not windows:
        raise LoadError(f"has {len(found)} layers where {len(windows)} are told of.", component=component)
    layers = []
    for number, window in zip(sorted(found), windows, strict=True):
        keys, values = _kept_of(found[number], widths)
        if not (keys and values) or (widths and keys != widths[1]):
            raise LoadError(
                f"has attention in layer {number} that is not known here; what it keeps cannot be counted.",
                component=component,
            )
        layers.append(Layer(keys, values, window))
    return tuple(layers)


def _kept_of(layer: Mapping[str, tuple[int, ...]], widths: tuple[int, int] | None) -> tuple[int, int]:
    """Widths of the keys and values that `layer` makes; (0, 0): not known."""

    def width(pattern: re.Pattern[str]) -> int:
        shapes = [shape for name, shape in layer.items() if pattern.search(name)]
        return shapes[0][0] if len(shapes) == 1 and len(shapes[0]) == 2 else 0

    if keys := width(_KEYS):
        return keys, width(_VALUES)
    fused = [shape for name, shape in layer.items() if _FUSED.search(name)]
    if widths is not None and len(fused) == 1 and sum((widths[0], *(widths[1],) * 2)) in fused[0]:
        return widths[1], widths[1]
    return 0, 0


def _stored_dtype(tensors: Mapping[str, Tensor], folder: Path) -> str:
    """The type that most bytes are of, in torch's word."""
    counted: Counter[str] = Counter()
    for tensor in tensors.values():
        counted[tensor.dtype] += tensor.bytes
    word = counted.most_common(1)[0][0] if counted else ""
    if word not in _TORCH_WORDS:
        raise LoadError(
            f"has weights of the type {word or 'nothing'}, which was quantised by something else.",
            component=str(folder),
            remedy="Use the model that it was made from, or a GGUF file of it.",
        )
    return _TORCH_WORDS[word]


def _config_of_gguf(path: Path) -> dict[str, Any]:
    """The configuration that transformers makes of a GGUF file."""
    from transformers import modeling_gguf_pytorch_utils  # noqa: PLC0415

    read: Any = modeling_gguf_pytorch_utils.load_gguf_checkpoint
    try:
        found: dict[str, Any] = read(str(path), return_tensors=False)["config"]
    except Exception as error:  # noqa: BLE001 - it says what it cannot do in several kinds of error
        raise LoadError(f"cannot be used by transformers: {str(error)[:300]}", component=str(path)) from None
    return found


def _number(made: Any, name: str, default: int) -> int:
    value = getattr(made, name, default)
    return value if isinstance(value, int) and not isinstance(value, bool) else default
