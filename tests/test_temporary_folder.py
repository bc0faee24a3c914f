"""Weights on their way do not stay in the temporary folder, however a run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from opid_lightning.files.temporary_folder import LOCK, PREFIX, temporary_folder

HOLDING = """
import sys, time
from opid_lightning.files.temporary_folder import temporary_folder
with temporary_folder(sys.argv[1]) as folder:
    (folder / "weights").write_text("large")
    print(folder, flush=True)
    time.sleep(60)
"""


def is_removed(folder: Path) -> bool:
    deadline = time.monotonic() + 10
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not folder.exists()


def test_it_is_removed_when_the_block_ends(tmp_path: Path) -> None:
    with temporary_folder(str(tmp_path)) as folder:
        (folder / "weights").write_text("large")
    assert list(tmp_path.iterdir()) == []


def test_it_is_removed_when_the_whole_group_of_the_process_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        assert (folder / "weights").exists()
        os.killpg(holder.pid, signal.SIGKILL)
    assert is_removed(folder)


def test_what_a_scheduler_left_is_swept_by_the_next_run(tmp_path: Path) -> None:
    """It kills the process that removes the folder, too."""
    left, logs = tmp_path / f"{PREFIX}left", tmp_path / f"{PREFIX}servers-logs"
    for folder in (left, logs):
        folder.mkdir()
    (left / LOCK).touch()
    with temporary_folder(str(tmp_path)) as one, temporary_folder(str(tmp_path)) as other:
        assert not left.exists() and logs.exists()
        assert one.exists() and other.exists()
