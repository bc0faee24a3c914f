"""Importing Lightning without transformers, which it does not use."""

from __future__ import annotations

import importlib
import sys
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
