"""Warnings of a run: each kind is given once, however its text changes."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import lightning


class FirstWarnings:
    """Logs the first warning of each kind on rank 0, with the iteration that it is of."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._kinds: set[str] = set()

    def give(self, trainer: lightning.Trainer, iteration: int, found: Mapping[str, str]) -> None:
        """`found` has a text for each kind that was noticed."""
        for kind, text in found.items():
            if kind not in self._kinds and trainer.is_global_zero:
                self._kinds.add(kind)
                self._log.warning("iteration %d: %s", iteration, text)
