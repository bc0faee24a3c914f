"""Drawing tokens with each request's own noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from opid_lightning.lm.forward.padded_words import without_padded
from opid_lightning.types import SampleRequest


class GumbelDraws:
    """Exact samples: argmax(z / T + g), g = -log E, E ~ Exp(1), is distributed as softmax(z / T).

    The noise of a row comes from its own seed, so that a response does not depend on its
    neighbours. Log-probs of greedy rows are at temperature 1.
    """

    def __init__(
        self,
        requests: Sequence[SampleRequest],
        device: torch.device,
        num_words: int | None = None,  # of the model, where its head has more rows
    ) -> None:
        self.num_words = num_words
        temperatures = [request.temperature or 1.0 for request in requests]
        self.temperature = torch.tensor(temperatures, device=device)[:, None]
        self.sources = [
            torch.Generator(device).manual_seed(request.seed) if request.temperature else None
            for request in requests
        ]

    def __call__(
        self, logits: Float[Tensor, "B V"]
    ) -> tuple[Int[Tensor, " B"], Float[Tensor, " B"]]:
        """The next token of every row, and its log-prob."""
        scaled = without_padded(logits.float(), self.num_words) / self.temperature
        exponential = torch.ones_like(scaled)
        for row, source in zip(exponential, self.sources, strict=True):
            if source is not None:
                row.exponential_(generator=source)
        chosen = (scaled - exponential.log_()).argmax(-1)
        logprobs = scaled.gather(-1, chosen[:, None]).squeeze(-1) - scaled.logsumexp(-1)
        return chosen, logprobs

    def select(self, rows: Sequence[int]) -> None:
        """Continues with these rows only."""
        self.temperature = self.temperature[list(rows)]
        self.sources = [self.sources[row] for row in rows]
