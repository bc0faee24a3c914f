"""Weights under the names of the unadapted model, with the adapter in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.lm.lora import NAME, is_adapted, is_of_adapter
from opid_lightning.lm.sharding import tensors_of, whole, whole_tensors

BASE = ".base_layer"  # where peft keeps what it adapts


def merged_tensors(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state dict; those that are adapted as W + scale B A.

    Each is gathered and made when its turn comes, and none is written to: weights that are merged
    in place and taken apart again are others by and by. Where the model is sharded, every rank
    has to go through all of them.
    """
    if not is_adapted(model):
        yield from whole_tensors(model)
        return
    for name, tensor in base_tensors(model):
        yield name, tensor if (parts := factors(model, name)) is None else merged(tensor, *parts)


def base_tensors(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of an adapted model without those of its adapter, as `merged_tensors`."""
    for name, tensor in tensors_of(model).items():
        if not is_of_adapter(name):
            yield name.replace(f"{BASE}.", "."), whole(tensor.detach())


def adapter_tensors(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The others, as `merged_tensors`."""
    for name, tensor in tensors_of(model).items():
        if is_of_adapter(name):
            yield name, whole(tensor.detach())


def factors(
    model: torch.nn.Module, name: str
) -> tuple[Float[Tensor, "K I"], Float[Tensor, "O K"], float] | None:
    """A, B and scale of a weight; None where it is not adapted."""
    layer_name, _, kind = name.rpartition(".")
    layer: Any = model.get_submodule(layer_name)
    if kind != "weight" or not hasattr(layer, "lora_A"):
        return None
    a, b = (whole(part[NAME].weight.detach()) for part in (layer.lora_A, layer.lora_B))
    return a, b, layer.scaling[NAME]


def merged(
    weight: Float[Tensor, "O I"], a: Float[Tensor, "K I"], b: Float[Tensor, "O K"], scale: float
) -> Float[Tensor, "O I"]:
    """W + scale B A, in W's precision, also inside a forward in a lower one."""
    with torch.autocast(weight.device.type, enabled=False):
        return torch.addmm(weight, b, a, alpha=scale)
