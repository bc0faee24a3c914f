"""What of a policy a checkpoint holds, and to which weights an adapter in one belongs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from opid_lightning.lm.lora import LoRA, is_of_adapter
from opid_lightning.lm.merged_weights import base_tensors
from opid_lightning.lm.policy import PolicySource
from opid_lightning.sampling.weights import fingerprint_of
from opid_lightning.training.checkpoints import policy_record
from opid_lightning.training.checkpoints.files import check_readable, plain_values
from opid_lightning.training.checkpoints.policy_record import check_same_policy
from opid_lightning.training.checkpoints.shard_folders import writer_of
from opid_lightning.types import Policy

Record = dict[str, Any]  # plain values
KEY = "adapter"  # in a checkpoint


def record_of(policy: Policy, source: PolicySource) -> Record | None:
    """Its settings, and a fingerprint of the weights beside it; None where all weights train."""
    if source.lora is None:
        return None
    return {**settings_of(source.lora), "base": fingerprint_of(base_tensors(policy.model))}


def settings_of(lora: LoRA) -> Record:
    """What of an adapter must be equal for its weights to fit."""
    return {
        "rank": lora.rank,
        "alpha": float(lora.alpha),
        "target_modules": sorted(lora.target_modules),
    }


def trained(state: Mapping[str, Any], record: Record | None) -> dict[str, Any]:
    """What of the policy's state dict changes, and a checkpoint holds."""
    return {name: value for name, value in state.items() if record is None or is_of_adapter(name)}


def check_same(found: Record | None, record: Record | None, path: str) -> None:
    """Raises where a checkpoint's weights do not belong to the policy of this run.

    Args:
        found: in the checkpoint.
        record: of this run.
        path: the policy's, for the message.
    """
    if found == record:
        return
    if found is None:
        raise ValueError(
            "The checkpoint holds all weights, but policy.lora asks for an adapter: leave "
            "policy.lora out, or export the checkpoint and set policy.path to the folder."
        )
    if record is None:
        raise ValueError(
            f"The checkpoint holds an adapter, but this run trains all weights: set "
            f"policy.lora.rank={found['rank']} policy.lora.alpha={found['alpha']} "
            f"policy.lora.target_modules={found['target_modules']}"
        )
    for name in ("rank", "alpha", "target_modules"):
        if found[name] != record[name]:
            raise ValueError(
                f"policy.lora.{name} is {record[name]}, but {found[name]} in the checkpoint. Set "
                f"it to {found[name]} to resume."
            )
    raise ValueError(
        f"The checkpoint's adapter was trained beside other weights than those of "
        f"policy.path={path}: set policy.path (and policy.init_seed) to those of its run."
    )


def load_into(policy: Policy, source: PolicySource, checkpoint: Path) -> None:
    """Gives a policy that was loaded from `source` the weights in a checkpoint, without a Trainer.

    Raises ValueError where they are of another policy.
    """
    record = record_of(policy, source)
    check_readable(checkpoint)
    values = plain_values(checkpoint)
    check_same_policy(values, policy_record.record_of(policy, source))
    check_same(values.get(KEY), record, source.path)
    own = {f"model.{name}": value for name, value in policy.model.state_dict().items()}
    found = values.get("state_dict") or shards_of(checkpoint, trained(own, record))
    check_names(found, trained(own, record), checkpoint)
    for name, value in found.items():
        own[name].copy_(value)


def check_names(
    found: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], path: Path
) -> None:
    """Raises for weights of another architecture."""
    sizes, expected = ({n: tuple(v.shape) for n, v in d.items()} for d in (found, own))
    different = sorted(n for n in sizes | expected if sizes.get(n) != expected.get(n))
    if different:
        name = different[0]
        raise ValueError(
            f"{path} is not of this policy: {len(different)} tensors differ, {name} is "
            f"{sizes.get(name)} there and {expected.get(name)} in policy.path. Set policy.path to "
            "that of its run"
        )


def shards_of(folder: Path, like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors out of a folder of shards, whole."""
    from torch.distributed.checkpoint.state_dict_loader import load

    if (writer := writer_of(folder)) != "fsdp2":
        raise ValueError(
            f"{folder} is a folder of strategy={writer}'s shards, which only a run with it reads"
        )
    tensors = {name: torch.empty_like(value) for name, value in like.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as it should be
        load({"state_dict": tensors}, checkpoint_id=folder, no_dist=True)
    return tensors
