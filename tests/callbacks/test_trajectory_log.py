from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from opid_lightning.callbacks import SkillExtraction, TrajectoryLog
from opid_lightning.callbacks.trajectory_log import EVALUATION_SCHEMA, TRAINING_SCHEMA
from opid_lightning.hindsight.analysts.rules import Rules
from tests.keydoor_run import KeepExperience, fit

DOCUMENT = Path(__file__).parents[2] / "docs" / "trajectories.md"


def documented_columns() -> list[str]:
    cells = re.findall(r"^\| ([a-z_, ]+) \|", DOCUMENT.read_text(), re.M)
    return [name for cell in cells for name in cell.split(", ") if name != "column"]


def test_every_column_is_documented_and_every_documented_column_written() -> None:
    assert documented_columns() == TRAINING_SCHEMA.names
    assert EVALUATION_SCHEMA.names == TRAINING_SCHEMA.names[: len(EVALUATION_SCHEMA.names)]


def test_a_row_a_step_says_what_the_step_was_trained_with(tmp_path: Path) -> None:
    keep = KeepExperience()
    fit(tmp_path, [SkillExtraction(Rules()), TrajectoryLog(), keep], iterations=2)
    rows = pq.read_table(tmp_path / "trajectories" / "train-000001.parquet").to_pylist()
    assert len(rows) == len(keep.experience.samples)
    for row, sample in zip(rows, keep.experience.samples, strict=True):
        assert row["task_id"] == sample.scored.routed.trajectory.task.id
        assert row["iteration"] == 1
        assert len(row["response_tokens"]) == len(row["old_logprobs"])
        logged = [
            row["outcome_advantage"] + row["state_advantage"] + skill
            for skill in row["skill_advantage"]
        ]
        assert logged == pytest.approx(sample.advantages.tolist(), abs=1e-6)
        # Weights of keydoor_run.OPID.
        weighted = [
            0.1 * (episode + step)
            for episode, step in zip(row["episode_delta"], row["step_delta"], strict=True)
        ]
        assert row["skill_advantage"] == pytest.approx(weighted, abs=1e-6)
        assert row["route"] in {"episode", "step", "none"}
        assert bool(row["step_skill"]) == (row["route"] == "step")


def test_only_every_nth_iteration_is_written(tmp_path: Path) -> None:
    fit(tmp_path, [TrajectoryLog(every_n_iterations=2)], iterations=3)
    written = sorted(path.name for path in (tmp_path / "trajectories").iterdir())
    assert written == ["train-000000.parquet", "train-000002.parquet"]
