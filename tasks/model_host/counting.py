"""What a model of the catalogue will take: its files are looked at, its weights are not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blocks.errors import ConfigurationError
from models.model_host import CatalogueEntry, EngineKind, Footprint, ModelKind, ModelPath, Quantisation
from tasks.model_host.headers import read_json
from tasks.model_host.prediction import DeviceKind, Step, predict, predict_llamacpp, unpacking
from tasks.model_host.shapes import Architecture, architecture_of, of_config
from tasks.model_host.sources import at, engine_of, locate

DEFAULT_CONTEXT = 4096
"""Tokens of a context window that nobody has written."""


@dataclass(frozen=True)
class Counted:
    """A model, how it is to be held, and what is promised to it."""

    name: str
    engine: EngineKind
    kind: ModelKind
    architecture: Architecture
    quantisation: Quantisation
    context_window: int
    sequences: int = 1
    """Whole contexts that llama.cpp allocates."""
    reserve_bytes: int | None = None
    files: ModelPath | None = None
    """Where it is; None: only its configuration was looked at."""

    def footprint(
        self,
        device: DeviceKind,
        *,
        packs_nf4: bool = False,
        context: int | None = None,
        quantisation: Quantisation | None = None,
    ) -> Footprint:
        """What it takes on `device`; with another context or quantisation than its own, where given."""
        window = context or self.context_window
        if self.engine is EngineKind.llamacpp:
            return predict_llamacpp(
                self.architecture, context=window, sequences=self.sequences, embeds=self.kind is ModelKind.embed
            )
        found = predict(
            self.architecture,
            quantisation or self.quantisation,
            device=device,
            step=Step.of(self.kind, window),
            packs_nf4=packs_nf4,
        )
        if device == "cpu" and self.files is not None and self.files.gguf is not None:
            taken = unpacking(self.architecture, quantisation or self.quantisation)
            return found.model_copy(update={"unpacking": taken})
        return found


def count(entry: CatalogueEntry) -> Counted:
    """Look at the files of `entry`.

    Raises:
        ConfigurationError: the catalogue asks of it what it cannot do.
        LoadError: its files are not here, broken, or of an architecture that is not known.
    """
    files = locate(entry)
    engine = engine_of(entry, files)
    architecture = architecture_of(files, entry.kind, engine)
    return Counted(
        name=entry.name,
        engine=engine,
        kind=entry.kind,
        architecture=architecture,
        quantisation=entry.quantisation,
        context_window=window_of(entry, architecture),
        sequences=entry.concurrency,
        reserve_bytes=entry.reserve_bytes,
        files=files,
    )


def count_path(
    path: Path, quantisation: Quantisation, *, context: int | None = None, reserve_bytes: int | None = None
) -> Counted:
    """Look at a `config.json`, a folder or a GGUF file that generates. A `config.json` needs no weights.

    Args:
        path: the file or folder.
        quantisation: how weights are to be held.
        context: most tokens of a prompt and its answer; by default as many as it was made for.
        reserve_bytes: the memory that it shall do with.

    Raises:
        ConfigurationError: `quantisation` or `context` does not fit it.
        LoadError: it is not there, is broken, or of an architecture that is not known.
    """
    folder = path.parent if path.name == "config.json" else path
    name = path.stem if path.is_file() and folder is path else folder.resolve().name
    if path.suffix == ".json" or ((path / "config.json").is_file() and not any(path.glob("*.safetensors*"))):
        config = path if path.suffix == ".json" else path / "config.json"
        engine = EngineKind.transformers
        architecture = of_config(read_json(config), ModelKind.generate, component=str(config))
    else:
        files = at(path, component=name)
        entry = CatalogueEntry(name="plan", source=f"path:{path}", quantisation=quantisation)
        engine = engine_of(entry, files)
        architecture = architecture_of(files, ModelKind.generate, engine)
    _check_context(context, architecture, name)
    return Counted(
        name=name,
        engine=engine,
        kind=ModelKind.generate,
        architecture=architecture,
        quantisation=quantisation,
        context_window=context or architecture.context,
        reserve_bytes=reserve_bytes,
    )


def window_of(entry: CatalogueEntry, architecture: Architecture) -> int:
    """Most tokens of a prompt and its answer.

    Raises:
        ConfigurationError: more are asked for than the model was made for.
    """
    _check_context(entry.context_window, architecture, entry.name)
    return entry.context_window or min(architecture.context, DEFAULT_CONTEXT)


def _check_context(context: int | None, architecture: Architecture, name: str) -> None:
    if context is not None and context > architecture.context:
        raise ConfigurationError(
            f"a context window of {context:,} tokens is asked for; the model was made for {architecture.context:,}.",
            component=name,
            remedy="Ask for no more than that.",
        )
