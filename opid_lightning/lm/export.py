"""A policy as a folder in Hugging Face format, which transformers, vLLM and others load."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from opid_lightning.lm.sharding import whole_tensors
from opid_lightning.types import Policy
from opid_lightning.whole_files import DRAFT, keep_names


def export_policy(policy: Policy, folder: Path, writes: bool = True) -> None:
    """Writes weights as safetensors, configuration, generation settings and tokenizer.

    Where the policy is sharded, every rank has to call this; one of them writes, and holds the
    whole of it in the host's memory. `folder` is replaced once all is written.
    """
    weights = {}
    for name, tensor in whole_tensors(policy.model):
        if writes:
            weights[name] = tensor.cpu()
    if not writes:
        return
    draft = folder.with_name(f"{DRAFT}{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    model: Any = policy.model
    model.save_pretrained(draft, state_dict=weights)
    policy.tokenizer.save_pretrained(draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    keep_names(folder.parent)
