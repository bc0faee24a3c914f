"""Responses from transformers' `generate`: any model, every prompt read from its beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from opid_lightning.lm.forward.layouts import pad_sequences
from opid_lightning.lm.forward.padded_words import num_words
from opid_lightning.sampling.hf.gumbel import GumbelDraws
from opid_lightning.types import Policy, SampleRequest

# The tokens of a response and their log-probs, which may go on behind its end.
Drawn = tuple[list[int], list[float]]


@dataclass(frozen=True)
class WholePrompts:
    """Answers requests in one batch that ends together."""

    policy: Policy

    @torch.no_grad()
    def __call__(self, requests: Sequence[SampleRequest]) -> list[Drawn]:
        """Ids and log-probs of each response, in the order of the requests."""
        model: Any = self.policy.model
        device = next(model.parameters()).device
        draws = _RecordedDraws(GumbelDraws(requests, device, num_words(model)))
        prompts = [request.prompt_ids for request in requests]
        padded = pad_sequences(prompts, [()] * len(prompts), self.policy.tokenizer.pad_token_id)
        width = padded.input_ids.shape[1] - 1  # less the column of the empty responses
        model.generate(
            input_ids=padded.input_ids[:, :width].to(device),
            attention_mask=padded.attention_mask[:, :width].to(device),
            max_new_tokens=max(request.max_tokens for request in requests),
            logits_processor=[draws],
            stopping_criteria=[_Limits(requests, width, device)],
        )
        chosen = torch.stack(draws.chosen, -1).tolist()
        logprobs = torch.stack(draws.logprobs, -1).tolist()
        return list(zip(chosen, logprobs, strict=True))


@dataclass
class _RecordedDraws:
    """A logits processor after which the token that was drawn has the largest score."""

    draw: GumbelDraws
    chosen: list[Int[Tensor, " B"]] = field(default_factory=list)
    logprobs: list[Float[Tensor, " B"]] = field(default_factory=list)

    def __call__(
        self, input_ids: Int[Tensor, "B S"], scores: Float[Tensor, "B V"]
    ) -> Float[Tensor, "B V"]:
        chosen, logprobs = self.draw(scores)
        self.chosen.append(chosen)
        self.logprobs.append(logprobs)
        return torch.zeros_like(scores).scatter(-1, chosen[:, None], 1.0)


class _Limits:
    """A stopping criterion: the length limit of each row."""

    def __init__(self, requests: Sequence[SampleRequest], width: int, device: torch.device) -> None:
        limits = [width + request.max_tokens for request in requests]
        self.limits = torch.tensor(limits, device=device)

    def __call__(self, input_ids: Int[Tensor, "B S"], scores: Any, **_: Any) -> Tensor:
        return self.limits <= input_ids.shape[1]
