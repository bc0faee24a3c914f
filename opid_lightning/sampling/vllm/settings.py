"""What an engine in the process and engines in servers have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opid_lightning.lm.forward.padded_words import padded_ids
from opid_lightning.sampling.vllm.worker import EXTENSION
from opid_lightning.sampling.weights import WeightSyncError
from opid_lightning.types import Policy
from opid_lightning.value_checks import check_range

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
    max_batch: int,
    memory_share: float,
    cache_gib: float,
    parity_bound: float | None,
    max_positions: int | None,
) -> None:
    """Raises ValueError, naming the setting."""
    check_range("sampler.max_batch", max_batch, at_least=1)
    hint = "a policy that trains on the device needs the rest of it"
    check_range("sampler.memory_share", memory_share, above=0, below=1, hint=hint)
    check_range("sampler.cache_gib", cache_gib, above=0)
    check_range("sampler.parity_bound", parity_bound, above=0, or_null=True)
    check_range("sampler.max_positions", max_positions, at_least=1, or_null=True)


def check_one_device(engine: Mapping[str, Any]) -> None:
    """Raises ValueError where an engine in this process would wait for workers elsewhere."""
    sizes = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    for name in sizes:
        if engine.get(name, 1) != 1:
            raise ValueError(
                f"sampler.engine.{name} is {engine[name]!r}, but the engine of sampler=vllm lives "
                "in the trainer's process and has one device: take sampler=vllm_server, whose "
                "servers span several, or leave the setting out"
            )


def unsaid(policy: Policy) -> dict[int, float] | None:
    """The bias that keeps vLLM from sampling rows of the head that no word has."""
    return dict.fromkeys(padded_ids(policy.model), -100.0) or None


def one_version(versions: Iterable[str]) -> int:
    """Of the weights that all tokens of a response were sampled with."""
    different = set(versions)
    if len(different) != 1:
        raise WeightSyncError(
            f"one response was sampled with the weights of versions {sorted(different)}: the "
            "weights changed while it was written"
        )
    return int(different.pop())
