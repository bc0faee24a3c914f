"""What a model does differently while it trains: nothing, but to keep fewer activations."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def make_trainable(model: Any, activation_checkpointing: bool = False) -> None:
    """Readies a model for training, in which a response still has one log-prob.

    It stays in eval mode. Besides dropout, the training mode of some models jitters their routers
    or draws experts at random, under names of their own. Gradients do not depend on the mode, and
    the blocks that compute their activations again are put into training mode one by one.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")  # Lightning's
    model.eval()
    if not activation_checkpointing:
        return
    # Of torch's two ways it is the one that gathers a sharded block again.
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """The model in eval mode, every part of it in its own mode again afterwards."""
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in was_training.items():
            module.training = training
