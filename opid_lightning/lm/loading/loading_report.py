"""What of a model's files was loaded: weights that were not would be random, or lost."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from opid_lightning.files.omissions import warn_once

_log = logging.getLogger(__name__)
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
MAX_LISTED = 3
FLOATS = ("F64", "F32", "F16", "BF16")


def check_report(path: str, model: torch.nn.Module, report: Mapping[str, Any]) -> None:
    """Raises ValueError where the model is not the one in its files.

    Tensors of the files that belong to no block of the model, as those of a part that sees images,
    are left out, which is said.

    Args:
        path: of the model, as the user gave it.
        model: as it was loaded.
        report: of transformers, as `output_loading_info` asks for it.
    """
    check_sizes(path, sorted(report["mismatched_keys"]))
    unexpected = sorted(report["unexpected_keys"])
    check_nothing_is_missing(path, model, sorted(report["missing_keys"]), unexpected)
    lost = [name for name in unexpected if is_of_a_block(name, model)]
    if lost:
        raise ValueError(
            f"the weights of {path!r} hold {len(lost)} tensors for blocks of "
            f"{type(model).__name__} that its config.json knows nothing of, so that it would be "
            f"another model than the one that was saved: {listed(lost)}. Put the config.json "
            "beside them that they were saved with"
        )
    if unexpected:
        warn_once(
            _log,
            f"{path}: {len(unexpected)} tensors belong to no part of {type(model).__name__} and "
            f"are left out: {listed(unexpected)}",
        )


def check_sizes(path: str, mismatched: Sequence[tuple[str, Sequence[int], Sequence[int]]]) -> None:
    """Raises ValueError where tensors have other shapes than config.json implies."""
    sizes = [f"{name} is {[*found]}, expected {[*wanted]}" for name, found, wanted in mismatched]
    if sizes:
        raise ValueError(
            f"the weights of {path!r} have other sizes than its config.json says: "
            f"{listed(sizes)}. Put the config.json beside them that they were saved with"
        )


def check_nothing_is_missing(
    path: str, model: torch.nn.Module, missing: Sequence[str], unexpected: Sequence[str]
) -> None:
    """Raises ValueError where weights would stay random because the files lack them."""
    if missing:
        others = f" Its files have {listed(unexpected)} instead." if unexpected else ""
        raise ValueError(
            f"the weights of {path!r} lack {len(missing)} of {len(model.state_dict())} tensors of "
            f"{type(model).__name__}, which would train from random numbers: {listed(missing)}."
            f"{others} Save the model whole with its save_pretrained; to start from random "
            "weights, set random_init=true beside path"
        )


def check_numbers(path: str, model: torch.nn.Module) -> None:
    """Raises ValueError where a weight is no finite number, as after an overflow in float16."""
    bad = [name for name, weights in model.named_parameters() if not weights.isfinite().all()]
    if bad:
        raise ValueError(
            f"the weights of {path!r} are not finite numbers in {len(bad)} tensors: {listed(bad)}. "
            "The files were saved after training had failed, or were damaged: take earlier ones"
        )
    check_not_empty(path, model)


def check_types(path: str, location: str) -> None:
    """Raises ValueError for numbers that stand for others, though config.json says nothing of it.

    transformers would take the whole numbers of a quantised matrix for its weights.
    """
    found = {}
    for file in sorted(Path(location).glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # it is no mapping
                kind = tensors.get_slice(name).get_dtype()
                if name.endswith("weight") and kind not in FLOATS:
                    found[f"{name} ({kind})"] = kind
    if found:
        raise ValueError(
            f"the weights of {path!r} are quantised in {len(found)} tensors, and its config.json "
            f"has no quantization_config: {listed(found)}. A policy trains in float32: take the "
            "model that they were made from"
        )


def check_not_empty(path: str, model: torch.nn.Module) -> None:
    """Files whose download was stopped may hold zeros where the rest belongs."""
    matrices = [(name, weights) for name, weights in model.named_parameters() if weights.ndim > 1]
    empty = [name for name, weights in matrices if not weights.any()]
    if not empty:
        return
    said = f"{len(empty)} of {len(matrices)} matrices of {path!r} hold zeros alone: {listed(empty)}"
    ends = (model.get_input_embeddings(), model.get_output_embeddings())  # type: ignore[operator]
    if any(each is not None and not each.weight.any() for each in ends):
        raise ValueError(f"{said}. The files are not whole: download or copy them again")
    warn_once(_log, f"{said}. If it was not saved so, download or copy its files again.")


def is_of_a_block(name: str, model: torch.nn.Module) -> bool:
    """Whether a block like those of the model, by whatever number, would hold the tensor.

    model.layers.9.self_attn.q_proj.bias    of a block where there is model.layers.0
    vision_tower.layers.0.norm.weight       of none
    """
    found = _NUMBER.search(name)
    return found is not None and any(
        other.startswith(name[: found.start()]) and _NUMBER.match(other, found.start())
        for other, _ in model.named_parameters()
    )


def listed(names: Collection[str]) -> str:
    """At most `MAX_LISTED` names, and how many more there are."""
    more = len(names) - MAX_LISTED
    return ", ".join(islice(names, MAX_LISTED)) + (f" and {more} more" if more > 0 else "")
