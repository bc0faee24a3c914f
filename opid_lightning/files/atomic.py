"""Files that are there as a whole, or as they were before, whenever the machine stops."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

DRAFT = ".draft-"  # how the name of a file or folder begins while it is written


@contextmanager
def atomic_write(path: Path, mode: str = "w", **options: Any) -> Iterator[IO[Any]]:
    """A draft to write in the same folder, which takes the place of `path` at the end.

    Where writing fails, the draft is removed and `path` stays as it was. A killed process leaves
    the draft behind; the next one overwrites it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(DRAFT + path.name)
    try:
        with draft.open(mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    os.replace(draft, path)
    keep_names(path.parent)


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """A draft beside `folder` to fill, which takes its place at the end.

    Where filling fails, the draft is removed and `folder` stays as it was. Of two processes that
    fill the same folder at once, either wins.
    """
    with _draft_beside(folder) as draft:
        yield draft
        give_usual_modes(draft)
        old = draft.with_name(f"{draft.name}-old")
        with suppress(FileNotFoundError):
            folder.rename(old)
        try:
            _rename_unless_there(draft, folder)
        finally:
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def folder_made_once(folder: Path) -> Iterator[Path]:
    """The same for what comes out alike whoever makes it: nobody's folder is taken away.

    Of two processes that make it at once, the first wins, and may be reading it already.
    """
    with _draft_beside(folder) as draft:
        yield draft
        give_usual_modes(draft)
        _rename_unless_there(draft, folder)


@contextmanager
def _draft_beside(folder: Path) -> Iterator[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{DRAFT}{folder.name}-", dir=folder.parent))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def give_usual_modes(folder: Path) -> None:
    """Those that the umask gives: temporary folders, and what safetensors writes, are private."""
    probe = folder / f"{DRAFT}mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():  # whose target may be somebody else's
            # Who may read a folder may enter it.
            path.chmod(mode | (mode & 0o444) >> 2 if path.is_dir() else mode)


def _rename_unless_there(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first
            raise


def keep_names(folder: Path) -> None:
    """Has the disk hold which names a folder has, which a power cut could otherwise undo."""
    if os.name == "nt":
        return  # folders cannot be opened there
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
