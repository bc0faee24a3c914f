"""Log-probs of responses under a policy, from one forward pass."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def response_logprobs(
    model: torch.nn.Module,
    input_ids: Int[Tensor, "B S"],
    attention_mask: Int[Tensor, "B S"],
    num_response: int,
    temperature: float,
    with_entropy: bool = False,
) -> tuple[Float[Tensor, "B R"], Float[Tensor, "B R"] | None]:
    """log softmax(logits / temperature) of the last `num_response` tokens of each row.

    Rows are laid out as in types.Batch. Values at padding are finite and mean nothing. Logits are
    computed at response positions only: of [B S V], the largest tensor of training, [B R V] is
    made. The second value is the entropy of softmax(logits / temperature), where asked for.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}, expected more than 0")
    width = input_ids.shape[1]
    # The token at position i is predicted by the logits at i - 1.
    kept = torch.arange(width - num_response - 1, width - 1, device=input_ids.device)
    logits = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=positions(attention_mask),
        logits_to_keep=kept,
        use_cache=False,
    ).logits
    scaled = logits.float() / temperature
    normaliser = scaled.logsumexp(-1)
    chosen = scaled.gather(-1, input_ids[:, width - num_response :, None]).squeeze(-1)
    if not with_entropy:
        return chosen - normaliser, None
    # H = -sum p log p = log Z - sum p z
    expected = (scaled.softmax(-1) * scaled).sum(-1)
    return chosen - normaliser, normaliser - expected


def positions(attention_mask: Int[Tensor, "B S"]) -> Int[Tensor, "B S"]:
    """Positions that count real tokens from 0, so that left padding moves nothing."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)
