"""Prompts and responses that begin alike, merged into one row of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from opid_lightning.lm.prefix_tree import merge
from opid_lightning.types import ModelInputs, TokenIds

SDPA_IN_BLOCKS = "sdpa_in_blocks"  # lm/blockwise_attention.py


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
