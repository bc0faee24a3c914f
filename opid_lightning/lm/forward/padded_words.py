"""Rows of a head that no word has: many models fill theirs up to a round number.

Qwen2.5 has 151,936 rows for 151,665 words. A response that held one of the others could not be
read, so they are never sampled, and log-probs are of the words that there are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

UNSAID = -1e30  # a logit; finite, as 0 * log 0 has to be 0 in an entropy


def limit_words(model: Any, tokenizer: Any) -> None:
    """Marks a model's head with the number of words, where there are fewer than it has rows."""
    count = max(tokenizer.get_vocab().values()) + 1
    if count < model.config.get_text_config().vocab_size:
        mark(model, count)


def mark(model: Any, count: int | None) -> None:
    """The mark stands with the head, so that copies of the model have it too."""
    if (head := model.get_output_embeddings()) is not None and count is not None:
        head.num_words = count


def num_words(model: Any) -> int | None:
    """How many rows of a model's head have words; none: all of them."""
    return getattr(model.get_output_embeddings(), "num_words", None)


def padded_ids(model: Any) -> range:
    """Those of the other rows."""
    count = num_words(model)
    rows = model.config.get_text_config().vocab_size
    return range(rows if count is None else count, rows)


def without_padded(logits: Tensor, count: int | None) -> Tensor:
    """With gradients that pass through the others alone."""
    if count is None or count >= logits.shape[-1]:
        return logits
    is_padded = torch.arange(logits.shape[-1], device=logits.device) >= count
    return logits.masked_fill(is_padded, UNSAID)
