"""`[model_host]` of `lama.toml`: which models there are, what memory is promised to them, and what the host tells."""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from models.report import Value

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$"
_MOST_CARDS = 64
_CARD = re.compile(r"^GPU-[0-9a-f-]{36}$")
_SOURCE = re.compile(r"^(path|package|hub):(.+)$", re.DOTALL)


def _check_cards(cards: tuple[int | str, ...], *, least: int) -> None:
    """See that `cards` are numbers or UUIDs of GPUs, each once."""
    for card in cards:
        if isinstance(card, str) and not _CARD.match(card):
            raise ValueError(f"{card[:50]!r} is neither the number nor the UUID of a GPU")
        if isinstance(card, int) and not 0 <= card < _MOST_CARDS:
            raise ValueError(f"{card} is no number of a GPU")
    if not least <= len(set(cards)) == len(cards) <= _MOST_CARDS:
        raise ValueError(f"{list(cards)!r:.100} are not {least} or more GPUs, each of them once")


class Priority(IntEnum):
    """Whose memory goes first. A smaller number is served before a larger one."""

    high = 1
    normal = 2
    low = 3


class Quantisation(StrEnum):
    """How weights are held in memory."""

    stored = "stored"
    """As the file has them: also what a GGUF file always is."""
    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"
    """bitsandbytes' LLM.int8()."""
    nf4 = "nf4"
    """bitsandbytes' NF4: 4 bits a weight, one fp32 absmax a block of 64."""
    nf4_dq = "nf4-dq"
    """NF4 whose absmax are quantised, too: 8 bits each, one fp32 a block of 256 of them."""


class EngineKind(StrEnum):
    """What runs a model."""

    transformers = "transformers"
    llamacpp = "llamacpp"


class ModelKind(StrEnum):
    """What a model is for."""

    generate = "generate"
    embed = "embed"


class CatalogueEntry(Value):
    """`[[model_host.models]]`: one name that can be asked for."""

    name: str = Field(pattern=MODEL_NAME, description="What requests call it.")
    source: str = Field(
        description=(
            "`path:FOLDER` (Hugging Face's layout), `path:FILE.gguf`, `package:NAME` or `package:NAME/FILE` of an "
            "installed Python package, or `hub:OWNER/NAME[/[FOLDER/]FILE.gguf][@REVISION]`, which `lama models pull` "
            "fetches."
        )
    )
    kind: ModelKind = Field(default=ModelKind.generate, description="`generate` text, or `embed` it.")
    engine: EngineKind | None = Field(
        default=None, description="`transformers` or `llamacpp`; by default what fits the files."
    )
    quantisation: Quantisation = Field(default=Quantisation.stored, description="How its weights are held in memory.")
    context_window: int | None = Field(
        default=None,
        ge=16,
        description="Most tokens of a prompt and its answer; by default the smaller of the model's and 4,096.",
    )
    concurrency: int = Field(
        default=4, ge=1, le=256, description="Requests at a time that llama.cpp keeps whole context windows for."
    )
    priority: Priority = Field(default=Priority.normal, description="`high`, `normal` or `low`.")
    reserve_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Memory that is kept for it, whether it is loaded or not; by default none.",
    )
    required: bool = Field(
        default=True, description="Whether `/ready` waits until its reserve is made; otherwise it only tells of it."
    )
    sharing: bool = Field(
        default=True, description="Whether others may use what of its reserve it does not use at the moment."
    )
    devices: int | tuple[int | str, ...] | None = Field(
        default=None,
        description=(
            "Over how many GPUs of a group it is divided, or over which (numbers or UUIDs); by default over all of it. "
            "A host that has not got them refuses it."
        ),
    )
    use_cases: tuple[str, ...] = Field(default=(), description="What it is good for, such as `chat` or `real_estate`.")
    quality: float = Field(default=0.5, ge=0, le=1, description="How good its answers are, beside the others.")
    tokens_per_s: float | None = Field(default=None, gt=0, description="Its speed, until it has been measured.")
    family: str = Field(default="", max_length=100, description="Its architecture's family.")
    licence: str = Field(default="", max_length=100, description="Its licence, as an SPDX expression.")
    fallback: tuple[str, ...] = Field(default=(), description="Who answers when it cannot, in this order.")

    @field_validator("source", mode="after")
    @classmethod
    def _known_source(cls, source: str) -> str:
        if not _SOURCE.match(source) or "\0" in source:
            raise ValueError(f"{source[:100]!r} is none of path:..., package:..., hub:...")
        return source

    @field_validator("devices", mode="after")
    @classmethod
    def _some_devices(cls, devices: int | tuple[int | str, ...] | None) -> int | tuple[int | str, ...] | None:
        if isinstance(devices, tuple):
            _check_cards(devices, least=1)
        elif devices is not None and not 1 <= devices <= _MOST_CARDS:
            raise ValueError(f"{devices} is no number of GPUs; from 1 to {_MOST_CARDS} are possible")
        return devices

    @field_validator("priority", mode="before")
    @classmethod
    def _priority_by_name(cls, given: object) -> object:
        return Priority[given] if isinstance(given, str) and given in Priority.__members__ else given

    @property
    def place(self) -> tuple[str, str]:
        """Kind of source and what stands behind the colon."""
        kind, _, rest = self.source.partition(":")
        return kind, rest


class ModelHostSettings(Value):
    """The model host of this node."""

    enabled: bool | None = Field(
        default=None, description="Whether it is started; by default where the extra `models` is installed."
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda|GPU-[0-9a-f-]{36})$",
        description="`auto` (each GPU, or the CPU), `cpu`, `cuda` (each GPU) or the UUID of one GPU.",
    )
    groups: tuple[tuple[int | str, ...], ...] = Field(
        default=(),
        description=(
            "GPUs (numbers or UUIDs) that one host has together, such as `[[0, 1]]`: models are divided over them. All "
            "bytes of its models, reserves and runs are then those of each GPU."
        ),
    )
    memory_bytes: int | None = Field(
        default=None,
        ge=64 * 1024**2,
        description="Memory that models may use; by default 90 % of the GPU's, or half of the machine's on a CPU.",
    )
    threads: int | None = Field(
        default=None, ge=1, description="Computing threads on a CPU; by default its cores but one, at least one."
    )
    parked_bytes: int = Field(
        default=0, ge=0, description="Host memory for weights that had to leave a GPU; coming back costs a copy then."
    )
    starvation_s: float = Field(
        default=30.0, gt=0, description="Longest that an idle model is kept while another one waits for its memory."
    )
    keep_s: float = Field(default=10.0, ge=0, description="How long a model stays after its load, whoever waits.")
    queue_s: float = Field(
        default=30.0, gt=0, description="Longest that a request waits for memory; then it is answered 503."
    )
    first_token_s: float = Field(
        default=60.0, gt=0, description="Longest wait for the beginning of an answer before a fallback is asked."
    )
    cache_bytes: int = Field(
        default=64 * 1024**2, ge=0, description="Memory for answers that are given again; 0: none."
    )
    cache_ttl_s: float = Field(default=600.0, gt=0, description="How long an answer may be given again.")
    load_timeout_s: float = Field(default=600.0, gt=0, description="Longest that a load may take.")
    client_priority: Priority = Field(
        default=Priority.normal,
        description="Highest priority that requests with the clients' key may claim: `high`, `normal` or `low`.",
    )
    models: tuple[CatalogueEntry, ...] = Field(
        default=(),
        description="`[[model_host.models]]`: the catalogue; by default SmolLM2 and MiniLM from their packages.",
    )

    @field_validator("client_priority", mode="before")
    @classmethod
    def _priority_by_name(cls, given: object) -> object:
        return Priority[given] if isinstance(given, str) and given in Priority.__members__ else given

    @field_validator("groups", mode="after")
    @classmethod
    def _proper_groups(cls, groups: tuple[tuple[int | str, ...], ...]) -> tuple[tuple[int | str, ...], ...]:
        for group in groups:
            _check_cards(group, least=2)
        members = [member for group in groups for member in group]
        if len(set(members)) < len(members):
            raise ValueError("a GPU is in two groups; a GPU has one host")
        return groups

    @model_validator(mode="after")
    def _groups_of_all(self) -> ModelHostSettings:
        if self.groups and self.device not in {"auto", "cuda"}:
            raise ValueError(f'groups are made of all GPUs: device is "auto" or "cuda" then, not "{self.device}"')
        return self

    @model_validator(mode="after")
    def _names(self) -> ModelHostSettings:
        names = [entry.name for entry in self.models]
        for entry in self.models:
            if names.count(entry.name) > 1:
                raise ValueError(f"two models are called {entry.name!r}; names identify them")
            for other in entry.fallback:
                if other not in names or other == entry.name:
                    raise ValueError(f"the fallback {other!r} of {entry.name!r} is no other model of the catalogue")
        return self


class Reserve(Value):
    """Memory that is promised to a model."""

    model: str
    bytes: int = Field(gt=0)
    priority: Priority = Priority.normal
    sharing: bool = True
    context_window: int = Field(ge=16)


class Footprint(Value):
    """What a loaded model takes, in bytes."""

    weights: int
    """Weights with their quantisation state and buffers."""
    kv_per_token: int
    """Keys and values of one token of context over all layers; 0: the model keeps none."""
    kv_fixed: int = 0
    """Keys and values that the engine allocates once, at its load."""
    workspace: int = 0
    """Peak of activations and workspaces in a step."""
    unpacking: int = 0
    """Bytes beside its weights that the load takes for a while, where it unpacks a file in memory first."""
    elsewhere: bool = False
    """Whether it lies in the memory of the machine while the ledger is that of a GPU, of which it takes nothing."""
    rounds: bool = False
    """Whether keys and values come from CUDA's allocator, which takes more from the device than it hands out."""

    @property
    def resident(self) -> int:
        """Bytes of the device from the load until the unload, whether anybody asks or not."""
        return 0 if self.elsewhere else self.total

    @property
    def total(self) -> int:
        """Bytes of `resident`, wherever they are."""
        return self.weights + self.kv_fixed + self.workspace

    @property
    def loading(self) -> int:
        """Most bytes while it is loaded: nobody takes a step then, but its file may be unpacked beside it."""
        return max(self.resident, 0 if self.elsewhere else self.weights + self.kv_fixed + self.unpacking)


class Measured(Value):
    """What a model was seen to take, in bytes, by the system or the allocator, not by its own sum."""

    weights: int
    """Memory behind its tensors: pages of this process or of a file, or blocks of CUDA's allocator."""
    beside: int | None = None
    """All else that its load and a first step took, where that can be told apart from other models."""

    @property
    def total(self) -> int:
        """All that was measured."""
        return self.weights + (self.beside or 0)

    def predicted(self, footprint: Footprint) -> int:
        """What `footprint` said of the parts that were measured."""
        return footprint.weights if self.beside is None else footprint.total


class Requirements(Value):
    """What a caller needs of a model."""

    use_case: str = ""
    kind: ModelKind = ModelKind.generate
    priority: Priority = Priority.normal
    context_tokens: int = Field(default=0, ge=0)
    largest_bytes: int | None = Field(default=None, gt=0)
    least_quality: float = Field(default=0.0, ge=0, le=1)
    structured: bool = False
    """Whether the answer has to follow a schema, which models of GGUF files can."""
    prefer: Literal["balanced", "speed", "quality", "memory"] = "balanced"
    licences: tuple[str, ...] = ()
    """None: any."""


class Choice(Value):
    """Which model was chosen, and why."""

    model: str
    score: float
    reasons: tuple[str, ...]
    fallback: tuple[str, ...] = ()


class Refusal(Value):
    """Why something was not granted, with the sum."""

    reason: str
    needed_bytes: int
    free_bytes: int
    arithmetic: tuple[tuple[str, int], ...] = ()
    """Words and bytes, in the order of the sum."""
    for_ever: bool = False
    """Whether waiting cannot help."""


class ModelState(StrEnum):
    """Where a model is."""

    absent = "absent"
    loading = "loading"
    ready = "ready"
    parked = "parked"
    failed = "failed"


class ModelStatus(Value):
    """One model as the host sees it."""

    name: str
    state: ModelState
    kind: ModelKind
    engine: EngineKind
    quantisation: Quantisation
    priority: Priority
    context_window: int
    reserve_bytes: int = 0
    predicted: Footprint | None = None
    measured: Measured | None = None
    """What it was seen to take when it was loaded."""
    held_bytes: int | None = None
    """What is counted for it while it is loaded: the larger of what was predicted and measured."""
    lease_bytes: int = 0
    running: int = 0
    waiting: int = 0
    shares_with: tuple[str, ...] = ()
    error: str = ""

    @property
    def difference_bytes(self) -> int | None:
        """Measured less predicted, of the parts that were measured; above zero: it takes more than was predicted."""
        if self.measured is None or self.predicted is None:
            return None
        return self.measured.total - self.measured.predicted(self.predicted)


class Unseen(Value):
    """A device that could not be looked at."""

    device: str
    """Its number."""
    reason: str


class ModelDone(ModelStatus):
    """A model that was told what to do, as it is then on the devices that did it."""

    incomplete: tuple[Unseen, ...] = ()
    """Devices that were meant, too, and whose host does not answer."""


class HostStatus(Value):
    """One device; or all of a node, whose sums these are then."""

    device: str
    device_uuid: str = ""
    capacity_bytes: int
    used_bytes: int
    leased_bytes: int
    reserved_bytes: int
    parked_bytes: int = 0
    fragmentation: float = 0.0
    """Share of the memory that the allocator holds and nobody can use, 0 to 1."""
    models: tuple[ModelStatus, ...] = ()
    jobs: int = 0
    number: int = 0
    """Which of the node's devices it is."""
    devices: tuple[HostStatus, ...] = ()
    """Each device, where the answer is that of several."""
    incomplete: tuple[Unseen, ...] = ()
    """Devices whose host does not answer. They are in no sum."""

    @property
    def each(self) -> tuple[HostStatus, ...]:
        """The devices one by one."""
        return self.devices or (() if self.incomplete else (self,))


class ModelPath(Value):
    """Files of a model that were found."""

    folder: Path
    gguf: Path | None = None
