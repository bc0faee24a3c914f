"""docs/metrics.md names every metric, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from opid_lightning.callbacks import RolloutStatistics, StageTimer
from opid_lightning.method.method import Method
from opid_lightning.method.rules.distillation import Distillation
from opid_lightning.training.evaluation import Evaluation, Played, result_of
from opid_lightning.types import Task, Trajectory
from tests.builders import step_of
from tests.keydoor_run import analysing, fit

DOCUMENT = Path(__file__).parents[1] / "docs" / "metrics.md"
# What a healthy run of two levels, sampling from the policy itself, does not log.
NOT_IN_EVERY_RUN = re.compile(
    r"(skills|analysis)/failed_|test/|.*steps_of_wins|advantage/skill_to|loss/entropy"
    r"|sampler/(sync|parity|restarts)|rollout/sessions_lost_"
)


def documented() -> list[str]:
    cells = re.findall(r"^\| (`.*?`) \|", DOCUMENT.read_text(), re.M)
    return [name for cell in cells for name in re.findall(r"`([a-z_]+/[^`]+)`", cell)]


def pattern(name: str) -> str:
    """`<task type>` and the like stand for any word, `<name>` for any whole name."""
    return re.sub(r"<[a-z ]+>", r"[a-z_]+", name.replace("<name>", ".+"))


def test_what_is_logged_is_documented_and_what_is_documented_logged(tmp_path: Path) -> None:
    run = fit(
        tmp_path,
        [*analysing(), RolloutStatistics(), StageTimer()],
        method=Method(Distillation(scale=0.1)),
        limit_val_batches=1.0,
        evaluation=Evaluation(validation_split="both"),
    )
    undocumented = [
        name
        for name in run.metrics
        if not any(re.fullmatch(pattern(known), name) for known in documented())
    ]
    assert undocumented == []
    missing = [
        known
        for known in documented()
        if not NOT_IN_EVERY_RUN.match(known)
        and not any(re.fullmatch(pattern(known), name) for name in run.metrics)
    ]
    assert missing == []


@pytest.mark.parametrize("stage", ["validation", "test"])
def test_evaluations_log_the_documented_names_of_one_split_and_of_each(stage: str) -> None:
    won = Trajectory(Task("a", "heat"), 0, "", (step_of(),), won=True)
    played = [Played("valid_seen", (won,)), Played("valid_unseen", (won,))]
    one, each = (set(result_of(parts).metrics(stage)) for parts in (played[:1], played))
    base = {n for n in documented() if n.startswith("validation/") and "<split>" not in n}
    named = {name.replace("validation", stage).replace("<task type>", "heat") for name in base}
    assert one == named
    assert each == named | {
        name.replace(stage, f"{stage}/{split}")
        for name in named
        for split in ("valid_seen", "valid_unseen")
    }
