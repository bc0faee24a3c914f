"""What vLLM's workers are taught: to say which weights they were given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from opid_lightning.sampling.weights import TensorRecord, as_json

EXTENSION = "opid_lightning.sampling.vllm.worker.WeightReceiver"  # worker_extension_cls


class WeightReceiver:
    """Mixed into vLLM's worker, which has `reload_weights`; called by `collective_rpc`."""

    def receive_weights(self, weights: Iterable[tuple[str, Tensor]]) -> dict[str, dict[str, Any]]:
        """Loads named tensors in the format of a checkpoint; returns the manifest of them."""
        received: dict[str, TensorRecord] = {}

        def recorded() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in weights:
                received[name] = TensorRecord.of(tensor)
                yield name, tensor

        self.reload_weights(weights_iterator=recorded(), is_checkpoint_format=True)  # type: ignore[attr-defined]
        return as_json(received)

    def receive_file(self, path: str) -> dict[str, dict[str, Any]]:
        """The same from a safetensors file."""
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            return self.receive_weights((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118
