"""In which folder a run writes, and which checkpoint it starts from.

runs/NAME/TIME/              config.yaml metrics.csv checkpoints/ trajectories/ wandb/
runs/NAME/TIME/VERB/TIME/    metrics.csv of `validate`, `test` or `predict` on that run

Checkpoints may lie elsewhere (`callbacks.checkpoint.dirpath`); then `checkpoint_folders.txt` says
where.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from opid_lightning.cli.checkpoint_folders import CHECKPOINTS, checkpoint_folders
from opid_lightning.cli.errors import UsageError
from opid_lightning.files.checksums import SHARDS_METADATA
from opid_lightning.training.checkpoints.files import (
    ReadableCheckpoint,
    content,
    newest_checkpoint,
    newest_readable,
)

RUNS = Path("runs")


@dataclass(frozen=True)
class Placement:
    """Where a run writes, and what it resumes from."""

    folder: Path
    checkpoint: str | None
    note: str = ""  # for the user, where `ckpt_path=last` was asked for
    is_new: bool = False  # whether the folder is named by the time of day

    def absolute(self) -> Placement:
        """The same wherever an environment changes the working directory to."""
        checkpoint = self.checkpoint
        if checkpoint is not None and "://" not in checkpoint:
            checkpoint = str(Path(checkpoint).absolute())
        return replace(self, folder=self.folder.absolute(), checkpoint=checkpoint)


def place(
    verb: str, name: str, asked: str | None, checkpoint: str | None, recorded: str | None
) -> Placement:
    """Where `verb` writes.

    Args:
        verb: `fit`, or one that evaluates.
        name: of the configuration.
        asked: `trainer.default_root_dir`, where it is set.
        checkpoint: `ckpt_path`; `last` is that of the folder asked for, or of the newest run. A
            job that always says so has `fit` start from the beginning where there is none yet.
        recorded: the folder of the run that `--config` repeats.

    Raises UsageError where two runs would be mixed, or there is nothing to resume from.
    """
    run = Path(asked) if asked else None
    if checkpoint == "last":
        run = run or (Path(recorded) if recorded else newest_run(RUNS / name))
        if verb == "fit":
            return placed_last(run, may_start=bool(asked or recorded))
        checkpoint = placed_last(run, may_start=False).checkpoint
    if verb == "fit":
        is_new, run = not run, run or fresh(Path(recorded).parent if recorded else RUNS / name)
        refuse_to_mix(run, checkpoint)
        refuse_missing(checkpoint)
        return Placement(run, checkpoint, is_new=is_new)
    refuse_missing(checkpoint)
    return Placement(fresh((run or RUNS / name) / verb), checkpoint, is_new=True)


def newest_run(folder: Path) -> Path:
    """The run in `folder` with the newest checkpoint; raises UsageError where there is none."""
    written = {
        path: run
        for run in folder.glob("*")
        for place in checkpoint_folders(run)
        for path in place.glob("[!.]*.ckpt")
    }
    if not written:
        raise UsageError(
            f"ckpt_path=last: no run in {folder} has written a checkpoint yet. Name the run's "
            "folder with trainer.default_root_dir=FOLDER, or leave ckpt_path out to start afresh."
        )
    return written[max(written, key=lambda path: path.lstat().st_mtime)]


def placed_last(run: Path, may_start: bool) -> Placement:
    """Resumes from the newest readable checkpoint of a run."""
    found, complaints = newest_of(run)
    if found:
        number = found.iterations
        note = f"ckpt_path=last: resuming from {found.path}, after iteration {number}."
        return Placement(run, str(found.path), " ".join([note, *complaints]))
    if complaints:
        raise UsageError(
            f"ckpt_path=last: no checkpoint can be read. {' '.join(complaints)} Put a copy of one "
            f"into {run / CHECKPOINTS}, or start again with another trainer.default_root_dir."
        )
    if may_start:
        note = f"ckpt_path=last: {run} has no checkpoint yet; starting from the beginning."
        return Placement(run, None, note)
    raise UsageError(
        f"ckpt_path=last: there is no checkpoint in {run / CHECKPOINTS}. Leave ckpt_path out to "
        "evaluate the policy as it is before training."
    )


def newest_of(run: Path) -> tuple[ReadableCheckpoint | None, list[str]]:
    """What a run resumes from, wherever it wrote, and what is wrong with others."""
    places = [newest_checkpoint(folder) for folder in checkpoint_folders(run)]
    found = [newest for newest, _ in places if newest]
    newest = max(found, key=lambda each: (each.written_at, each.iterations), default=None)
    return newest, [complaint for _, complaints in places for complaint in complaints]


def kept_of(verb: str, run: Path) -> str:
    """What a run keeps that is ended now, and how it is resumed."""
    if verb != "fit":
        return f"An evaluation is not resumed: run {verb} again."
    # Weights are not read for a sentence; who resumes checks them.
    found = [newest_readable(folder, {}) for folder in checkpoint_folders(run)]
    newest = max(filter(None, found), key=lambda each: each.written_at, default=None)
    resume = f"Resume with the same command and trainer.default_root_dir={run} ckpt_path=last."
    if newest is None:
        return f"No iteration was finished, so that the run begins anew. {resume}"
    return (
        f"Kept: the checkpoint after iteration {newest.iterations} ({newest.path}), the metrics "
        "up to it, and all analyses that were paid for. What was begun of the next iteration is "
        f"played again. {resume}"
    )


def fresh(parent: Path) -> Path:
    """A new folder named by the time of day."""
    folder = parent / time.strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{folder.name.split('.')[0]}.{number}")
    return folder


def refuse_missing(checkpoint: str | None) -> None:
    """Raises UsageError where `ckpt_path` is no file, folder of shards or known store."""
    if checkpoint is None:
        return
    if "://" in checkpoint:  # which Lightning reads by fsspec
        refuse_unknown_store(checkpoint)
    elif not Path(checkpoint).exists():
        raise UsageError(
            f"ckpt_path={checkpoint}: there is no such checkpoint. Expected a file, a folder of "
            "shards, or last."
        )
    elif Path(checkpoint).is_dir() and not content(Path(checkpoint)).is_file():
        raise UsageError(
            f"ckpt_path={checkpoint} is a folder, but not one of shards (it has no "
            f"{SHARDS_METADATA}). Expected a checkpoint; of a run's folder take the newest one by "
            f"trainer.default_root_dir={checkpoint} ckpt_path=last."
        )


def refuse_unknown_store(checkpoint: str) -> None:
    """Raises UsageError for a URL whose scheme fsspec cannot read here."""
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    try:
        url_to_fs(checkpoint)
    except (ImportError, ValueError) as error:
        raise UsageError(f"ckpt_path={checkpoint} cannot be read: {error}.") from error


def refuse_to_mix(run: Path, checkpoint: str | None) -> None:
    """A second run may only resume from the first one's checkpoint, or write elsewhere."""
    own = [run.absolute(), *(folder.absolute() for folder in checkpoint_folders(run))]
    resumes = checkpoint is not None and any(map(Path(checkpoint).absolute().is_relative_to, own))
    if (run / "config.yaml").exists() and not resumes:
        raise UsageError(
            f"{run} already holds a run. Resume it with ckpt_path=last, or write elsewhere with "
            "another trainer.default_root_dir."
        )
