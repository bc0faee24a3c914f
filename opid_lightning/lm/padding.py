"""Prompts and responses of different lengths, side by side in tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

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
