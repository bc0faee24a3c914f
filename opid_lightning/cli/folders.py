"""In which folder a run writes, and which checkpoint it starts from.

runs/NAME/TIME/              config.yaml metrics.csv checkpoints/ trajectories/ wandb/
runs/NAME/TIME/VERB/TIME/    metrics.csv of `validate`, `test` or `predict` on that run
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from opid_lightning.cli.errors import UsageError

RUNS = Path("runs")
LAST = Path("checkpoints") / "last.ckpt"


@dataclass(frozen=True)
class Placement:
    """Where a run writes, and what it goes on from."""

    folder: Path
    checkpoint: str | None


def place(
    verb: str, name: str, asked: str | None, checkpoint: str | None, recorded: str | None
) -> Placement:
    """Where `verb` writes.

    Args:
        verb: `fit`, or one that evaluates.
        name: of the configuration.
        asked: `trainer.default_root_dir`, where it is set.
        checkpoint: `ckpt_path`; `last` is that of the folder asked for, or of the newest run.
        recorded: the folder of the run that `--config` repeats.

    Raises UsageError where two runs would be mixed, or there is nothing to go on from.
    """
    run = Path(asked) if asked else None
    if checkpoint == "last":
        run = run or (Path(recorded) if recorded else newest_run(RUNS / name))
        checkpoint = str(last_checkpoint(run))
    if verb == "fit":
        run = run or fresh(Path(recorded).parent if recorded else RUNS / name)
        refuse_to_mix(run, checkpoint)
        return Placement(run, checkpoint)
    return Placement(fresh((run or RUNS / name) / verb), checkpoint)


def newest_run(folder: Path) -> Path:
    checkpoints = sorted(folder.glob(f"*/{LAST}"), key=lambda path: path.stat().st_mtime)
    if not checkpoints:
        raise UsageError(
            f"ckpt_path=last: no run in {folder} has written {LAST} yet. Name the run's folder "
            "with trainer.default_root_dir=FOLDER, or leave ckpt_path out to start afresh."
        )
    return checkpoints[-1].parents[1]


def last_checkpoint(run: Path) -> Path:
    if not (run / LAST).is_file():
        raise UsageError(
            f"ckpt_path=last: there is no {run / LAST}. Leave ckpt_path out to start afresh."
        )
    return run / LAST


def fresh(parent: Path) -> Path:
    """A new folder named by the time of day."""
    folder = parent / time.strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{folder.name.split('.')[0]}.{number}")
    return folder


def refuse_to_mix(run: Path, checkpoint: str | None) -> None:
    """A second run may only go on with the first one's checkpoint, or write elsewhere."""
    goes_on = checkpoint is not None and Path(checkpoint).absolute().is_relative_to(run.absolute())
    if (run / "config.yaml").exists() and not goes_on:
        raise UsageError(
            f"{run} already holds a run. Go on with it by ckpt_path=last, or write elsewhere by "
            "another trainer.default_root_dir."
        )
