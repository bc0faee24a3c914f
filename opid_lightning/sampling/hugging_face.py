"""Sampling with transformers' `generate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opid_lightning.protocols import Generation
from opid_lightning.types import Policy


@dataclass
class HuggingFace:
    """Samples with transformers' `generate`, in batches that end together."""

    max_batch: int = 64

    @contextmanager
    def serving(self, policy: Policy) -> Iterator[Generation]:
        raise NotImplementedError
