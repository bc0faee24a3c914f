"""Switches of Lightning's Trainer that contradict the callbacks and loggers of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar

from opid_lightning.cli.config.configuration import Configuration
from opid_lightning.cli.errors import UsageError

SWITCHED = {"enable_checkpointing": Checkpoint, "enable_progress_bar": ProgressBar}


def check_switches(
    configuration: Configuration, trainer: Mapping[str, Any], callbacks: Mapping[str, Callback]
) -> None:
    """Raises where the Trainer would refuse to be built, in words about other classes."""
    if trainer["barebones"]:
        raise UsageError(
            configuration.located(
                "trainer.barebones is True; expected False: a run without metrics, checkpoints "
                "and evaluations would leave nothing behind. To save time, take callbacks away "
                "by ~callbacks.NAME.",
                "trainer.barebones",
            )
        )
    for name, kind in SWITCHED.items():
        found = [key for key, callback in callbacks.items() if isinstance(callback, kind)]
        if trainer[name] is False and found:
            removed = " ".join(f"~callbacks.{key}" for key in found)
            raise UsageError(
                configuration.located(
                    f"trainer.{name} is False, but there is callbacks.{found[0]}. Leave it at "
                    f"true, or take that away, too, by {removed}.",
                    f"trainer.{name}",
                )
            )
