"""Weights sent to servers from GPU to GPU, by vLLM's own transfer over NCCL.

Reviewed against vLLM 0.32's source, not run: there was no GPU to run it on. Names, shapes and
dtypes are those that the server is told, and vLLM refuses what does not fit its model; that the
contents arrived is shown by the probe alone.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from opid_lightning.sampling.vllm_server.client import ServerClient, ServerRefusedError
from opid_lightning.sampling.weights import WeightSyncError, weights_of
from opid_lightning.servers.process import free_port
from opid_lightning.types import Policy

ARGUMENT = {"weight_transfer_config": {"backend": "nccl"}}  # of the server


@dataclass(frozen=True)
class NcclTransfer:
    """Joins trainer and server in a group for each sync: a restarted server needs another one."""

    policy: Policy

    def send(self, client: ServerClient) -> None:
        """Joins the server in a group over NCCL and sends all tensors, GPU to GPU."""
        from vllm.distributed.weight_transfer.nccl_engine import (
            NCCLTrainerInitInfo,
            NCCLTrainerWeightTransferEngine,
        )

        meeting = NCCLTrainerInitInfo(
            master_address=address_towards(client.url),
            master_port=free_port(),
            world_size=1 + client.get("/get_world_size")["world_size"],
            rank=0,
        )
        try:
            # The group is joined by the current device, which is each thread's own.
            with torch.cuda.device(next(self.policy.model.parameters()).device):
                link = NCCLTrainerWeightTransferEngine.trainer_init(
                    meeting, client=Control(client), source=Source(self.policy)
                )
                try:
                    link.send_weights()
                finally:
                    link.shutdown()
            client.post("/shutdown_weight_transfer_engine")
        except ServerRefusedError as refusal:
            raise WeightSyncError(
                f"{client.url} did not take the policy's weights over NCCL: {refusal}. It must be "
                """started with --weight-transfer-config '{"backend": "nccl"}'; """
                "sampler.transfer=file goes without NCCL"
            ) from refusal


@dataclass(frozen=True)
class Source:
    """What vLLM calls a WeightSource: what will come, and then the same in the same order."""

    policy: Policy

    def metadata(self) -> list[Any]:
        """Name, dtype and shape of each tensor, in the order sent."""
        from vllm.distributed.weight_transfer.base import ParamMeta

        return [ParamMeta(name, w.dtype, tuple(w.shape)) for name, w in weights_of(self.policy)]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return weights_of(self.policy)


@dataclass(frozen=True)
class Control:
    """What vLLM calls a VLLMWeightSyncClient; calls come from threads of its own."""

    client: ServerClient

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Tells the server where the group meets."""
        self.client.post("/init_weight_transfer_engine", {"init_info": init_info})

    def start_weight_update(self) -> None:
        """Has the server stop serving until the update is finished."""
        self.client.post("/start_weight_update")

    def update_weights(self, update_info: Any) -> None:
        """Announces the tensors that come next."""
        self.client.post("/update_weights", {"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Has the server serve again with the new weights."""
        self.client.post("/finish_weight_update", {"weight_version": weight_version})


def address_towards(url: str) -> str:
    """This machine's address as the server at `url` sees it."""
    place = urlsplit(url)
    port = place.port or (443 if place.scheme == "https" else 80)
    with socket.create_connection((place.hostname, port), timeout=10) as connection:
        address: str = connection.getsockname()[0]
        return address
