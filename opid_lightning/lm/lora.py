"""LoRA: a few numbers beside frozen weights are trained, W + (alpha / rank) B A in place of W.

Layers are peft's. A is drawn at random and B starts at zero, so that the adapted model begins as
the model itself, and is it again whenever the adapter is switched off.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from opid_lightning.files.omissions import warn_once
from opid_lightning.value_checks import check_range

_log = logging.getLogger(__name__)
NAME = "default"  # peft's own, of the only adapter that there is
PARTS = (".lora_A.", ".lora_B.")  # in the names of its tensors


@dataclass(frozen=True)
class LoRA:
    """How large the adapter is, and where.

    There is no dropout, as a response must have one log-prob.
    """

    rank: int = 16  # rank of the adapter
    alpha: float = 32.0  # the adapter is scaled by alpha / rank
    # ends of module names, as q_proj; empty: all linear layers but the head
    target_modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_range("policy.lora.rank", self.rank, at_least=1)
        check_range("policy.lora.alpha", self.alpha, above=0)


def adapt(model: torch.nn.Module, lora: LoRA, seed: int) -> None:
    """Puts an adapter into a model, and leaves nothing else of it to train."""
    from peft import LoraConfig, inject_adapter_in_model

    say_what_is_left_alone(model)
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=targets(model, lora.target_modules),
        task_type="CAUSAL_LM",
    )
    # Forked, so that drawing A moves nobody else's random numbers.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, model)
    for layer in adapted_layers(model):
        # Autocast casts by itself; otherwise each layer would keep inputs of its own in float32.
        layer.cast_input_dtype_enabled = False


def targets(model: Any, wanted: tuple[str, ...]) -> list[str]:
    """How the names of the layers to adapt end; raises ValueError for what is no linear layer."""
    head = model.get_output_embeddings()
    linear = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear)
        and layer is not head
        and type(layer).forward is torch.nn.Linear.forward  # some routers answer with more
    ]
    ends = sorted({name.rpartition(".")[2] for name in linear})
    if not linear:
        raise ValueError(
            f"policy.lora adapts torch's linear layers, and {type(model).__name__} has none but "
            "its head: leave policy.lora out, to train all weights"
        )
    # The head's chunked log-probs, and weights that it shares with the embedding, need it plain.
    unknown = [end for end in wanted if not any(is_end(end, name) for name in linear)]
    if unknown:
        raise ValueError(
            f"policy.lora.target_modules holds {', '.join(unknown)}, which no linear layer of "
            f"{type(model).__name__} but perhaps its head is called. There are: {', '.join(ends)}"
        )
    return list(wanted) or ends


def say_what_is_left_alone(model: torch.nn.Module) -> None:
    """The experts of most models are tensors of three dimensions, and no linear layers."""
    stacked = {
        name: sum(weights.numel() for weights in module.parameters(recurse=False))
        for name, module in model.named_modules()
        if any(weights.dim() > 2 for weights in module.parameters(recurse=False))
    }
    if stacked:
        share = sum(stacked.values()) / sum(weights.numel() for weights in model.parameters())
        warn_once(
            _log,
            f"policy.lora adapts linear layers alone. {len(stacked)} modules of "
            f"{type(model).__name__}, such as {next(iter(stacked))}, keep {share:.0%} of its "
            "weights in stacked tensors, as experts do: these stay as they are.",
        )


def is_end(end: str, name: str) -> bool:
    """Whether a module's name ends with these whole parts."""
    return name == end or name.endswith(f".{end}")


def adapted_layers(model: torch.nn.Module) -> list[Any]:
    """The model's layers that carry an adapter."""
    from peft.tuners.lora import LoraLayer

    return [layer for layer in model.modules() if isinstance(layer, LoraLayer)]


def is_of_adapter(name: str) -> bool:
    """Of a tensor in the state dict of an adapted model."""
    return any(part in name for part in PARTS)


def is_adapted(model: torch.nn.Module) -> bool:
    """Whether the model has parameters of an adapter."""
    return any(is_of_adapter(name) for name, _ in model.named_parameters())


@contextmanager
def switched_off(model: torch.nn.Module) -> Iterator[None]:
    """While the block lasts, the model is the one that was adapted, bit for bit."""
    layers = adapted_layers(model)
    try:
        for layer in layers:
            # peft's own switch also has parameters need no gradient, and a model that is sharded
            # at that moment would not learn from then on.
            layer._disable_adapters = True
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


class Unadapted(torch.nn.Module):
    """An adapted model with its adapter switched off, for as long as it answers.

    It has no weights of its own.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Any) -> Any:
        """The model's forward with its adapter switched off."""
        with switched_off(self.model):
            return self.model(**inputs)

    def get_output_embeddings(self) -> Any:
        """The head, which the adapter leaves as it is."""
        model: Any = self.model
        return model.get_output_embeddings()
