"""One run writes to a folder at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from opid_lightning.cli.errors import UsageError
from opid_lightning.cli.folders import Placement, place
from opid_lightning.cli.launch import is_first_process
from opid_lightning.cli.run_lock import LOCK, claimed, locked
from tests.cli.test_folders import finished_run
from tests.resumed_runs import complaint, finished, fit, resumed


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_runs_that_begin_in_one_second_have_folders_of_their_own() -> None:
    def find() -> Placement:
        return place("fit", "keydoor", None, None, None)

    planned = [find()]  # by two of them, before either has made it
    with (
        claimed(lambda: planned[0]) as first,
        claimed(lambda: planned.pop() if planned else find()) as second,
    ):
        assert first.folder != second.folder
        assert second.folder.is_dir()


def test_a_live_run_is_not_resumed_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run("mine").absolute()
    with locked(run):
        assert fit(Path("mine"), 9, "ckpt_path=last") == 2
        said = complaint(capsys)
        assert f"{run} is in use by another run (process {os.getpid()} on " in said
        assert fit(Path("mine"), 9, f"ckpt_path={run}/checkpoints/last.ckpt") == 2
        assert "is in use by another run" in complaint(capsys)
    with locked(run):
        pass
    assert not (run / LOCK).exists()


def test_a_live_runs_folder_of_checkpoints_is_not_shared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also before either has written one."""
    Path("elsewhere").mkdir()
    with locked(Path("elsewhere")):
        assert fit(Path("mine"), 1, "callbacks.checkpoint.dirpath=elsewhere") == 2
    assert "elsewhere is in use by another run" in complaint(capsys)
    assert fit(Path("other"), 1, "callbacks.checkpoint.dirpath=elsewhere") == 0
    assert not Path("elsewhere", LOCK).exists()


def test_a_live_run_may_be_evaluated() -> None:
    run = finished_run("mine")
    with (
        locked(run),
        claimed(lambda: place("validate", "keydoor", "mine", "last", None)) as placement,
    ):
        assert placement.folder.parent == run / "validate"


HOLDING = """
import sys, time
from pathlib import Path
from opid_lightning.cli.run_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_does_not_hold(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"process {holder.pid} on"), locked(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path):
        pass


def test_what_a_run_forked_does_not_hold_its_lock(tmp_path: Path) -> None:
    waiting, telling = os.pipe()
    holding = locked(tmp_path)
    holding.__enter__()
    if (child := os.fork()) == 0:
        os.close(telling)
        os.read(waiting, 1)  # outlives the run
        os._exit(0)
    os.close(waiting)
    holding.__exit__(None, None, None)
    with locked(tmp_path):
        pass
    os.close(telling)
    os.waitpid(child, 0)


def test_a_run_that_cannot_start_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(Path("new/folder"), 2, "env.max_steps=0") == 2
    assert "env.max_steps" in complaint(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("notes").write_text("mine")
    assert fit(Path("notes"), 2) == 2
    assert "notes is not a folder" in complaint(capsys)
    assert fit(Path("notes/run"), 2) == 2
    assert "notes/run cannot be written to (Not a directory)" in complaint(capsys)


@pytest.mark.parametrize(
    ("variables", "is_first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "1"}, False),
        ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "opid", "SLURM_PROCID": "1"}, False),
        ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "opid", "SLURM_PROCID": "0"}, True),
    ],
)
def test_of_several_ranks_the_first_holds_the_folder(
    variables: dict[str, str], is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() == is_first


def test_an_environment_that_changes_directory_moves_no_run(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moving = ("env.class_path=tests.envs.slow.Moving", f"env.folder={elsewhere}")
    kept = "callbacks.skill_extraction.cache=kept.sqlite"
    assert fit(Path("mine"), 1, *moving, kept) == 0
    assert list(elsewhere.iterdir()) == []
    assert (tmp_path / "kept.sqlite").exists()
    os.chdir(tmp_path)
    assert resumed(Path("mine"), 2, *moving, kept) == 0
    assert list(elsewhere.iterdir()) == []
    assert finished(tmp_path / "mine" / "checkpoints") == 2
