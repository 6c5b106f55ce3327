"""Models and tokenizers of a few thousand weights, made in a moment: what is tested is how they are run."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCABULARY = 400
_TEXT = [
    "The quick brown fox jumps over the lazy dog, and the dog is not amused: it barks at the fox, twice.",
    "Grüße aus Köln, naïve café, 東京タワー, привет мир, 🙂🙃👩‍👩‍👧 and a lot of other things.",
    "One house, two houses; a flat in the city with three rooms and a garden is for sale now.",
]
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "{{ '<|turn|>' + message['role'] + '\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|>assistant\n' }}{% endif %}"
)
_SPECIAL = ["<|eos|>", "<|turn|>", "<|end|>"]


def byte_level() -> PreTrainedTokenizerFast:
    """A byte-level BPE, as GPT-2's, Llama 3's and Qwen's are."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_TEXT * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|eos|>", pad_token="<|eos|>", chat_template=TEMPLATE
    )


def sentencepiece() -> PreTrainedTokenizerFast:
    """A BPE with a word's space in front and byte fallback, as Llama 2's and Mistral's are."""
    words = ["▁", "▁a", "▁the", "the", "▁ho", "use", "s", "▁house", "▁fox", "fo", "x", "fox", "▁▁", ",", "."]
    letters = sorted(set("abcdefghijklmnopqrstuvwxyzTO ") - {" "})
    names = ["<unk>", *_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    names += [word for word in words if word not in names]
    merges = [("▁", "a"), ("▁", "▁"), ("f", "o"), ("fo", "x")]
    vocabulary = {name: at for at, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in _SPECIAL])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|eos|>", unk_token="<unk>")


_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "initializer_range": 0.25,  # large enough that who attends to whom decides what is said
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}

_MAKERS: dict[str, Any] = {
    "llama": lambda **more: LlamaForCausalLM(LlamaConfig(**_SHAPE | more)),
    "qwen2": lambda **more: Qwen2ForCausalLM(Qwen2Config(**_SHAPE | more)),
    "qwen2-mixed": lambda **more: Qwen2ForCausalLM(
        Qwen2Config(**_SHAPE | {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1} | more)
    ),
    "mistral": lambda **more: MistralForCausalLM(MistralConfig(**_SHAPE | {"sliding_window": 24} | more)),
    "gemma2": lambda **more: Gemma2ForCausalLM(Gemma2Config(**_SHAPE | {"query_pre_attn_scalar": 16} | more)),
    "gpt-oss": lambda **more: GptOssForCausalLM(
        GptOssConfig(**_SHAPE | {"num_local_experts": 2, "num_experts_per_tok": 1} | more)
    ),
    "mamba": lambda **_: MambaForCausalLM(
        MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=4)
    ),
}


def model(kind: str, *, dtype: torch.dtype = torch.float32, seed: int = 7, **more: Any) -> Any:
    """A model of random weights; the same seed, the same model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = _MAKERS[kind](**more)
    return made.to(dtype).eval()
