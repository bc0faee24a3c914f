"""Strategies that share the parameters of policy, snapshot and reference out among ranks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from lightning.pytorch.plugins.precision import FSDPPrecision
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy, Strategy
from torch.distributed.constants import default_pg_timeout
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy

from opid_lightning.lm.sharding import shard, wrap
from opid_lightning.whole_files import DRAFT


@runtime_checkable
class Shards(Protocol):
    """A strategy under which `configure_model` has its models sharded."""

    def shard(self, model: torch.nn.Module) -> torch.nn.Module: ...


class FSDP2(ModelParallelStrategy):
    """`fully_shard` over all ranks, on GPUs or CPUs.

    Args:
        save_distributed_checkpoint: write a folder with each rank's shards, which any number of
            ranks reads under this strategy, in place of one file, which every strategy reads and
            which rank 0 assembles in the host's memory.
        cpu_offload: keep parameters, gradients and the optimizer's state in the host's memory.
        parameter_dtype: in which blocks are gathered and computed; gradients are summed and the
            optimizer steps in float32 either way. Null: as they are, with `trainer.precision`
            alone deciding.
        process_group_backend: null is nccl on GPUs (with gloo where offloaded), gloo on CPUs.
        timeout: of a collective. Ranks wait for the slowest one's rollout.
    """

    def __init__(
        self,
        save_distributed_checkpoint: bool = False,
        cpu_offload: bool = False,
        parameter_dtype: Literal["bfloat16", "float16"] | None = None,
        process_group_backend: str | None = None,
        timeout: timedelta | None = default_pg_timeout,
    ) -> None:
        super().__init__(
            save_distributed_checkpoint=save_distributed_checkpoint,
            process_group_backend=process_group_backend,
            timeout=timeout,
        )
        self.cpu_offload = cpu_offload
        self.parameter_dtype = parameter_dtype

    def setup_environment(self) -> None:
        # By itself, Lightning would split every tensor over the devices of a node.
        self._data_parallel_size = self.num_nodes * self.num_processes
        self._tensor_parallel_size = 1
        super().setup_environment()

    def _get_process_group_backend(self) -> str:
        if self.cpu_offload and self.root_device.type == "cuda" and not self.process_group_backend:
            return "cpu:gloo,cuda:nccl"  # norms of offloaded gradients are summed on the CPU
        return super()._get_process_group_backend()

    def shard(self, model: torch.nn.Module) -> torch.nn.Module:
        precision = MixedPrecisionPolicy()
        if self.parameter_dtype:
            dtype = getattr(torch, self.parameter_dtype)
            precision = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
        return shard(model, self.device_mesh["data_parallel"], precision, self.cpu_offload)

    def model_to_device(self) -> None:
        if not self.cpu_offload:  # else every block comes by itself, when it is needed
            super().model_to_device()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None
    ) -> None:
        if not self._save_distributed_checkpoint:
            super().save_checkpoint(checkpoint, filepath, storage_options)
            return
        path = Path(self.broadcast(filepath))
        draft = path.with_name(f"{DRAFT}{path.name}")
        super().save_checkpoint(checkpoint, draft, storage_options)
        self.barrier()
        if self.is_global_zero:
            replace_folder(path, draft)
        self.barrier()

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Weights and plain values alone, whatever the caller and the environment say."""
        with self._policy_alone():
            return super().load_checkpoint(checkpoint_path, weights_only=True)

    @contextmanager
    def _policy_alone(self) -> Iterator[None]:
        """Lightning wants a value for every parameter; checkpoints hold those of the policy."""
        whole, self.model = self.model, torch.nn.Module()
        self.model.model = whole.model  # type: ignore[union-attr]
        try:
            yield
        finally:
            self.model = whole


class FSDP(FSDPStrategy):
    """FullyShardedDataParallel, the older of torch's two ways, for GPUs.

    Args:
        state_dict_type: `sharded` or `full`, as FSDP2's `save_distributed_checkpoint`.
        cpu_offload: keep parameters, gradients and the optimizer's state in the host's memory.
        sharding_strategy: what is shared out: FULL_SHARD parameters, gradients and the optimizer's
            state, SHARD_GRAD_OP all but parameters.
        timeout: of a collective. Ranks wait for the slowest one's rollout.
    """

    def __init__(
        self,
        state_dict_type: Literal["full", "sharded"] = "full",
        cpu_offload: bool = False,
        sharding_strategy: Literal["FULL_SHARD", "SHARD_GRAD_OP"] = "FULL_SHARD",
        timeout: timedelta | None = default_pg_timeout,
    ) -> None:
        super().__init__(
            state_dict_type=state_dict_type,
            cpu_offload=cpu_offload,
            sharding_strategy=sharding_strategy,
            timeout=timeout,
        )

    def _configure_launcher(self) -> None:
        self.check_device()
        self.precision_plugin = BatchesAsTheyAre(self.precision_plugin.precision)  # type: ignore[arg-type]
        super()._configure_launcher()

    def check_device(self) -> None:
        if self.root_device.type != "cuda":
            raise ValueError(
                f"strategy=fsdp needs CUDA, and trainer.accelerator gave {self.root_device.type}: "
                "take strategy=fsdp2, which shards on CPUs as well"
            )

    def shard(self, model: torch.nn.Module) -> torch.nn.Module:
        return wrap(
            model,
            init_device_mesh(self.root_device.type, (self.world_size,)),
            self.root_device,
            self.mixed_precision_config,
            self.cpu_offload,
            self.sharding_strategy,
        )


class BatchesAsTheyAre(FSDPPrecision):
    """Does not convert what comes from the data module: it is frozen, and float32 is meant."""

    def convert_input(self, data: Any) -> Any:
        return data


def replace_folder(path: Path, draft: Path) -> None:
    """Puts a finished folder in another's place. One of both is whole at any moment."""
    old = path.with_name(f".old-{path.name}")
    shutil.rmtree(old, ignore_errors=True)
    if path.is_dir():
        path.rename(old)
    elif path.exists():
        path.unlink()
    draft.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def check_reads(strategy: Strategy, checkpoint: str | None) -> None:
    """Raises where a checkpoint of shards meets a strategy that knows none."""
    if checkpoint and Path(checkpoint).is_dir() and not isinstance(strategy, FSDP2 | FSDP):
        raise ValueError(
            f"{checkpoint} is a folder of shards, which {type(strategy).__name__} cannot read: "
            "add strategy=fsdp2, with any trainer.devices, also 1. To write one file that every "
            "strategy reads, train with trainer.strategy.save_distributed_checkpoint=false"
        )
