"""Log-probs of responses under a policy, from one forward pass."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.types import ModelInputs


def response_logprobs(
    model: torch.nn.Module, inputs: ModelInputs, temperature: float, with_entropy: bool = False
) -> tuple[Float[Tensor, "B R"], Float[Tensor, "B R"] | None]:
    """log softmax(logits / temperature) of the response tokens.

    Values at padding are finite and mean nothing. Logits are computed only where a response token
    is predicted: of [I S V], the largest tensor of training, [I K V] is made. The second value is
    the entropy of softmax(logits / temperature), where asked for.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}, expected more than 0")
    logits = model(
        input_ids=inputs.input_ids,
        attention_mask=inputs.attention_mask,
        position_ids=inputs.position_ids,
        logits_to_keep=inputs.kept,
        use_cache=False,
    ).logits
    scaled = logits.flatten(0, 1).float() / temperature
    normaliser = scaled.logsumexp(-1)
    chosen = scaled[inputs.predictors, inputs.response_ids]
    logprobs = chosen - normaliser[inputs.predictors]
    if not with_entropy:
        return logprobs, None
    # H = -sum p log p = log Z - sum p z
    entropy = normaliser - (scaled.softmax(-1) * scaled).sum(-1)
    return logprobs, entropy[inputs.predictors]
