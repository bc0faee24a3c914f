"""Attention in blocks, against sdpa over all pairs."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from opid_lightning.lm.forward.blockwise_attention import (
    NUM_KEYS,
    NUM_QUERIES,
    attend_in_blocks,
    blockwise_attention,
)
from opid_lightning.lm.forward.layouts import merge_sequences, pad_sequences
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.types import Layout

CONFIG = LlamaConfig(
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    pad_token_id=0,
)
GENERATOR = torch.Generator().manual_seed(0)
WORDS = tuple(torch.randint(4, 50, (900,), generator=GENERATOR).tolist())
PROMPTS = [WORDS[:400], WORDS[:400], WORDS[:370], WORDS[500:540]]
RESPONSES = [WORDS[400:480], WORDS[540:640], WORDS[640:650], WORDS[700:800]]


def models() -> list[LlamaForCausalLM]:
    torch.manual_seed(0)
    whole = LlamaForCausalLM._from_config(CONFIG, attn_implementation="sdpa")
    for weight in whole.parameters():
        weight.data.mul_(3)
    blocks = LlamaForCausalLM._from_config(CONFIG, attn_implementation="sdpa")
    blocks.load_state_dict(whole.state_dict())
    attend_in_blocks(blocks)
    return [whole, blocks]


@pytest.mark.parametrize("layout", [pad_sequences, merge_sequences])
def test_log_probs_and_gradients_are_those_of_all_pairs(layout: Layout) -> None:
    inputs = layout(PROMPTS, RESPONSES, 0)
    assert inputs.input_ids.shape[1] > 1.5 * NUM_QUERIES
    is_real = torch.arange(100) < torch.tensor([[len(response)] for response in RESPONSES])
    logprobs, gradients = [], []
    for model in models():
        found = response_logprobs(model, inputs, 1.0)[0][is_real]
        logprobs.append(found)
        gradients.append(torch.autograd.grad(found.sum(), list(model.parameters())))
    torch.testing.assert_close(*logprobs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(*gradients, atol=2e-4, rtol=1e-3)


class Attention(torch.nn.Module):
    num_key_value_groups = 1
    is_causal = True


def test_what_nobody_sees_is_not_looked_at() -> None:
    size = 2 * NUM_QUERIES
    query, key, value = torch.randn(3, 1, 2, size, 8, generator=GENERATOR).unbind()
    mask = torch.zeros(1, 1, size, size, dtype=torch.bool)
    mask[..., :NUM_QUERIES, :NUM_KEYS] = True
    mask[..., NUM_QUERIES:, NUM_KEYS : 2 * NUM_KEYS] = True
    value[:, :, 2 * NUM_KEYS :] = torch.nan  # would spread: 0 * nan
    found, _ = blockwise_attention(Attention(), query, key, value, mask)
    assert found.isfinite().all()


def test_queries_that_see_nothing_disturb_nobody() -> None:
    size = 2 * NUM_QUERIES
    query, key, value = torch.randn(3, 1, 2, size, 8, generator=GENERATOR).unbind()
    mask = torch.ones(1, 1, size, size, dtype=torch.bool).tril()
    expected, _ = blockwise_attention(Attention(), query, key, value, mask)
    mask[..., :NUM_QUERIES, :] = False
    found, _ = blockwise_attention(Attention(), query, key, value, mask)
    torch.testing.assert_close(found[:, NUM_QUERIES:], expected[:, NUM_QUERIES:])


def test_a_model_that_does_not_attend_by_sdpa_is_left_as_it_is() -> None:
    model = LlamaForCausalLM._from_config(CONFIG, attn_implementation="eager")
    attend_in_blocks(model)
    assert model.config._attn_implementation == "eager"


def test_a_saved_model_does_not_name_it() -> None:
    model = models()[1]
    assert "sdpa_in_blocks" not in str(model.config.to_dict())
