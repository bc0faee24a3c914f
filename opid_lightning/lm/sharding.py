"""Models whose parameters ranks share out among themselves, and gather block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor


def blocks_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Its transformer blocks, by what the model itself says must not be split."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    blocks = [module for module in model.modules() if type(module).__name__ in names]
    if not blocks:
        raise ValueError(
            f"{type(model).__name__} does not tell its transformer blocks (_no_split_modules is "
            f"{sorted(names)}), so it cannot be sharded: train it with strategy=ddp, or take a "
            "model of transformers that names them"
        )
    return blocks


def shard(
    model: torch.nn.Module,
    mesh: DeviceMesh,
    precision: MixedPrecisionPolicy = MixedPrecisionPolicy(),
    cpu_offload: bool = False,
) -> torch.nn.Module:
    """Shards a model in place, each block by itself and the rest with the root."""
    offload = CPUOffloadPolicy() if cpu_offload else OffloadPolicy()
    for block in blocks_of(model):
        fully_shard(block, mesh=mesh, mp_policy=precision, offload_policy=offload)
    # A root stays gathered from its forward to its backward, which a frozen model never has: its
    # embeddings would be whole on every rank from the first forward on.
    is_frozen = not any(parameter.requires_grad for parameter in model.parameters())
    fully_shard(
        model,
        mesh=mesh,
        reshard_after_forward=True if is_frozen else None,
        mp_policy=precision,
        offload_policy=offload,
    )
    return model


def copy_weights(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Of a model to another that is sharded alike, shard by shard."""
    if is_sharded(source):
        set_model_state_dict(target, get_model_state_dict(source))
    else:
        target.load_state_dict(source.state_dict())


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether ranks hold parts of the parameters."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole_tensors(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state dict, gathered one at a time.

    Where the model is sharded, every rank has to go through all of them.
    """
    for name, tensor in tensors_of(model).items():
        yield name, whole(tensor.detach())


def tensors_of(model: torch.nn.Module) -> Mapping[str, Any]:
    """The state dict, sharded as the model is."""
    return get_model_state_dict(model) if is_sharded(model) else model.state_dict()


def whole(tensor: Tensor) -> Tensor:
    """On the device of the ranks' mesh also where the shards wait in the host's memory."""
    if not isinstance(tensor, DTensor):
        return tensor
    shards: Any = tensor.to(tensor.device_mesh.device_type)
    return shards.full_tensor()


def clip_gradients(model: torch.nn.Module, max_norm: float) -> None:
    """Scales all gradients so that their norm, of all shards, is at most so large."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)


def is_finite(model: torch.nn.Module) -> bool:
    """Whether every weight of this rank's shards is a finite number."""
    tensors = (p.to_local() if isinstance(p, DTensor) else p for p in model.parameters())
    return all(bool(tensor.detach().isfinite().all()) for tensor in tensors)


def gradient_norm(model: torch.nn.Module) -> float:
    """The 2-norm of all gradients, of all shards. Every rank has to call it."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm: Any = torch.nn.utils.get_total_norm(gradients)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
