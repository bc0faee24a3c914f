"""A sharded policy, whole again on one rank."""

from __future__ import annotations

from typing import Any

import torch

from opid_lightning.lm.forward.padded_words import mark, num_words
from opid_lightning.lm.sharding import is_sharded
from opid_lightning.sampling.weights import weights_of
from opid_lightning.types import Policy


def unsharded(policy: Policy) -> Policy:
    """The policy itself; of a sharded one, a copy that answers without the other ranks.

    It has the weights of now, gathered one after another, for which all ranks have to call this.
    """
    if not is_sharded(policy.model):
        return policy
    model = blank(policy.model)
    missing = model.state_dict()
    with torch.no_grad():
        for name, tensor in weights_of(policy):
            missing.pop(name).copy_(tensor)
    assert not missing, f"the policy has no {', '.join(missing)}"
    return Policy(model, policy.tokenizer)


def blank(model: Any) -> torch.nn.Module:
    """The same architecture with any weights, on the device that computes.

    Parameters that are offloaded rest on the CPU, and are not computed with there.
    """
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    first = next(model.parameters())
    with computing_device(first), no_init_weights():
        made = AutoModelForCausalLM.from_config(
            model.config, dtype=first.dtype, attn_implementation=model.config._attn_implementation
        )
    made.generation_config = model.generation_config
    mark(made, num_words(model))
    return made.requires_grad_(False).eval()


def computing_device(parameter: Any) -> torch.device:
    """Of this rank, by the mesh where the parameter is sharded."""
    mesh = getattr(parameter, "device_mesh", None)
    return torch.device(mesh.device_type) if mesh else parameter.device
