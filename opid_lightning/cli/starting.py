"""A start that is refused leaves nothing behind, and is refused before anything is loaded."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.utilities import rank_zero_only

from opid_lightning.cli.config.configuration import Configuration
from opid_lightning.cli.errors import UsageError
from opid_lightning.cli.run_lock import LOCK, missing, remove_empty, unwritable
from opid_lightning.lm.policy import locate
from opid_lightning.training.hooks import RolloutCallback
from opid_lightning.value_checks import LARGEST_SEED, check_range

MOST_NODES = 100_000  # more are not meant; Lightning takes them, and fails or waits


class FirstAttempt(RolloutCallback):
    """Notes that something has been played, by which a start has become a run."""

    def __init__(self) -> None:
        self.is_over = False

    def on_stage_progress(self, trainer: lightning.Trainer, stage: str, done: int) -> None:
        """Marks the start as over once the first attempt of a rollout has ended."""
        self.is_over = True


@contextmanager
def leaving_nothing(folder: Path, first_attempt: FirstAttempt) -> Iterator[None]:
    """Empties a new folder of a run that ends before anything was played in it.

    Who made the folder removes it; its lock is not ours.
    """
    is_new = not holdings(folder)
    try:
        yield
    except Exception:
        is_first: bool = rank_zero_only.rank == 0  # type: ignore[attr-defined]
        if is_new and is_first and not first_attempt.is_over:
            for each in holdings(folder):
                shutil.rmtree(each) if each.is_dir() else each.unlink()
        raise


def holdings(folder: Path) -> list[Path]:
    """What a folder holds besides the lock; empty where there is no folder."""
    return [each for each in folder.iterdir() if each.name != LOCK] if folder.is_dir() else []


def check_writable(folder: Path, setting: str) -> None:
    """Raises where no file can be made in it; leaves none, and no new folder."""
    made = missing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(folder, error, setting) from error
    finally:
        remove_empty(made)


def check_start(given: Any, configuration: Configuration) -> None:
    """Raises, naming the setting and its place, for what fails later, or waits for ever."""
    trainer = given["trainer"]
    check("trainer.num_nodes", trainer["num_nodes"], configuration, at_most=MOST_NODES)
    seed = given["seed_everything"]
    check("seed_everything", seed, configuration, at_least=0, at_most=LARGEST_SEED)
    check_accelerator(trainer["accelerator"], configuration)
    check_strategy(trainer["strategy"], configuration)
    check_policy(given["model"]["policy"]["path"], configuration)
    check_writable(Path(trainer["default_root_dir"]), "trainer.default_root_dir")


def check(name: str, value: Any, configuration: Configuration, **bounds: float) -> None:
    """Raises UsageError, with where the setting was set, for a value out of range."""
    try:
        check_range(name, value, **bounds)  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(configuration.located(str(error), name)) from error


def check_accelerator(name: Any, configuration: Configuration) -> None:
    """Raises where a GPU is asked for, and torch has none that it can use."""
    here = {"cuda": CUDAAccelerator.is_available(), "mps": MPSAccelerator.is_available()}
    if {**here, "gpu": any(here.values())}.get(str(name), True):
        return
    message = (
        f"trainer.accelerator is {str(name)!r}, but torch finds no such device here: set "
        "trainer.accelerator=cpu or auto. `python -m opid_lightning doctor` says what torch sees."
    )
    raise UsageError(configuration.located(message, "trainer.accelerator"))


def check_strategy(strategy: Any, configuration: Configuration) -> None:
    """Raises for the name under which Lightning has torch's older FullyShardedDataParallel."""
    if isinstance(strategy, str) and strategy in ("fsdp", "fsdp_cpu_offload"):
        message = f"trainer.strategy is {strategy!r}, which keeps sums of gradients in bfloat16"
        advice = f"{message}: take strategy=fsdp2, which shards the same."
        raise UsageError(configuration.located(advice, "trainer.strategy"))


def check_policy(path: str, configuration: Configuration) -> None:
    """Raises where there is nothing to load, or it cannot be fetched, before data is read."""
    try:
        locate(path)
    except ValueError as error:
        message = configuration.located(f"policy.path: {error}", "policy.path")
        raise UsageError(message) from error
