"""Random weights to start from: a Llama of about one million."""

from __future__ import annotations

from typing import Any

import torch

from opid_lightning.warm_start.tokenizer import NUM_POSITIONS


def make_model(tokenizer: Any, seed: int, hidden: int = 128, layers: int = 4) -> Any:
    """Four layers of width 128, unless told otherwise."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        initializer_range=0.05,  # so that so narrow layers start with a view of their input
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        max_position_embeddings=NUM_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
