"""Proof that a sampler has the policy's weights: all of them, these very ones, and at work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.lm.forward.modes import evaluating
from opid_lightning.lm.merged_weights import merged_tensors
from opid_lightning.types import Policy, TokenIds


class WeightSyncError(ValueError):
    """A sampler does not have the policy's weights. Nothing may be sampled from it."""


@dataclass(frozen=True)
class TensorRecord:
    """One tensor as it was sent, or as it arrived."""

    shape: tuple[int, ...]
    dtype: str
    fingerprint: int  # of its bits; equal for equal contents

    @classmethod
    def of(cls, tensor: Tensor) -> TensorRecord:
        """Shape, dtype and a hash of the bits of a tensor."""
        bits = torch.hash_tensor(tensor.detach())
        return cls(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), int(bits.item()))

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> TensorRecord:
        """The inverse of `asdict`, from JSON."""
        return cls(tuple(stored["shape"]), stored["dtype"], int(stored["fingerprint"]))


Manifest = Mapping[str, TensorRecord]  # by the tensor's name in the state dict


def weights_of(policy: Policy) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state dict, tied ones under each of their names, adapters merged in.

    vLLM on CPU packs the head's weights apart from the embedding's, so that a tied `lm_head.weight`
    that is left out stays as it was, without a complaint.

    Where the policy is sharded, each is gathered when its turn comes, on every rank: all of them
    have to go through all.
    """
    return merged_tensors(policy.model)


def manifest_of(weights: Iterable[tuple[str, Tensor]]) -> Manifest:
    """A record of each tensor by its name."""
    return {name: TensorRecord.of(tensor) for name, tensor in weights}


def fingerprint_of(weights: Iterable[tuple[str, Tensor]]) -> str:
    """Of all tensors with their names; equal for equal weights, in any process."""
    manifest = as_json(manifest_of(weights))
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def as_json(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Fingerprints as text: JSON's numbers are too small for some readers."""
    return {
        name: {**asdict(record), "fingerprint": str(record.fingerprint)}
        for name, record in manifest.items()
    }


def from_json(stored: Mapping[str, Mapping[str, Any]]) -> Manifest:
    """A manifest as a server's worker reported it."""
    return {name: TensorRecord.read(record) for name, record in stored.items()}


def check_received(sent: Manifest, received: Manifest, receiver: str) -> None:
    """Raises WeightSyncError, naming each kind of difference and the tensors it concerns."""
    both = [name for name in sent if name in received]
    faults = {
        "missing": [name for name in sent if name not in received],
        "unexpected": [name for name in received if name not in sent],
        "of another shape": [n for n in both if sent[n].shape != received[n].shape],
        "of another dtype": [n for n in both if sent[n].dtype != received[n].dtype],
        "of other contents (stale)": [
            name
            for name in both
            if (sent[name].shape, sent[name].dtype) == (received[name].shape, received[name].dtype)
            and sent[name].fingerprint != received[name].fingerprint
        ],
    }
    found = "; ".join(f"{fault}: {_named(names)}" for fault, names in faults.items() if names)
    if found:
        raise WeightSyncError(f"{receiver} did not receive the policy's weights. {found}.")


def _named(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


@dataclass(frozen=True)
class Parity:
    """How far the sampler's log-probs of a probe are from the trainer's, in nats per token."""

    mean: float
    max: float


def probe_ids(vocabulary: int, length: int = 64) -> TokenIds:
    """The same pseudo-random ids every time; unlikely words, so that every logit counts."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randint(vocabulary, (length,), generator=generator).tolist())


@torch.no_grad()
def trainer_logprobs(policy: Policy, ids: TokenIds) -> Float[Tensor, " L"]:
    """Log-probs of all ids but the first, each after those before it."""
    device = next(policy.model.parameters()).device
    tokens = torch.tensor([ids], device=device)
    with evaluating(policy.model):
        # On the CPU, as offloaded parameters leave tokens there and bring logits on the GPU.
        logits = policy.model(input_ids=tokens).logits[0, :-1].float().cpu()
    return logits.log_softmax(-1).gather(-1, tokens[0, 1:, None].cpu()).squeeze(-1)


def check_parity(
    trainer: Float[Tensor, " L"], sampler: Float[Tensor, " L"], bound: float, receiver: str
) -> Parity:
    """Raises WeightSyncError where the mean difference is above `bound`, or not a number."""
    gap = (trainer - sampler).abs()
    parity = Parity(gap.mean().item(), gap.max().item())
    if not parity.mean <= bound:
        raise WeightSyncError(
            f"{receiver} took the weights, but its log-probs of {len(gap)} probe tokens are off by "
            f"{parity.mean:.3g} on average (at most {parity.max:.3g}) from the trainer's; expected "
            f"{bound:.3g} or less. It serves other weights, or another architecture. Where only "
            "precision differs, set sampler.dtype=float32 or raise sampler.parity_bound."
        )
    return parity
