"""Attention by sdpa that leaves out what nobody looks at, where the mask is given as a bool.

Of a tree, and of rows padded side by side, most pairs of tokens do not see each other. On CPUs,
sdpa computes them all the same. Here each block of queries is given the blocks of keys that any of
them sees: for a tree of eight responses to one prompt 54% of the pairs, for many trajectories less.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.lm.forward.layouts import SDPA_IN_BLOCKS

NUM_QUERIES = 256
NUM_KEYS = 64


def attend_in_blocks(model: Any) -> None:
    """Has a model that attends by sdpa do so in blocks."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(SDPA_IN_BLOCKS, blockwise_attention)
    AttentionMaskInterface.register(SDPA_IN_BLOCKS, sdpa_mask)
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(SDPA_IN_BLOCKS)


def blockwise_attention(
    module: torch.nn.Module,
    query: Float[Tensor, "B H Q D"],
    key: Float[Tensor, "B G N D"],
    value: Float[Tensor, "B G N D"],
    attention_mask: Tensor | None,
    **settings: Any,
) -> tuple[Float[Tensor, "B Q H D"], None]:
    """Attention for transformers.

    On a CPU, blocks of queries look at the keys that the mask leaves.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    is_for_blocks = (
        attention_mask is not None
        and attention_mask.dtype == torch.bool
        and query.device.type == "cpu"  # elsewhere, looking at the mask would stop the device
        and query.shape[2] > NUM_QUERIES
    )
    if attention_mask is None or not is_for_blocks:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    keys, values = torch.split(key, NUM_KEYS, dim=2), torch.split(value, NUM_KEYS, dim=2)
    found = []
    rows = torch.split(attention_mask, NUM_QUERIES, dim=2)
    for queries, mask in zip(torch.split(query, NUM_QUERIES, dim=2), rows, strict=True):
        parts = torch.split(mask, NUM_KEYS, dim=3)
        # Padding may see nothing; any keys will do, as nobody looks at what it makes of them.
        seen = [index for index, part in enumerate(parts) if part.any()] or [0]
        chosen = (torch.cat([blocks[i] for i in seen], dim=2) for blocks in (keys, values))
        visible = torch.cat([parts[i] for i in seen], dim=3)
        found.append(sdpa_attention_forward(module, queries, *chosen, visible, **settings)[0])
    return torch.cat(found, dim=1), None
