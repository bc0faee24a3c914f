"""Where a run's checkpoints lie: in its folder, or where its callbacks were told to put them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from opid_lightning.cli.errors import UsageError
from opid_lightning.files.atomic import atomic_write

CHECKPOINTS = "checkpoints"
LIST = "checkpoint_folders.txt"  # a line each, in a run's folder; inside it relative to it


def checkpoint_folders(run: Path) -> list[Path]:
    """All in which it may have written."""
    listed = listed_in(run / LIST) if (run / LIST).exists() else []
    return [run / name for name in dict.fromkeys([CHECKPOINTS, *listed])]


def listed_in(file: Path) -> list[str]:
    """Raises UsageError for what cannot be paths."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        for line in lines:
            check_path(line)
    except (ValueError, OSError) as error:
        raise UsageError(
            f"{file} is damaged ({error}). It lists the folders of the run's checkpoints, one a "
            "line: write them again, or remove it where they are all in the run's folder "
            f"{CHECKPOINTS}."
        ) from error
    return lines


def check_path(line: str) -> None:
    """Raises where no file could have that name; whether there is one is another question."""
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        os.lstat(line)


def remember_folders(run: Path, folders: Iterable[Path]) -> None:
    """Has `ckpt_path=last` find what will be written there."""
    known = checkpoint_folders(run)
    new = [folder for folder in folders if not is_among(folder, known)]
    if new:
        with atomic_write(run / LIST) as file:
            file.writelines(f"{within(run, each)}\n" for each in [*known[1:], *new])


def within(run: Path, folder: Path) -> Path:
    """So that the run's folder may be moved."""
    folder, run = folder.resolve(), run.resolve()
    return folder.relative_to(run) if folder.is_relative_to(run) else folder


def refuse_foreign(run: Path, folders: Iterable[Path], checkpoint: str | None) -> None:
    """Two runs in one folder would overwrite and resume each other's checkpoints."""
    known = checkpoint_folders(run)
    if checkpoint is not None:
        known.append(Path(checkpoint).absolute().parent)
    for folder in folders:
        if not is_among(folder, known) and any(folder.glob("[!.]*.ckpt")):
            raise UsageError(
                f"{folder} already holds checkpoints, which {run} has not written: give "
                "callbacks.checkpoint.dirpath a folder of this run's own, or resume from one of "
                "them by ckpt_path=FILE."
            )


def is_among(folder: Path, known: Iterable[Path]) -> bool:
    """Whether the folder is one of these, symbolic links resolved."""
    return folder.resolve() in [each.resolve() for each in known]
