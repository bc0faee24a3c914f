"""Log-probs of responses under a policy, from one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.lm.forward.chunked_head import ChunkedLogProbs, Targets
from opid_lightning.lm.forward.padded_words import num_words, without_padded
from opid_lightning.types import ModelInputs

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
