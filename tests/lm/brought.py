"""Models as people bring them: copies of the policy that ships, and tiny ones of other kinds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from opid_lightning.lm.policy import EMBEDDED

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
TINY: dict[str, Any] = {
    "vocab_size": 1772,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def copied(folder: Path) -> Path:
    """The policy that ships, to change."""
    shutil.copytree(EMBEDDED / "small", folder)
    return folder


def edit(path: Path, **entries: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def rewrite_weights(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def drawn(folder: Path, config: Any) -> Path:
    """A model of random weights with the tokenizer of the policy that ships."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in TOKENIZER:
        shutil.copy(EMBEDDED / "small" / name, folder / name)
    return folder


def experts(kind: str) -> Any:
    """Of a mixture whose router jitters while it trains."""
    from transformers import MixtralConfig, PhimoeConfig

    if kind == "mixtral":
        return MixtralConfig(**TINY, num_local_experts=4, router_jitter_noise=0.5)
    sizes = {name: value for name, value in TINY.items() if name != "head_dim"}
    return PhimoeConfig(**sizes, num_local_experts=4, router_jitter_noise=0.5)
