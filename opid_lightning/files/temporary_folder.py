"""A temporary folder for weights, which no end of a run leaves behind for good."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

PREFIX = "opid_lightning-"
LOCK = ".lock"
# Its input ends with the process that holds the other end, however that ends.
REMOVER = "import shutil, sys; sys.stdin.buffer.read(); shutil.rmtree(sys.argv[1], True)"


@contextmanager
def temporary_folder(parent: str | None = None) -> Iterator[Path]:
    """Removed when the block ends, or this process.

    By a process that outlives a `kill -9`; where a scheduler kills that as well, by the next run
    that makes such a folder beside it.
    """
    parent = parent or tempfile.gettempdir()
    sweep(Path(parent))
    with ExitStack() as stack:
        draft = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))
        folder = draft.with_name(draft.name.removeprefix("."))
        if fcntl is not None:
            lock = stack.enter_context((draft / LOCK).open("w"))
            with suppress(OSError):  # a file system without locks is not swept
                fcntl.flock(lock, fcntl.LOCK_EX)
        draft.rename(folder)  # now that it is locked
        remover = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", REMOVER, str(folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            remover.communicate()


def sweep(parent: Path) -> None:
    """Removes those of processes that are no more, which hold no lock."""
    for lock in parent.glob(f"{PREFIX}*/{LOCK}") if fcntl is not None else ():
        with suppress(OSError), lock.open("r+") as file:  # also one that is somebody else's
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
