"""A policy as a folder in Hugging Face format, which transformers, vLLM and others load."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from opid_lightning.files.atomic import folder_written_whole, keep_names
from opid_lightning.lm.loading.model_loading import brief
from opid_lightning.lm.lora import NAME, is_adapted
from opid_lightning.lm.merged_weights import adapter_tensors, merged_tensors
from opid_lightning.types import Policy


def export_policy(policy: Policy, folder: Path, writes: bool = True) -> None:
    """Writes weights as safetensors, configuration, generation settings and tokenizer.

    An adapter is merged in. Where the policy is sharded, every rank has to call this; one of them
    writes, and holds the whole of it in the host's memory. `folder` is replaced once all is
    written.
    """
    weights = gathered(merged_tensors(policy.model), writes)
    if not writes:
        return
    model: Any = policy.model
    with folder_written_whole(folder) as draft:
        model.save_pretrained(draft, state_dict=weights)
        policy.tokenizer.save_pretrained(draft)
    keep_names(folder.parent)


def check_exports(policy: Policy) -> None:
    """Raises ValueError where `export_policy` would fail: before a run trains, not at its end.

    Writes everything but the weights, to a folder that does not stay.
    """
    model: Any = policy.model
    with TemporaryDirectory(prefix="opid_lightning-") as folder:
        try:
            model.save_pretrained(folder, state_dict={})
            policy.tokenizer.save_pretrained(folder)
        except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
            raise ValueError(
                f"the policy, a {type(model).__name__}, could not be exported when it is trained: "
                f"{brief(error)}. Correct its files, or train without the export: "
                "~callbacks.hf_export"
            ) from error


def export_adapter(policy: Policy, base: str, folder: Path, writes: bool = True) -> None:
    """Writes a policy's adapter as peft does, if it has one; called like `export_policy`.

    Args:
        policy: which may be adapted.
        base: the path of the model beside which the adapter stands.
        folder: replaced once all is written.
        writes: whether this rank does.
    """
    from safetensors.torch import save_file

    if not is_adapted(policy.model):
        return
    weights = gathered(adapter_tensors(policy.model), writes)
    if not writes:
        return
    model: Any = policy.model
    settings = copy.copy(model.peft_config[NAME])
    settings.base_model_name_or_path, settings.inference_mode = base, True
    settings.target_modules = sorted(settings.target_modules)  # a set, written in any order
    with folder_written_whole(folder) as draft:
        settings.save_pretrained(draft)
        save_file(
            {f"base_model.model.{n.replace(f'.{NAME}.', '.')}": w for n, w in weights.items()},
            draft / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )


def gathered(named: Iterator[tuple[str, Tensor]], keeps: bool) -> dict[str, Tensor]:
    """In the host's memory, on a rank that keeps them."""
    return {name: tensor.cpu() for name, tensor in named if keeps}
