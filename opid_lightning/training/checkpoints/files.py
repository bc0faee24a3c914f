"""Checkpoints on disk: written as a whole, read as weights and plain values, found again."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from opid_lightning.files.atomic import DRAFT, atomic_write
from opid_lightning.files.checksums import (
    SHARDS_METADATA,
    DamagedError,
    check_plain_values,
    check_whole,
)

LAST = "last.ckpt"


class CheckpointFiles(TorchCheckpointIO):
    """Never leaves half a checkpoint under its name, and runs no code that one may hold.

    Lightning's own write goes through memory, and does not wait for the disk.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Writes the file whole or not at all; raises ValueError where there is no room."""
        if "://" in str(path):  # an object store, which keeps whole objects only
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        sweep(Path(path).parent)
        try:
            with atomic_write(Path(path), "wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            reason = error if isinstance(error, OSError) else error.__context__
            if not isinstance(reason, OSError):
                raise
            raise ValueError(
                f"The checkpoint {path} cannot be written: {reason}. The one before it is as it "
                "was: make room on the disk, and go on with ckpt_path=last."
            ) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Weights and plain values alone, whatever the caller and the environment say.

        Raises ValueError where a checksum differs: one wrong bit would be trained on.
        """
        try:
            if "://" not in str(path):
                check_whole(Path(path))
            checkpoint = super().load_checkpoint(path, map_location, weights_only=True)
            check_form(checkpoint)
            return checkpoint
        except UNREADABLE as error:
            raise ValueError(f"{why_unreadable(path, error)} {ADVICE}") from error


def check_readable(path: Path) -> None:
    """Raises ValueError for one that differs from what was written."""
    try:
        check_whole(path)
    except DamagedError as error:
        raise ValueError(f"{why_unreadable(path, error)} {ADVICE}") from error


def plain_values(path: str | Path) -> dict[str, Any]:
    """What a checkpoint holds, of a folder of shards what is no tensor; weights stay on disk.

    Raises ValueError for one that holds more than weights and plain values.
    """
    try:
        values: dict[str, Any] = load_plain(Path(path))
    except UNREADABLE as error:
        raise ValueError(f"{why_unreadable(path, error)} {ADVICE}") from error
    return values


def load_plain(path: Path) -> Any:
    """Weights and plain values, memory-mapped on the CPU; refuses anything that could run code."""
    check_plain_values(path)
    values = torch.load(content(path), map_location="cpu", mmap=True, weights_only=True)
    check_form(values)
    return values


class ForeignError(Exception):
    """A file that torch reads, and `fit` did not write."""


def check_form(values: object) -> None:
    """Raises ForeignError for what no training of Lightning's wrote."""
    if not isinstance(values, dict):
        raise ForeignError(f"it holds a {type(values).__name__}")
    try:
        is_known = isinstance(progress(values)["processed"], int)
    except (LookupError, TypeError):
        is_known = False
    if not is_known:
        held = ", ".join(map(str, list(values)[:MAX_LISTED])) or "nothing"
        raise ForeignError(f"it lacks the loops of a training, and holds {held}")


# Refused or broken for torch.load; of something else than a run.
UNREADABLE = (DamagedError, ForeignError, pickle.UnpicklingError, RuntimeError, EOFError)
MAX_LISTED = 4
ADVICE = "Resume from another one, or with ckpt_path=last from the newest that can be read."


def why_unreadable(path: str | Path, error: Exception) -> str:
    """Whether a checkpoint is damaged or holds what is not read, in a sentence."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, pickle.UnpicklingError):
        return (
            f"The checkpoint {path} is not read: it holds more than weights and plain values, "
            f"which could run any code, or it is none at all ({reason})."
        )
    if isinstance(error, ForeignError):
        return (
            f"The file {path} is no checkpoint of a run ({reason}). Weights alone are loaded by "
            "policy.path=FOLDER, in Hugging Face format."
        )
    return f"The checkpoint {path} is damaged ({reason})."


def sweep(folder: Path) -> None:
    """Removes what killed processes had begun to write there."""
    for draft in folder.glob(f"{DRAFT}*.ckpt"):
        if draft.is_dir():
            shutil.rmtree(draft)
        else:
            draft.unlink(missing_ok=True)


@dataclass(frozen=True)
class ReadableCheckpoint:
    """A checkpoint that can be read."""

    path: Path
    iterations: int  # finished ones
    written_at: int  # ns


def newest_checkpoint(folder: Path) -> tuple[ReadableCheckpoint | None, list[str]]:
    """What a run resumes from, and what is wrong with those that would have come before it.

    That is `last.ckpt`, unless the run was killed after it had written a checkpoint of more
    iterations and before it had given it that name, or one of them is damaged.
    """
    complaints: dict[Path, str] = {}  # by file: `last.ckpt` is another name of one
    while newest := newest_readable(folder, complaints):
        try:
            check_whole(newest.path)
        except DamagedError as error:
            complaints[newest.path.resolve()] = why_unreadable(newest.path, error)
        else:
            break
    return newest, list(complaints.values())


def newest_readable(folder: Path, complaints: dict[Path, str]) -> ReadableCheckpoint | None:
    """By its plain values; adds what is wrong with others, and leaves out those known as such."""
    newest: ReadableCheckpoint | None = None
    for path in sorted(folder.glob("[!.]*.ckpt"), key=lambda path: path.name != LAST):
        if path.resolve() in complaints:
            continue
        try:
            if newest and newest.path.name == LAST and written_at(path) <= newest.written_at:
                continue
            found = read(path)
        except FileNotFoundError:
            continue  # the name `last.ckpt`, linked to one that was about to be replaced
        except UNREADABLE as error:
            complaints[path.resolve()] = why_unreadable(path, error)
        else:
            newest = found if newest is None else later_of(newest, found)
    return newest


def later_of(one: ReadableCheckpoint, other: ReadableCheckpoint) -> ReadableCheckpoint:
    """Of a name that says `last`, only one that is ahead in iterations and in time is later.

    Times alone could be those of a copy of the folder, iterations alone of an abandoned branch.
    """
    if one.path.name == LAST:
        return other if other.iterations > one.iterations else one
    return max(one, other, key=lambda found: (found.written_at, found.iterations))


def read(path: Path) -> ReadableCheckpoint:
    """How far it is; the weights stay on disk."""
    return ReadableCheckpoint(path, progress(load_plain(path))["processed"], written_at(path))


def content(path: Path) -> Path:
    """The file that is read: the checkpoint itself, or the metadata of its shards."""
    return path / SHARDS_METADATA if path.is_dir() else path


def written_at(path: Path) -> int:
    """When the checkpoint was written, in nanoseconds."""
    return content(path).stat().st_mtime_ns


def progress(checkpoint: Mapping[str, Any]) -> dict[str, int]:
    """Iterations begun (`ready`), trained (`processed`) and logged (`completed`)."""
    current: dict[str, int] = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
    return current


def check_resumes(
    checkpoint: Mapping[str, Any], max_epochs: int | None, max_steps: int = -1
) -> None:
    """Raises for one that `fit` cannot go on from."""
    check_ends_an_iteration(checkpoint)
    if "lr_schedulers" not in checkpoint:
        raise ValueError(
            "The checkpoint holds weights alone (save_weights_only=true), and not the optimizer's "
            "state: resume from one that callbacks.checkpoint wrote without it, or start a new run "
            "from the weights: export the checkpoint and set policy.path to the folder."
        )
    finished = progress(checkpoint)["processed"]
    if max_epochs is not None and 0 <= max_epochs < finished:
        raise ValueError(
            f"trainer.max_epochs is {max_epochs}, but the checkpoint is of iteration {finished}: "
            "raise it to train further, or resume from an earlier checkpoint."
        )
    taken, of_last = steps_taken(checkpoint)
    if 0 <= max_steps <= taken - of_last and of_last:
        raise ValueError(
            f"trainer.max_steps is {max_steps}, but the checkpoint is of {taken} optimizer steps, "
            f"{of_last} of them in its last iteration: raise it to train further, or resume from "
            "an earlier checkpoint."
        )


def steps_taken(checkpoint: Mapping[str, Any]) -> tuple[int, int]:
    """Optimizer steps, and how many of them the last iteration took."""
    loop = checkpoint["loops"]["fit_loop"]["epoch_loop.automatic_optimization.optim_progress"]
    steps = loop["optimizer"]["step"]
    return checkpoint["global_step"], steps["current"]["completed"]


def nothing_left(checkpoint: Mapping[str, Any], max_epochs: int | None, max_steps: int) -> str:
    """What to say where a run that resumes from it is over; else empty."""
    limits = {
        "max_epochs": (max_epochs, progress(checkpoint)["processed"], "iteration"),
        "max_steps": (max_steps, checkpoint["global_step"], "optimizer step"),
    }
    for name, (limit, done, unit) in limits.items():
        if limit is not None and 0 <= limit <= done:
            return (
                f"Nothing left to do: the checkpoint is of {unit} {done}, and trainer.{name} is "
                f"{limit}. Raise it to train further."
            )
    return ""


def check_ends_an_iteration(checkpoint: Mapping[str, Any]) -> None:
    """Raises for one amid an iteration: the rest of its rollouts is lost."""
    begun, trained = progress(checkpoint)["ready"], progress(checkpoint)["processed"]
    if begun != trained:
        raise ValueError(
            f"The checkpoint was written amid iteration {begun}, whose rollouts it does not hold: "
            "resume from one of the end of an iteration, as callbacks.checkpoint writes them "
            "(opid_lightning.callbacks.IterationCheckpoint, or Lightning's ModelCheckpoint with "
            "every_n_epochs and save_on_train_epoch_end=true)."
        )
