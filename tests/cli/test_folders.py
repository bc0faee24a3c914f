"""In which folder a run writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from opid_lightning.cli.errors import UsageError
from opid_lightning.cli.folders import Placement, fresh, place
from tests.test_checkpoints import write

LAST = Path("checkpoints") / "last.ckpt"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def finished_run(folder: str, seconds: int = 0) -> Path:
    write(Path(folder) / LAST, iterations=3, seconds=seconds)
    (Path(folder) / "config.yaml").touch()
    return Path(folder)


def test_a_run_gets_a_new_folder() -> None:
    first = place("fit", "keydoor", None, None, None).folder
    first.mkdir(parents=True)
    second = place("fit", "keydoor", None, None, None).folder
    assert first.parent == second.parent == Path("runs/keydoor")
    assert first != second


def test_three_folders_of_one_second_differ() -> None:
    folders = []
    for _ in range(3):
        folders.append(fresh(Path("runs")))
        folders[-1].mkdir(parents=True)
    assert len(set(folders)) == 3


def test_the_folder_asked_for_is_taken() -> None:
    assert place("fit", "keydoor", "mine", None, None) == Placement(Path("mine"), None)


def test_two_runs_are_never_mixed() -> None:
    finished_run("mine")
    with pytest.raises(UsageError, match=r"mine already holds a run.*ckpt_path=last"):
        place("fit", "keydoor", "mine", None, None)
    with pytest.raises(UsageError, match="mine already holds a run"):
        place("fit", "keydoor", "mine", "other/checkpoints/last.ckpt", None)


def test_a_run_goes_on_in_its_folder() -> None:
    run = finished_run("mine")
    placement = place("fit", "keydoor", "mine", "last", None)
    assert (placement.folder, placement.checkpoint) == (run, str(run / LAST))
    assert "resuming from mine/checkpoints/last.ckpt, after iteration 3" in placement.note


def test_last_is_the_newest_run_of_the_configuration() -> None:
    newest = finished_run("runs/keydoor/a", seconds=20)
    finished_run("runs/keydoor/b", seconds=10)
    finished_run("runs/alfworld/c", seconds=30)
    placement = place("fit", "keydoor", None, "last", None)
    assert (placement.folder, placement.checkpoint) == (newest, str(newest / LAST))


def test_last_is_refused_where_no_run_is_named_and_none_has_a_checkpoint() -> None:
    with pytest.raises(UsageError, match="no run in runs/keydoor"):
        place("fit", "keydoor", None, "last", None)


def test_a_job_that_always_says_last_starts_in_its_folder() -> None:
    Path("mine").mkdir()
    (Path("mine") / "config.yaml").touch()  # killed before its first checkpoint
    note = "ckpt_path=last: mine has no checkpoint yet; starting from the beginning."
    assert place("fit", "keydoor", "mine", "last", None) == Placement(Path("mine"), None, note)


def test_an_evaluation_of_a_checkpoint_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no checkpoint in mine/checkpoints"):
        place("validate", "keydoor", "mine", "last", None)


def test_a_run_of_which_no_checkpoint_can_be_read_does_not_start_anew() -> None:
    (finished_run("mine") / LAST).write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"no checkpoint can be read.*last\.ckpt"):
        place("fit", "keydoor", "mine", "last", None)


def test_a_repeated_run_lies_beside_the_first() -> None:
    first = finished_run("somewhere/first")
    repeated = place("fit", "config", None, None, str(first))
    assert repeated.folder.parent == Path("somewhere")
    assert repeated.folder != first
    assert place("fit", "config", None, "last", str(first)).folder == first


def test_evaluations_write_inside_the_run_that_they_evaluate() -> None:
    run = finished_run("mine")
    placement = place("validate", "keydoor", "mine", "last", None)
    assert placement.folder.parent == run / "validate"
    assert placement.checkpoint == str(run / LAST)
