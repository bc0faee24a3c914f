"""What a checkpoint says of the policy that it is of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from opid_lightning.lm.merged_weights import base_tensors
from opid_lightning.lm.policy import PolicySource
from opid_lightning.types import Policy

KEY = "policy"  # in a checkpoint
SIZES = {"num_hidden_layers": "layers", "hidden_size": "wide", "vocab_size": "words"}


def record_of(policy: Policy, source: PolicySource) -> dict[str, str]:
    """Before the model is sharded: its name, what it is, and a digest of its tensors' shapes."""
    config: Any = policy.model.config
    sizes = [f"{getattr(config, n)} {word}" for n, word in SIZES.items() if hasattr(config, n)]
    # Of an adapted policy, what the adapter is laid over: the adapter has a record of its own.
    shapes = sorted((name, tuple(each.shape)) for name, each in base_tensors(policy.model))
    return {
        "path": source.path,
        "kind": ", ".join([str(config.model_type), *sizes]),
        "shapes": hashlib.sha256(repr(shapes).encode()).hexdigest()[:16],
    }


def check_same_policy(checkpoint: Mapping[str, Any], own: Mapping[str, str]) -> None:
    """Raises for the checkpoint of another architecture; older ones do not say theirs."""
    found = checkpoint.get(KEY)
    if found is None or found["shapes"] == own["shapes"]:
        return
    raise ValueError(
        f"The checkpoint is of policy.path={found['path']} ({found['kind']}), but this run has "
        f"policy.path={own['path']} ({own['kind']}): set policy.path, or model, to that of the "
        "checkpoint, or name a checkpoint of this policy."
    )


def what_changed(checkpoint: Mapping[str, Any], own: Mapping[str, str]) -> str:
    """One line for the user; empty where the policy has the name that it had."""
    found = checkpoint.get(KEY)
    if found is None or found["path"] == own["path"]:
        return ""
    return (
        f"policy.path is {own['path']} (was {found['path']}): the weights are the checkpoint's, "
        "and the reference policy, if there is one, is the one of that name."
    )


def load_weights(
    model: torch.nn.Module, weights: Mapping[str, torch.Tensor], strict: bool, assign: bool
) -> Any:
    """Raises ValueError for those of another architecture, whose checkpoint does not say so."""
    try:
        return model.load_state_dict(weights, strict=strict, assign=assign)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise ValueError(
            f"The checkpoint holds the weights of another policy ({len(lines)} complaints, the "
            f"first: {lines[0] if lines else error}). Set policy.path, or model, to that of its run"
        ) from error
