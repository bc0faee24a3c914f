"""Weights on their way to servers, and the proof that they arrived and are at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from opid_lightning.files.temporary_folder import temporary_folder
from opid_lightning.sampling.vllm_server.client import START_LINE, ServerClient, ServerRefusedError
from opid_lightning.sampling.weights import (
    Manifest,
    Parity,
    WeightSyncError,
    check_parity,
    check_received,
    from_json,
    manifest_of,
    probe_ids,
    trainer_logprobs,
    weights_of,
)
from opid_lightning.types import Policy, TokenIds


@runtime_checkable
class Transfer(Protocol):
    """How weights reach a server that is paused."""

    def send(self, client: ServerClient) -> None:
        """Raises WeightSyncError where it did not receive all of them."""


@dataclass(frozen=True)
class Weights:
    """One version of the policy, ready to be handed to any server, also to one that comes later."""

    version: int
    transfer: Transfer
    probe: TokenIds
    expected: Float[Tensor, " L"]  # the trainer's log-probs of the probe
    bound: float

    @classmethod
    def of(cls, policy: Policy, version: int, transfer: Transfer, bound: float) -> Weights:
        """The policy's weights under a version, with the log-probs that prove them."""
        ids = probe_ids(policy.model.config.vocab_size)  # type: ignore[union-attr,arg-type]
        return cls(version, transfer, ids, trainer_logprobs(policy, ids), bound)

    def push(self, client: ServerClient) -> Parity:
        """Leaves a server that fails the proof paused, so that nobody samples from it."""
        client.post("/pause")
        self.transfer.send(client)
        if not client.post("/reset_prefix_cache")["success"]:
            raise WeightSyncError(
                f"{client.url} did not drop the keys and values of older weights, because "
                "requests still hold them: another run may be using it"
            )
        client.post("/update_weight_version", {"new_version": str(self.version)})
        client.post("/resume")
        found, version = client.logprobs(self.probe)
        if version != str(self.version):
            raise WeightSyncError(
                f"{client.url} answers with weights of version {version}, but was given version "
                f"{self.version}: it did not take them, or another run syncs it too"
            )
        return check_parity(self.expected, found, self.bound, client.url)


@dataclass(frozen=True)
class FileTransfer:
    """Through a safetensors file that trainer and servers both see."""

    path: Path
    sent: Manifest

    @classmethod
    @contextmanager
    def of(cls, policy: Policy, folder: str | None) -> Iterator[FileTransfer]:
        """For as long as the block lasts: a server that is restarted meanwhile needs it again."""
        from safetensors.torch import save_file

        with temporary_folder(folder) as place:
            path = place / "weights.safetensors"
            # Tied tensors share memory, which the format refuses, and servers want both.
            save_file({name: tensor.clone() for name, tensor in weights_of(policy)}, path)
            yield cls(path, manifest_of(weights_of(policy)))

    def send(self, client: ServerClient) -> None:
        """Has the server read the file; raises WeightSyncError where it read something else."""
        order = {"method": "receive_file", "args": [str(self.path)]}
        try:
            answers = client.post("/collective_rpc", order)["results"]
        except ServerRefusedError as refusal:
            raise WeightSyncError(self._explained(client.url, refusal)) from refusal
        for received in answers:
            check_received(self.sent, from_json(received), client.url)

    def _explained(self, url: str, refusal: ServerRefusedError) -> str:
        if "no attribute" in refusal.text and "receive_file" in refusal.text:
            return f"{url} cannot receive weights. Start it with: {START_LINE}"
        if "No such file" in refusal.text:
            return (
                f"{url} does not see {self.path}: set sampler.sync_folder to a folder that the "
                "trainer and all servers see under the same path"
            )
        return f"{url} did not take the policy's weights: {refusal}"
