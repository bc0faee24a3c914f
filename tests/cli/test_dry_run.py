"""`--dry-run` sets up all that a run needs, says so, and leaves everything as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from opid_lightning.cli.verbs.table import main

SMALL = ["conf=keydoor", "evaluation.num_tasks=2", "~callbacks.progress_bar"]
WORLD = """
from opid_lightning.envs.keydoor import Keydoor


class World(Keydoor):
    def open(self):
        return Session()


class Session:
    def reset(self, task):
        return "not an opening"

    def close(self):
        pass
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_it_says_what_was_checked_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["fit", *SMALL, "--dry-run"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("Dry run of fit")
    subjects = [line.split()[1] for line in printed[1:]]
    assert subjects == ["tasks", "policy", "environment", "prompt", "sampler", "analyst"]
    assert not list(tmp_path.iterdir())


def test_a_run_that_would_be_resumed_stays_as_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = ["trainer.default_root_dir=run", "trainer.limit_val_batches=0"]
    short = ["data.tasks_per_iteration=2", "rollout.group_size=2", "trainer.max_epochs=1"]
    assert main(["fit", *SMALL, *run, *short]) == 0
    before = contents(tmp_path)
    again = ["ckpt_path=last", "trainer.max_epochs=2", "--dry-run"]
    assert main(["fit", *SMALL, *run, *short[:2], *again]) == 0
    assert f"ok  checkpoint   {tmp_path}/run/checkpoints/last.ckpt fits" in capsys.readouterr().out
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("env.class_path=unopened.World", "returned 'not an opening' (str); expected Opening("),
        (
            "rollout.max_prompt_tokens=258",
            "tokens without any history or observation, but 2 are given",
        ),
        ("data.tasks_per_iteration=500", "has only 39 training tasks"),
        ("model=./nowhere", "no model directory at './nowhere'"),
        ("analyst=replay analyst.path=nowhere", "nowhere"),
        ("trainer.default_root_dir=unopened.py/run", "cannot be written to (Not a directory)"),
    ],
)
def test_what_would_fail_ends_with_code_2(
    typed: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "unopened.py").write_text(WORLD)
    assert main(["fit", *SMALL, *typed.split(), "--dry-run"]) == 2
    assert said in capsys.readouterr().err


def test_other_verbs_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "conf=keydoor", "--dry-run"]) == 2
    assert "--dry-run is for fit, validate, test and predict" in capsys.readouterr().err
