"""What the Trainer is given besides its own settings: callbacks, loggers, plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities.model_helpers import is_overridden

from opid_lightning.cli.config.configuration import Configuration
from opid_lightning.cli.errors import UsageError
from opid_lightning.training.checkpoints.files import CheckpointFiles

OF_TRAINERS = (ArithmeticError, ImportError, LookupError, TypeError, ValueError)


def made_loggers(
    makers: Mapping[str, Callable[[str], Logger]], folder: str, configuration: Configuration
) -> list[Logger]:
    """Each is given the run's folder; raises UsageError, naming the one that cannot be made."""
    found = []
    for name, make in makers.items():
        try:
            found.append(make(folder))
        except (*OF_TRAINERS, MisconfigurationException) as error:
            reason = str(error)
            if isinstance(error, TypeError):
                reason += "; expected a class whose first argument is the run's folder"
            key = f"logger.{name}"
            raise UsageError(configuration.located(f"{key}: {reason}.", key)) from error
    return found


def refuse_twins(callbacks: Mapping[str, lightning.Callback]) -> None:
    """A checkpoint keeps callbacks' states by class, and of some also by settings."""
    named: dict[str, str] = {}
    for name, callback in callbacks.items():
        other = named.setdefault(callback.state_key, name)
        if other != name and is_overridden("state_dict", callback, lightning.Callback):
            raise UsageError(
                f"callbacks.{other} and callbacks.{name} are both {type(callback).__name__} with "
                "settings by which a checkpoint cannot tell them apart: remove one of them."
            )


def with_checkpoint_files(plugins: Any) -> list[Any]:
    """The plugins that were asked for, and ours unless one of them writes checkpoints itself."""
    asked = [] if plugins is None else plugins if isinstance(plugins, list) else [plugins]
    is_given = any(isinstance(plugin, CheckpointIO) for plugin in asked)
    return asked if is_given else [*asked, CheckpointFiles()]
