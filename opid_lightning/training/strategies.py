"""Strategies that share the parameters of policy, snapshot and reference out among ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy, Strategy
from torch.distributed.constants import default_pg_timeout
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.nn import Parameter
from torch.optim import Optimizer

from opid_lightning.files.atomic import DRAFT
from opid_lightning.lm.sharding import shard
from opid_lightning.ranks import Ranks
from opid_lightning.training.checkpoints.files import plain_values
from opid_lightning.training.checkpoints.shard_folders import (
    SHARDS_OF,
    check_sealed,
    replace_folder,
    seal,
)


@runtime_checkable
class Shards(Protocol):
    """A strategy under which `configure_model` has its models sharded."""

    def shard(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model with its parameters shared out among the ranks."""


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

    shards_of = "fsdp2"

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
        """Makes a device mesh for data parallelism alone."""
        # By itself, Lightning would split every tensor over the devices of a node.
        self._data_parallel_size = self.num_nodes * self.num_processes
        self._tensor_parallel_size = 1
        super().setup_environment()

    def _get_process_group_backend(self) -> str:
        if self.cpu_offload and self.root_device.type == "cuda" and not self.process_group_backend:
            return "cpu:gloo,cuda:nccl"  # norms of offloaded gradients are summed on the CPU
        return super()._get_process_group_backend()

    def shard(self, model: torch.nn.Module) -> torch.nn.Module:
        """Shards block by block; parameters are gathered in `parameter_dtype`."""
        precision = MixedPrecisionPolicy()
        if self.parameter_dtype:
            dtype = getattr(torch, self.parameter_dtype)
            precision = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
        return shard(model, self.device_mesh["data_parallel"], precision, self.cpu_offload)

    def model_to_device(self) -> None:
        """Moves the model, unless its shards stay on the CPU."""
        if not self.cpu_offload:  # else every block comes by itself, when it is needed
            super().model_to_device()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None
    ) -> None:
        """Writes shards into a draft folder, seals it with checksums, then replaces the old one."""
        if not self._save_distributed_checkpoint:
            super().save_checkpoint(checkpoint, filepath, storage_options)
            return
        path = Path(self.broadcast(filepath))
        checkpoint[SHARDS_OF] = self.shards_of
        draft = path.with_name(f"{DRAFT}{path.name}")
        super().save_checkpoint(checkpoint, draft, storage_options)
        self.barrier()
        seal(draft, ranks_in(self))
        if self.is_global_zero:
            replace_folder(path, draft)
        self.barrier()

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Weights and plain values alone, whatever the caller and the environment say."""
        check_fits(self, checkpoint_path)
        with self._policy_alone():
            return super().load_checkpoint(checkpoint_path, weights_only=True)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state of the policy's parameters; other models have none."""
        with self._policy_alone():
            return super().optimizer_state(optimizer)

    @contextmanager
    def _policy_alone(self) -> Iterator[None]:
        """Lightning counts every parameter; checkpoints hold those that are trained."""
        whole, self.model = self.model, PolicyAlone(self.model)
        try:
            yield
        finally:
            self.model = whole


class PolicyAlone(torch.nn.Module):
    """What OPIDModule trains, under the names of its state dict, without the other models."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.model = module.model
        self.names = module.state_dict().keys()

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The policy's entries of the module's state."""
        state = super().state_dict(*args, **kwargs)
        return {name: state[name] for name in self.names}

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, Parameter]]:
        """Those that are trained, in the order in which the optimizer counts them."""
        named = super().named_parameters(*args, **kwargs)
        return ((name, parameter) for name, parameter in named if parameter.requires_grad)


def check_fits(strategy: Strategy, checkpoint: str | Path) -> None:
    """Raises where it is damaged, holds more than plain values, or is of another policy."""
    if Path(checkpoint).is_dir():
        check_sealed(Path(checkpoint), ranks_in(strategy))
    values, module = plain_values(checkpoint), cast(Any, strategy.lightning_module)
    module.check_fits(values)


def ranks_in(strategy: Any) -> Ranks:
    """This process among those of the strategy."""
    return Ranks(strategy.global_rank, strategy.world_size)


def check_kept(strategy: Strategy) -> None:
    """Raises ValueError for Lightning's FSDPStrategy, under which nothing here is sharded."""
    if isinstance(strategy, FSDPStrategy):
        raise ValueError(
            "trainer.strategy is fsdp, torch's older FullyShardedDataParallel, which keeps rotary "
            "buffers and sums of gradients in bfloat16: take strategy=fsdp2, which shards the same"
        )
