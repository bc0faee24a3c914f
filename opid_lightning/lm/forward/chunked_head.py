"""Log-probs out of a model's head that never holds all of its logits.

torch's own `linear_cross_entropy` in chunks rounds log-probs to the precision of the hidden states,
in which a ratio of two policies is noise, and knows no entropy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from opid_lightning.lm.forward.padded_words import UNSAID

CHUNK_LOGITS = 2**24  # 64 MiB in float32; matrices of a few hundred rows are at full speed


@dataclass(frozen=True)
class Targets:
    """What a head is asked: P pairs of a position, of N, and the token that follows there."""

    positions: Int[Tensor, " P"]
    tokens: Int[Tensor, " P"]
    temperature: float
    chunk_logits: int = CHUNK_LOGITS  # at most so many at a time
    num_words: int | None = None  # rows of the head behind them have none

    def chunks(self, num_positions: int, num_words: int) -> Iterator[slice]:
        """Slices of positions such that a chunk has at most `chunk_logits` logits."""
        size = max(1, self.chunk_logits // num_words)
        for start in range(0, num_positions, size):
            yield slice(start, min(start + size, num_positions))

    def of(self, chunk: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs in the chunk: their numbers, their positions from its start, their tokens."""
        inside = (self.positions >= chunk.start) & (self.positions < chunk.stop)
        pairs = inside.nonzero().flatten()
        return pairs, self.positions[pairs] - chunk.start, self.tokens[pairs]


class ChunkedLogProbs(torch.autograd.Function):
    """log softmax(z) of tokens, and its entropy H at positions; z = (h W^T + b) / temperature.

    Logits exist for some positions at a time. The gradient computes them once more:

        d log p(y) / dz = onehot(y) - p        d H / dz = -p (log p + H)
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Float[Tensor, "N H"],
        weight: Float[Tensor, "V H"],
        bias: Float[Tensor, " V"] | None,
        targets: Targets,
        with_entropy: bool,
    ) -> tuple[Float[Tensor, " P"], Float[Tensor, " N"]]:
        """Log-probs of the target tokens and entropies, in float32; logits are thrown away."""
        logprobs = hidden.new_empty(len(targets.tokens), dtype=torch.float32)
        normaliser = hidden.new_empty(len(hidden), dtype=torch.float32)
        entropy = torch.zeros_like(normaliser)
        for chunk in targets.chunks(len(hidden), len(weight)):
            logits = scaled_logits(hidden[chunk], weight, bias, targets)
            normaliser[chunk] = logits.logsumexp(-1)
            pairs, rows, tokens = targets.of(chunk)
            logprobs[pairs] = logits[rows, tokens] - normaliser[chunk][rows]
            if with_entropy:
                # H = -sum p log p = log Z - sum p z
                entropy[chunk] = normaliser[chunk] - (logits.softmax(-1) * logits).sum(-1)
        ctx.save_for_backward(hidden, weight, bias, normaliser, entropy)
        ctx.targets, ctx.with_entropy = targets, with_entropy
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Computes each chunk's logits again; gradients of head and hidden states."""
        hidden, weight, bias, normaliser, entropy = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        of_hidden = torch.empty_like(hidden) if wants_hidden else None
        of_weight = of_bias = None
        for chunk in ctx.targets.chunks(len(hidden), len(weight)):
            logits = scaled_logits(hidden[chunk], weight, bias, ctx.targets)
            known = normaliser[chunk], entropy[chunk] if ctx.with_entropy else None
            of_logits = gradient_of(logits, *known, chunk, ctx.targets, *gradients)
            if wants_bias:
                of_bias = summed(of_bias, of_logits.sum(0))
            rounded = of_logits.to(weight.dtype)
            if of_hidden is not None:
                of_hidden[chunk] = rounded @ weight
            if wants_weight:
                of_weight = summed(of_weight, rounded.T @ hidden[chunk])
        return of_hidden, cast(of_weight, weight), cast(of_bias, weight), None, None


def scaled_logits(
    hidden: Float[Tensor, "C H"],
    weight: Float[Tensor, "V H"],
    bias: Float[Tensor, " V"] | None,
    targets: Targets,
) -> Float[Tensor, "C V"]:
    """In float32 whatever the head computes in; a tensor that may be written to."""
    logits = torch.nn.functional.linear(hidden, weight, bias).float()
    if targets.num_words is not None:
        logits[:, targets.num_words :] = UNSAID
    return logits if targets.temperature == 1 else logits.div_(targets.temperature)


def gradient_of(
    logits: Float[Tensor, "C V"],
    normaliser: Float[Tensor, " C"],
    entropy: Float[Tensor, " C"] | None,
    chunk: slice,
    targets: Targets,
    of_logprobs: Float[Tensor, " P"],
    of_entropy: Float[Tensor, " N"],
) -> Float[Tensor, "C V"]:
    """Of the unscaled logits. Written over the scaled ones, the largest tensor there is."""
    pairs, rows, tokens = targets.of(chunk)
    weights = torch.zeros_like(normaliser).index_add_(0, rows, of_logprobs[pairs])[:, None]
    log_p = logits.sub_(normaliser[:, None])
    if entropy is not None:
        weights = weights + of_entropy[chunk, None] * (log_p + entropy[:, None])
    gradient = log_p.exp_().mul_(-weights)
    gradient.index_put_((rows, tokens), of_logprobs[pairs], accumulate=True)
    return gradient if targets.temperature == 1 else gradient.div_(targets.temperature)


def summed(total: Tensor | None, part: Tensor) -> Tensor:
    """Of several parts in float32, as a sum in bfloat16 soon stops growing."""
    return part if total is None else total.float().add_(part)


def cast(gradient: Tensor | None, like: Tensor) -> Tensor | None:
    """The gradient in the dtype of its parameter."""
    return None if gradient is None else gradient.to(like.dtype)
