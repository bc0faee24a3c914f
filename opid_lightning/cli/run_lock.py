"""A folder that one run writes to at a time.

The lock is flock's on a file in the folder. It ends with the process, however that ends, and counts
among the hosts that share a folder where their file system says so: NFS does if its server has
locks. Where there are none, a run says so and goes without.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from lightning.pytorch.utilities import rank_zero_warn

from opid_lightning.cli.errors import UsageError
from opid_lightning.cli.folders import Placement

try:
    import fcntl
except ModuleNotFoundError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
HELD = (errno.EWOULDBLOCK, errno.EACCES)  # NFS says the latter
_open: set[IO[str]] = set()


@contextmanager
def claimed(find: Callable[[], Placement]) -> Iterator[Placement]:
    """Where to write, by `find`, with nobody else writing there while the block lasts.

    A folder that nothing was written to is removed again.
    """
    with ExitStack() as stack:
        while True:
            placement = find()
            try:
                stack.enter_context(made(placement.folder, placement.is_new))
            except FileExistsError:
                continue  # another run that began in the same second was first
            break
        stack.enter_context(locked(placement.folder))
        # Until now another run may have written here, and another checkpoint is the last.
        yield placement if placement.is_new else find()


@contextmanager
def made(folder: Path, must_be_new: bool) -> Iterator[None]:
    """Makes the folder; on leaving, removes what was made and is still empty."""
    new = missing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=not must_be_new)
    except FileExistsError:
        if must_be_new:
            raise
        raise UsageError(
            f"{folder} is not a folder: give another one by trainer.default_root_dir=FOLDER."
        ) from None
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        remove_empty(new)


def missing(folder: Path) -> list[Path]:
    """The folder and those above it that are not there, from the inside out."""
    folder = folder.absolute()
    return [each for each in (folder, *folder.parents) if not each.exists()]


def remove_empty(folders: list[Path]) -> None:
    """Removes those of the folders that hold nothing, innermost first."""
    for each in folders:
        with suppress(OSError):  # it holds something
            each.rmdir()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Raises UsageError where another run holds the folder."""
    if fcntl is None:
        yield
        return
    path = folder / LOCK
    file = acquired(path)
    _open.add(file)
    try:
        yield
    finally:
        _open.discard(file)
        path.unlink(missing_ok=True)
        file.close()


def acquired(path: Path) -> IO[str]:
    """The lock file, open and locked. Raises UsageError where another process holds it."""
    while True:
        try:
            file = path.open("a+", errors="replace")
        except OSError as error:
            raise unwritable(path.parent, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in HELD:
                with file:
                    raise in_use(path.parent, file) from error
            rank_zero_warn(
                f"The file system of {path.parent} has no locks ({error.strerror}): nothing keeps "
                "a second run from writing there."
            )
            return file
        if is_still_at(path, file):
            file.truncate(0)
            began = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"process {os.getpid()} on {socket.gethostname()}, since {began}")
            file.flush()
            return file
        file.close()  # whoever held it has removed it meanwhile


def is_still_at(path: Path, file: IO[str]) -> bool:
    """Whether the open file is the one at this path, and not one that was replaced."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def in_use(folder: Path, file: IO[str]) -> UsageError:
    """The error that names the process which holds the folder."""
    file.seek(0)
    holder = file.read() or "which has only begun"
    return UsageError(
        f"{folder} is in use by another run ({holder}). Wait until it has ended, or end it; or "
        "write elsewhere by another trainer.default_root_dir."
    )


def unwritable(
    folder: Path, error: OSError, setting: str = "trainer.default_root_dir"
) -> UsageError:
    """The error that names the folder, the reason, and the setting that moves it."""
    return UsageError(
        f"The folder {folder} cannot be written to ({error.strerror}): give another one by "
        f"{setting}=FOLDER, or make room and give permission there."
    )


def leave_to_parent() -> None:
    """A forked process that outlives its parent must not hold the parent's locks."""
    for file in _open:
        file.close()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=leave_to_parent)
