"""Log-probs of responses under a policy, from one forward pass that never holds all logits.

torch's own `linear_cross_entropy` in chunks rounds log-probs to the precision of the hidden states,
in which a ratio of two policies is noise, and knows no entropy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from jaxtyping import Float, Int
from torch import Tensor

from opid_lightning.lm.forward.padded_words import UNSAID, num_words, without_padded
from opid_lightning.types import ModelInputs

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


Answer = tuple[Float[Tensor, "B R"], Float[Tensor, "B R"] | None]

# Those that do more to logits than their head does, as by a soft cap or a scale.
_models_with_a_tail: WeakSet[torch.nn.Module] = WeakSet()


def response_logprobs(
    model: torch.nn.Module, inputs: ModelInputs, temperature: float, with_entropy: bool = False
) -> Answer:
    """log softmax(logits / temperature) of the response tokens.

    Values at padding are finite and mean nothing. Logits are computed only where a response token
    is predicted, and where the model's head is plain, for some of these positions at a time. The
    second value is the entropy of softmax(logits / temperature), where asked for.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}, expected more than 0")
    head = plain_head(model)
    if head is not None and model not in _models_with_a_tail:
        answer = chunked(model, head, inputs, temperature, with_entropy)
        if answer is not None:
            return answer
        _models_with_a_tail.add(model)
    logits = without_padded(forward(model, inputs), num_words(model))
    return from_logits(logits, inputs, temperature, with_entropy)


def plain_head(model: Any) -> torch.nn.Linear | None:
    """The model's head, if it is nothing but one matrix: not quantised, nor with an adapter."""
    head = model.get_output_embeddings()
    is_plain = isinstance(head, torch.nn.Linear) and type(head).forward is torch.nn.Linear.forward
    return head if is_plain else None


def forward(model: torch.nn.Module, inputs: ModelInputs) -> Tensor:
    """Its logits [I K V], or what its head answers in their place."""
    return model(
        input_ids=inputs.input_ids,
        attention_mask=inputs.attention_mask,
        position_ids=inputs.position_ids,
        logits_to_keep=inputs.kept,
        use_cache=False,
    ).logits


def from_logits(
    logits: Float[Tensor, "I K V"], inputs: ModelInputs, temperature: float, with_entropy: bool
) -> Answer:
    """The plain way."""
    scaled = logits.flatten(0, 1).float() / temperature
    normaliser = scaled.logsumexp(-1)
    logprobs = scaled[inputs.predictors, inputs.response_ids] - normaliser[inputs.predictors]
    if not with_entropy:
        return logprobs, None
    # H = -sum p log p = log Z - sum p z
    entropy = normaliser - (scaled.softmax(-1) * scaled).sum(-1)
    return logprobs, entropy[inputs.predictors]


def chunked(
    model: torch.nn.Module,
    head: torch.nn.Linear,
    inputs: ModelInputs,
    temperature: float,
    with_entropy: bool,
) -> Answer | None:
    """With a head that answers with log-probs in place of logits; None where they are changed.

    The answer goes through the model's own forward, and comes out of it: where parameters are
    sharded, hooks on the way in and out gather them, also for the gradient.
    """
    given: list[Tensor] = []

    def answer(hidden: Float[Tensor, "I K H"]) -> Float[Tensor, "B R _"]:
        logprobs, entropy = head_logprobs(head, hidden, inputs, temperature, with_entropy)
        given.append(torch.stack([logprobs, *([] if entropy is None else [entropy])], dim=-1))
        return given[0]

    with answering(head, answer):
        found = forward(model, inputs)
    if found.shape != given[0].shape or not torch.equal(found.nan_to_num(), given[0].nan_to_num()):
        return None
    return found[..., 0], found[..., 1] if with_entropy else None


@contextmanager
def answering(head: torch.nn.Module, answer: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replaces the head's forward until the block ends."""
    before = head.__dict__.get("forward")  # as a library may have put it there
    head.forward = answer
    try:
        yield
    finally:
        del head.forward
        if before is not None:
            head.forward = before


def head_logprobs(
    head: torch.nn.Linear,
    hidden: Float[Tensor, "I K H"],
    inputs: ModelInputs,
    temperature: float,
    with_entropy: bool,
) -> Answer:
    """Computes logits where some response token is predicted, of all I * K positions."""
    used, positions = torch.unique(inputs.predictors, return_inverse=True)
    targets = Targets(
        positions.flatten(),
        inputs.response_ids.flatten(),
        temperature,
        num_words=getattr(head, "num_words", None),
    )
    tensors = [hidden.flatten(0, 1)[used], head.weight, head.bias]
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        tensors = [None if tensor is None else tensor.to(dtype) for tensor in tensors]
    found = ChunkedLogProbs.apply(*tensors, targets, with_entropy)  # type: ignore[no-untyped-call]
    logprobs, entropy = found
    return logprobs.view_as(positions), entropy[positions] if with_entropy else None
