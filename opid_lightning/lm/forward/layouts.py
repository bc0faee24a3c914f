"""Prompts and responses as a model takes them: padded side by side, or merged into a tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from opid_lightning.lm.forward.prefix_tree import merge
from opid_lightning.types import ModelInputs, TokenIds


def pad_sequences(
    prompts: Sequence[TokenIds], responses: Sequence[TokenIds], pad_id: int
) -> ModelInputs:
    """Pads prompts on the left and responses on the right. Responses may be empty, prompts not.

    Prompts end, and responses begin, at one common column:

    input_ids       . . a b c | x y $ .
                    . a b c d | x $ . .
    attention_mask  0 0 1 1 1 | 1 1 1 0
                    0 1 1 1 1 | 1 1 0 0
    position_ids    0 0 0 1 2 | 3 4 5 5
                    0 0 1 2 3 | 4 5 5 5
    kept                    4   5 6 7       columns that predict the columns of responses
    predictors      0 1 2 .                 each response token by a place of its own
                    4 5 . .
    """
    assert prompts and all(prompts), "every row needs a prompt of at least one token"
    num_prompt = max(map(len, prompts))
    num_response = max(1, *map(len, responses))  # tensors without columns trouble the model
    prompt_ids = torch.full((len(prompts), num_prompt), pad_id)
    response_ids = torch.full((len(prompts), num_response), pad_id)
    prompt_mask = torch.zeros_like(prompt_ids)
    response_mask = torch.zeros_like(response_ids)
    # Padding has the first predictor of its row, so that no other is asked for nothing.
    predictors = torch.arange(0, response_ids.numel(), num_response)[:, None].repeat(
        1, num_response
    )
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        prompt_ids[row, num_prompt - len(prompt) :] = torch.tensor(prompt, dtype=torch.long)
        prompt_mask[row, num_prompt - len(prompt) :] = 1
        response_ids[row, : len(response)] = torch.tensor(response, dtype=torch.long)
        response_mask[row, : len(response)] = 1
        predictors[row, : len(response)] += torch.arange(len(response))
    attention_mask = torch.cat([prompt_mask, response_mask], dim=1)
    return ModelInputs(
        input_ids=torch.cat([prompt_ids, response_ids], dim=1),
        attention_mask=attention_mask,
        position_ids=positions(attention_mask),
        kept=torch.arange(num_response) + num_prompt - 1,
        predictors=predictors,
        response_ids=response_ids,
        num_tokens=int(attention_mask.sum()),
    )


def positions(attention_mask: Int[Tensor, "B S"]) -> Int[Tensor, "B S"]:
    """Positions that count real tokens from 0, so that left padding moves nothing."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)


def pad_right(rows: Sequence[Float[Tensor, " _"]], width: int) -> Float[Tensor, "B R"]:
    """Rows of numbers as one tensor, filled up with 0."""
    padded = torch.zeros(len(rows), width)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = values
    return padded


SDPA_IN_BLOCKS = "sdpa_in_blocks"  # lm/forward/blockwise_attention.py


def merge_sequences(
    prompts: Sequence[TokenIds], responses: Sequence[TokenIds], pad_id: int
) -> ModelInputs:
    """All sequences as one tree. Responses may be empty, prompts not.

    Prompts `a b` and `a b c`, responses `x y` and `z`:

    input_ids       a b c z x y
    position_ids    0 1 2 3 2 3
    kept              1 2   4       nodes that predict a response token
    predictors      0 2             x after a b, which is kept[0]; y after x, which is kept[2]
                    1 .             z after a b c, which is kept[1]
    """
    assert prompts and all(prompts), "every row needs a prompt of at least one token"
    sequences = [(*prompt, *response) for prompt, response in zip(prompts, responses, strict=True)]
    tree = merge(sequences)
    shape = (len(prompts), max(1, *map(len, responses)))
    nodes = np.zeros(shape, dtype=np.int64)
    response_ids = np.full(shape, pad_id)
    for row, (path, response) in enumerate(zip(tree.paths, responses, strict=True)):
        nodes[row, : len(response)] = path[len(path) - len(response) - 1 : -1]
        response_ids[row, : len(response)] = response
    kept, predictors = np.unique(nodes, return_inverse=True)
    return ModelInputs(
        input_ids=torch.from_numpy(tree.tokens)[None],
        attention_mask=torch.from_numpy(tree.visible)[None, None],
        position_ids=torch.from_numpy(tree.positions)[None],
        kept=torch.from_numpy(kept),
        predictors=torch.from_numpy(predictors.reshape(shape)),
        response_ids=torch.from_numpy(response_ids),
        num_tokens=sum(map(len, sequences)),
    )


def check_sees_trees(model: torch.nn.Module) -> None:
    """Raises where a model's attention does not look where it is told to look, or not that far."""
    config: Any = model.config
    attention = config._attn_implementation
    is_sliding = getattr(config, "sliding_window", None) is not None
    default = ["sliding_attention" if is_sliding else "full_attention"]
    layers = sorted(set(getattr(config, "layer_types", None) or default))
    # The others take a mask of other numbers than a bool for each pair, or none.
    if attention not in ("sdpa", SDPA_IN_BLOCKS) or layers != ["full_attention"]:
        raise ValueError(
            "batching.share_prefixes=true takes a policy whose layers are all full_attention, by "
            f"sdpa. Those of {type(model).__name__} are {', '.join(layers)}, by "
            f"{attention}. Set batching.share_prefixes=false, or train another policy."
        )
