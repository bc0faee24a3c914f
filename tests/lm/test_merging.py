"""Merged rows against each row alone; the mathematics of it is in test_logprobs.py too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from opid_lightning.lm.forward.layouts import check_sees_trees, merge_sequences
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.types import TokenIds

SIZES: dict[str, Any] = {
    "vocab_size": 7,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
TOKENS = st.lists(st.integers(0, 6), max_size=6).map(tuple)
ROWS = st.lists(st.tuples(TOKENS.filter(len), TOKENS), min_size=1, max_size=8)


def sharp(model: torch.nn.Module) -> torch.nn.Module:
    """Attention of fresh weights is all but uniform, and would hide a wrong mask."""
    for weight in model.parameters():
        weight.data.mul_(4 if weight.dim() > 1 else 1)
    return model.eval()


torch.manual_seed(0)
MODELS = [
    sharp(LlamaForCausalLM(LlamaConfig(**SIZES))),
    sharp(Qwen3ForCausalLM(Qwen3Config(**SIZES))),
]


def alone(model: Any, prompt: TokenIds, response: TokenIds) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0]
    predicted = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return predicted[range(len(response)), list(response)]


def test_two_steps_of_an_episode() -> None:
    a, b, c, x, y, z = 1, 2, 3, 7, 8, 9
    inputs = merge_sequences([(a, b), (a, b, c)], [(x, y), (z,)], pad_id=0)
    assert inputs.input_ids.tolist() == [[a, b, c, z, x, y]]
    assert inputs.position_ids.tolist() == [[0, 1, 2, 3, 2, 3]]
    assert inputs.attention_mask.shape == (1, 1, 6, 6)
    predicting = inputs.kept[inputs.predictors]
    assert predicting[0].tolist() == [1, 4]  # x after b, y after x
    assert predicting[1, 0] == 2  # z after c
    assert inputs.response_ids.tolist() == [[x, y], [z, 0]]
    assert inputs.num_tokens == 8


@pytest.mark.parametrize("model", MODELS, ids=["llama", "qwen3"])
@given(ROWS)
@torch.no_grad()
def test_each_row_has_the_log_probs_it_has_alone(
    model: torch.nn.Module, rows: list[tuple[TokenIds, TokenIds]]
) -> None:
    prompts, responses = zip(*rows, strict=True)
    logprobs, _ = response_logprobs(model, merge_sequences(prompts, responses, 0), 1.0)
    assert logprobs.isfinite().all()
    for row, prompt, response in zip(logprobs, prompts, responses, strict=True):
        expected = alone(model, prompt, response)
        torch.testing.assert_close(row[: len(response)], expected, atol=1e-5, rtol=1e-5)


def test_a_row_without_a_prompt_cannot_be_scored() -> None:
    with pytest.raises(AssertionError, match="prompt of at least one token"):
        merge_sequences([()], [(1,)], pad_id=0)


@pytest.mark.parametrize("model", MODELS, ids=["llama", "qwen3"])
def test_attention_that_takes_any_mask_is_accepted(model: torch.nn.Module) -> None:
    check_sees_trees(model)


def test_attention_of_a_limited_reach_is_refused() -> None:
    everywhere = Qwen3Config(**SIZES, use_sliding_window=True, max_window_layers=1)
    for model in (
        MistralForCausalLM(MistralConfig(**SIZES, sliding_window=8)),
        Qwen3ForCausalLM(everywhere),
    ):
        with pytest.raises(ValueError, match=r"batching\.share_prefixes.*sliding_attention"):
            check_sees_trees(model)


@pytest.mark.parametrize("attention", ["eager", "flex_attention"])
def test_attention_that_takes_no_such_mask_is_refused(attention: str) -> None:
    model = LlamaForCausalLM(LlamaConfig(**SIZES, attn_implementation=attention))
    with pytest.raises(ValueError, match=rf"batching\.share_prefixes=true .* by {attention}"):
        check_sees_trees(model)
