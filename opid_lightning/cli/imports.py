"""Importing Lightning without transformers, which it does not use, and without advertisements."""

from __future__ import annotations

import importlib
import logging
import re
import sys
import warnings
from types import ModuleType


class Absent(ModuleType):
    """Any name can be imported from it."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def import_lightning() -> None:
    """Lightning imports torchmetrics, which for its BERT and CLIP scores loads the models of
    transformers: a second that `--help` and every typing error would wait for.
    """
    if "transformers" in sys.modules or "lightning" in sys.modules:
        return
    sys.modules["transformers"] = Absent("transformers")
    try:
        importlib.import_module("lightning")
    finally:
        del sys.modules["transformers"]


def quieten_libraries() -> None:
    """Drops advertisements, and warnings about what is meant to be so."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        # Of a run with nothing left to do, which `resuming` says.
        lambda record: not re.search("litlogger|No training batches", record.getMessage())
    )
    for message in (
        r"`isinstance\(treespec, LeafSpec\)`",  # between Lightning 2.6 and torch 2.13
        "Checkpoint directory .* exists and is not empty",  # of a run that goes on
        "Total length of `.*` across ranks is zero",  # of a run with nothing left to do
        "The '.*_dataloader' does not have many workers",  # loaders over what lies in memory
        "It is recommended to use `self.log.*sync_dist",  # vLLM makes a process group of one
    ):
        warnings.filterwarnings("ignore", message)
