"""Sampling by vLLM in processes of its own: servers that the run starts, or joins by URL."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import torch.distributed

from opid_lightning.lm.policy import stop_ids
from opid_lightning.protocols import Generation
from opid_lightning.sampling.vllm.settings import (
    PARITY_BOUNDS,
    check_ranges,
)
from opid_lightning.sampling.vllm_server import nccl
from opid_lightning.sampling.vllm_server.client import ServerClient
from opid_lightning.sampling.vllm_server.fleet import Fleet, Server
from opid_lightning.sampling.vllm_server.generation import OverHTTP
from opid_lightning.sampling.vllm_server.launch import own_processes
from opid_lightning.sampling.vllm_server.sync import FileTransfer, Transfer, Weights
from opid_lightning.sampling.vllm_server.traffic import Traffic
from opid_lightning.servers.health import CONNECTIONS
from opid_lightning.servers.vllm import DType, dtype_here, log_folder, memory_arguments
from opid_lightning.types import Policy
from opid_lightning.value_checks import LONGEST_S, check_range

_FLEETS: dict[str, Fleet] = {}  # for the life of the process: starting takes as long as a rollout


@atexit.register
def stop_servers() -> None:
    """Ends every server that this process started. The next `serving` starts afresh."""
    while _FLEETS:
        _FLEETS.popitem()[1].stop()


@dataclass(frozen=True)
class VLLMServer:
    """Servers that are started once and end with the process, or that others have started.

    `engine` holds further arguments of vLLM's server, `tensor_parallel_size` for example.
    """

    urls: tuple[str, ...] = ()  # servers to join; empty: the run starts its own
    num_servers: int | None = None  # servers to start; null: 1
    gpus: tuple[str, ...] = ()  # CUDA_VISIBLE_DEVICES of each; empty: they share the trainer's
    dtype: DType = "auto"  # precision of the engine; auto: bfloat16 on a GPU, float32 on a CPU
    max_batch: int = 256  # requests that run at the same time on a server
    # longest prompt and response together; null: the model's own limit
    max_positions: int | None = None
    memory_share: float = 0.4  # GPU: share of the device's memory; 0.9 on a GPU of its own
    cache_gib: float = 1.0  # CPU: size of the cache of keys and values
    # largest gap to the trainer's log-probs; null: 0.01 in float32, else 0.5
    parity_bound: float | None = None
    # how weights travel; auto: nccl between GPUs, else file
    transfer: Literal["auto", "file", "nccl"] = "auto"
    # folder of transfer=file, which all servers can read; null: a temporary one
    sync_folder: str | None = None
    log_folder: str | None = None  # where servers log; null: a new temporary folder
    start_timeout_s: float = 600.0  # time limit of a server's start
    answer_timeout_s: float = 1800.0  # time limit of a request, and of a step of a sync
    max_losses: int = 3  # so many losses in a row, without an answer in between, end the run
    engine: dict[str, Any] = field(default_factory=dict)  # further arguments of vLLM's server

    def __post_init__(self) -> None:
        check_ranges(
            self.max_batch, self.memory_share, self.cache_gib, self.parity_bound, self.max_positions
        )
        check_range("sampler.max_losses", self.max_losses, at_least=1)
        for name in ("start_timeout_s", "answer_timeout_s"):
            check_range(f"sampler.{name}", getattr(self, name), above=0, at_most=LONGEST_S)
        if self.sync_folder is not None:  # environments may change the working directory
            object.__setattr__(self, "sync_folder", os.path.abspath(self.sync_folder))
        self._check_whose_servers()

    def _check_whose_servers(self) -> None:
        check_range("sampler.num_servers", self.num_servers, at_least=1, or_null=True)
        mine = ("num_servers", "gpus", "log_folder", "max_positions", "engine")
        if self.urls and (given := [f"sampler.{name}" for name in mine if getattr(self, name)]):
            raise ValueError(
                f"sampler.urls names servers that run already, but {', '.join(given)} is for "
                "servers that the run starts: leave one or the other out"
            )
        if self.gpus and len(self.gpus) != self._num_own:
            raise ValueError(
                f"sampler.gpus has {len(self.gpus)} entries, expected one for each of "
                f"sampler.num_servers={self._num_own}"
            )

    @property
    def _num_own(self) -> int:
        return 0 if self.urls else self.num_servers or 1

    @contextmanager
    def serving(self, policy: Policy) -> Iterator[Generation]:
        """Raises WeightSyncError where a server does not have the policy's weights."""
        check_alone()
        way = self._way(policy)
        fleet = self._fleet(policy, way)
        start, restarts_before = time.perf_counter(), fleet.num_restarts
        bound = self.parity_bound or PARITY_BOUNDS[dtype_here(self.dtype)]
        with self._transfer(policy, way) as transfer:
            fleet.version += 1
            weights = Weights.of(policy, fleet.version, transfer, bound)
            parity = fleet.sync(weights)
            proof = {"sync_s": time.perf_counter() - start, "parity_gap_mean": parity.mean}
            traffic = Traffic(self.answer_timeout_s)
            generation = OverHTTP(
                fleet, weights, policy, stop_ids(policy), traffic, proof, restarts_before
            )
            try:
                yield generation
            finally:
                generation.close()

    def _way(self, policy: Policy) -> Literal["file", "nccl"]:
        is_on_gpu = next(policy.model.parameters()).is_cuda
        have_own_gpus = bool(self.urls or self.gpus)  # NCCL joins no GPU with itself
        if self.transfer == "nccl" and not (is_on_gpu and have_own_gpus):
            raise ValueError(
                "sampler.transfer=nccl sends weights from the trainer's GPU to others, but "
                + (
                    "the servers have none: set sampler.gpus"
                    if is_on_gpu
                    else "the policy is on CPU: set sampler.transfer=file"
                )
            )
        if self.transfer == "auto":
            return "nccl" if is_on_gpu and have_own_gpus else "file"
        return self.transfer

    def _transfer(self, policy: Policy, way: str) -> AbstractContextManager[Transfer]:
        if way == "nccl":
            return nullcontext(nccl.NcclTransfer(policy))
        return FileTransfer.of(policy, self.sync_folder)

    def _fleet(self, policy: Policy, way: str) -> Fleet:
        config = policy.model.config.to_json_string()  # type: ignore[operator,union-attr]
        key = f"{self} {config}"
        if key not in _FLEETS:
            fleet = Fleet(self._servers(policy, way), self.max_losses)
            fleet.start()
            _FLEETS[key] = fleet
        return _FLEETS[key]

    def _servers(self, policy: Policy, way: str) -> list[Server]:
        http = httpx.Client(timeout=httpx.Timeout(self.answer_timeout_s, connect=60), **CONNECTIONS)
        joined = {url.rstrip("/"): None for url in self.urls}
        own = (
            {}
            if self.urls
            else own_processes(
                policy, self._num_own, self._arguments(way), self.gpus, log_folder(self.log_folder)
            )
        )
        return [
            Server(ServerClient(url, http), process, self.start_timeout_s)
            for url, process in (joined | own).items()
        ]

    def _arguments(self, way: str) -> Mapping[str, Any]:
        return {
            "dtype": dtype_here(self.dtype),
            "max_num_seqs": self.max_batch,
            "max_model_len": self.max_positions,
            **memory_arguments(self.memory_share, self.cache_gib),
            **(nccl.ARGUMENT if way == "nccl" else {}),
            **self.engine,
        }


def check_alone() -> None:
    """Ranks would hand their weights over to the same servers at the same time."""
    num_ranks = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    if num_ranks > 1:
        raise ValueError(
            f"sampler=vllm_server serves one process, and there are {num_ranks}: sampler=vllm "
            "gives each of them an engine of its own; or set trainer.devices=1"
        )
