"""What an engine in the process and engines in servers have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from opid_lightning.sampling.vllm_worker import EXTENSION
from opid_lightning.sampling.weights import WeightSyncError
from opid_lightning.types import Policy

PARITY_BOUNDS = {"float32": 0.01, "bfloat16": 0.5, "float16": 0.5}  # nats, mean over the probe
ARGUMENTS: Mapping[str, Any] = {
    "load_format": "dummy",  # so that nothing but a sync can make it answer rightly
    # Weak models would fill a response with the whitespace that JSON allows.
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    "logprobs_mode": "processed_logprobs",  # at the temperature that is sampled at
    "worker_extension_cls": EXTENSION,
    "enable_prefix_caching": True,
}


def check_ranges(
    max_batch: int, memory_share: float, cache_gib: float, parity_bound: float | None
) -> None:
    """Raises ValueError, naming the setting."""
    if max_batch < 1:
        raise ValueError(f"sampler.max_batch is {max_batch}, expected at least 1")
    if not 0 < memory_share < 1:
        raise ValueError(
            f"sampler.memory_share is {memory_share}, expected above 0 and below 1: a policy that "
            "trains on the device needs the rest of it"
        )
    if cache_gib <= 0:
        raise ValueError(f"sampler.cache_gib is {cache_gib}, expected above 0")
    if parity_bound is not None and parity_bound <= 0:
        raise ValueError(f"sampler.parity_bound is {parity_bound}, expected above 0")


def describe(policy: Policy, folder: Path) -> None:
    """All that vLLM reads of a policy. Its tokenizer is for schemas; token ids go in and out."""
    policy.model.config.save_pretrained(folder)  # type: ignore[operator,union-attr]
    policy.tokenizer.save_pretrained(folder)


def one_version(versions: Iterable[str]) -> int:
    """Of the weights that all tokens of a response were sampled with."""
    different = set(versions)
    if len(different) != 1:
        raise WeightSyncError(
            f"one response was sampled with the weights of versions {sorted(different)}: the "
            "weights changed while it was written"
        )
    return int(different.pop())
