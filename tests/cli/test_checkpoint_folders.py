"""`ckpt_path=last` finds checkpoints wherever a run has put them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from opid_lightning.cli.checkpoint_folders import (
    checkpoint_folders,
    refuse_foreign,
    remember_folders,
)
from opid_lightning.cli.errors import UsageError
from opid_lightning.cli.folders import place
from opid_lightning.cli.verbs.table import main
from tests.resumed_runs import SETTINGS, complaint, finished, fit, iterations_in, resumed
from tests.test_checkpoints import write


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


CSV = (
    "~logger.csv",
    "logger.other.class_path=lightning.pytorch.loggers.CSVLogger",
    "logger.other.init_args.name=a",
    "logger.other.init_args.version=b",
)
OTHER_NAME = (
    "~callbacks.checkpoint",
    "callbacks.mine.class_path=opid_lightning.callbacks.IterationCheckpoint",
    "callbacks.mine.init_args.dirpath=mine",
)
LIGHTNINGS = (
    *CSV,
    "~callbacks.checkpoint",
    "callbacks.mine.class_path=lightning.pytorch.callbacks.ModelCheckpoint",
    "callbacks.mine.init_args.save_last=true",
    "callbacks.mine.init_args.save_on_train_epoch_end=true",
)


@pytest.mark.filterwarnings("ignore:Experiment logs directory")  # CSVLogger deletes its own
@pytest.mark.parametrize(
    ("more", "where"),
    [
        (CSV, "run/checkpoints"),
        (("callbacks.checkpoint.dirpath=relative",), "relative"),
        (("callbacks.checkpoint.dirpath=run/inside",), "run/inside"),
        (OTHER_NAME, "mine"),
        (LIGHTNINGS, "run/a/b/checkpoints"),
    ],
)
def test_a_run_goes_on_from_where_its_checkpoints_lie(more: tuple[str, ...], where: str) -> None:
    run = Path("run")
    assert fit(run, 1, *more) == 0
    assert iterations_in(Path(where)) == [1]
    assert (run / "config.yaml").is_file()
    found = place("fit", "keydoor", "run", "last", None).checkpoint
    assert found and Path(found).absolute() == Path(where, "last.ckpt").absolute()
    assert resumed(run, 2, *more) == 0
    found = place("fit", "keydoor", "run", "last", None).note
    assert "after iteration 2." in found


def test_it_is_found_without_the_setting_by_evaluations_and_by_the_newest_run() -> None:
    folder = Path("runs/keydoor/a")
    assert fit(folder, 1, "callbacks.checkpoint.dirpath=far/away") == 0
    for asked in (str(folder), None):
        found = place("validate", "keydoor", asked, "last", None)
        assert found.checkpoint == str(Path("far/away/last.ckpt").absolute())
    assert resumed(folder, 2) == 0
    assert finished(folder / "checkpoints") == 2
    assert place("fit", "keydoor", str(folder), "last", None).checkpoint == str(
        folder / "checkpoints" / "last.ckpt"
    )
    shutil.move("runs", "moved")
    assert place("fit", "keydoor", "moved/keydoor/a", "last", None).checkpoint


def test_a_folder_of_another_runs_checkpoints_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shared = "callbacks.checkpoint.dirpath=shared"
    assert fit(Path("a"), 1, shared) == 0
    assert fit(Path("b"), 1, shared) == 2
    refusal = f"shared already holds checkpoints, which {Path('b').absolute()} has not written"
    assert refusal in complaint(capsys)
    assert resumed(Path("a"), 2, shared) == 0
    typed = ("ckpt_path=shared/last.ckpt", "trainer.default_root_dir=a", shared)
    assert main(["fit", *SETTINGS, *typed, "trainer.max_epochs=3"]) == 0


# ------------------------------------------------------------------ by hand


def test_folders_are_noted_once_and_move_with_the_run() -> None:
    run = Path("run")
    run.mkdir()
    remember_folders(run, [run / "checkpoints"])
    assert checkpoint_folders(run) == [run / "checkpoints"]
    assert not list(run.iterdir()), "nothing to note of the usual place"
    for _ in range(2):
        remember_folders(run, [Path("run/inside"), Path("outside")])
    remember_folders(run, [Path("later")])
    moved = run.rename("moved")
    own = [moved / "checkpoints", moved / "inside"]
    assert checkpoint_folders(moved) == [*own, Path("outside").resolve(), Path("later").resolve()]


def test_of_several_folders_the_newest_checkpoint_counts() -> None:
    run = Path("run")
    write(run / "checkpoints" / "last.ckpt", 5, seconds=10)
    write(Path("other") / "last.ckpt", 3, seconds=20)
    remember_folders(run, [Path("other")])
    found = place("fit", "keydoor", "run", "last", None).checkpoint
    assert found == str(Path("other/last.ckpt").resolve()), "a branch from an earlier iteration"


def test_a_folder_is_foreign_only_where_it_holds_checkpoints() -> None:
    run, other = Path("run"), Path("other")
    refuse_foreign(run, [other], None)
    written = write(other / "epoch=0.ckpt", 1, seconds=1)
    with pytest.raises(UsageError, match="other already holds checkpoints"):
        refuse_foreign(run, [other], None)
    refuse_foreign(run, [other], str(written))


@pytest.mark.parametrize("content", [b"\xff\n", b"a\0b\n", b"a" * 300])
def test_a_damaged_list_of_folders_is_named(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint_folders.txt").write_bytes(content)
    assert fit(tmp_path, 1, "ckpt_path=last") == 2
    assert "checkpoint_folders.txt is damaged" in complaint(capsys)
