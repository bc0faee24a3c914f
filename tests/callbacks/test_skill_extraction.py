import random
import threading
from dataclasses import dataclass, field

import lightning
import pytest
import torch

from opid_lightning.callbacks.skill_extraction import SkillExtraction
from opid_lightning.learning.advantage import Advantage
from opid_lightning.learning.loss import Loss
from opid_lightning.lm.policy import PolicySource
from opid_lightning.module import OPIDModule
from opid_lightning.protocols import AnalysisError
from opid_lightning.skills.replay import Replay
from opid_lightning.skills.rules import Rules
from opid_lightning.types import Hindsight, Skills, Trajectory
from tests.builders import step_of, trajectory_of
from tests.keydoor_run import GRPO, OPID, keydoor_data

WON = trajectory_of(step_of(0, "open"), won=True, attempt=0)
LOST = trajectory_of(step_of(0, "wait"), attempt=1)


@dataclass(frozen=True)
class NamingAnalyst:
    """Writes the trajectory's id as its skill; fails on the ids in `failing`."""

    failing: tuple[str, ...] = ()
    error: Exception = field(default_factory=lambda: AnalysisError("empty", "no reply"))

    def __call__(self, trajectory: Trajectory) -> Skills:
        if trajectory.id in self.failing:
            raise self.error
        return Skills(trajectory.id, {})


def trainer_at(iteration: int, advantage: Advantage = OPID) -> lightning.Trainer:
    """A trainer about to play this iteration, counted from 1."""
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit_loop.epoch_progress.current.processed = iteration - 1
    trainer.datamodule = keydoor_data(advantage)
    trainer.strategy.connect(OPIDModule(PolicySource("keydoor"), Loss()))
    return trainer


def extract(
    callback: SkillExtraction,
    *trajectories: Trajectory,
    iteration: int = 1,
    advantage: Advantage = OPID,
) -> Hindsight:
    trainer = trainer_at(iteration, advantage)
    trainer.datamodule.trainer = trainer
    try:
        for trajectory in trajectories:
            callback.on_trajectory_end(trainer, trajectory)
        return callback.on_rollout_end(trainer, trajectories)
    finally:
        callback.teardown(trainer, lightning.LightningModule(), "fit")


def test_nothing_is_analysed_while_all_weights_are_zero():
    one_weight = Advantage(episode_weight=0.0, step_weight=0.1)
    assert (
        extract(SkillExtraction(NamingAnalyst()), WON, advantage=GRPO).status(WON.id) == "skipped"
    )
    assert extract(SkillExtraction(NamingAnalyst()), WON, advantage=one_weight).skills


def test_every_trajectory_gets_its_own_skills():
    hindsight = extract(SkillExtraction(NamingAnalyst()), WON, LOST)
    assert {key: s.episode_skill for key, s in hindsight.skills.items()} == {
        "task#0": "task#0",
        "task#1": "task#1",
    }
    assert hindsight.failures == {}


def test_an_unusable_reply_is_a_failure_with_its_reason():
    hindsight = extract(SkillExtraction(NamingAnalyst(failing=(LOST.id,))), WON, LOST)
    assert hindsight.failures == {LOST.id: "empty"}
    assert list(hindsight.skills) == [WON.id]


def test_any_other_error_of_the_analyst_stops_the_run():
    analyst = NamingAnalyst(failing=(LOST.id,), error=RuntimeError("wrong key"))
    with pytest.raises(RuntimeError, match="wrong key"):
        extract(SkillExtraction(analyst), WON, LOST)


def test_analysis_starts_while_other_trajectories_still_play():
    started = threading.Event()

    @dataclass(frozen=True)
    class Telling:
        def __call__(self, trajectory: Trajectory) -> Skills:
            started.set()
            return Skills("k", {})

    callback, trainer = SkillExtraction(Telling()), trainer_at(1)
    callback.on_trajectory_end(trainer, WON)
    assert started.wait(timeout=10)
    callback.on_rollout_end(trainer, [WON])
    callback.teardown(trainer, lightning.LightningModule(), "fit")


def test_as_many_trajectories_are_analysed_at_once_as_there_are_workers():
    meeting = threading.Barrier(2, timeout=10)

    @dataclass(frozen=True)
    class Meeting:
        def __call__(self, trajectory: Trajectory) -> Skills:
            meeting.wait()
            return Skills("k", {})

    assert len(extract(SkillExtraction(Meeting(), max_workers=2), WON, LOST).skills) == 2


@pytest.mark.parametrize(
    ("iteration", "is_on"), [(1, False), (2, False), (3, True), (5, True), (6, False)]
)
def test_the_schedule_is_on_after_start_and_through_stop(iteration, is_on):
    callback = SkillExtraction(NamingAnalyst(), start_after=2, stop_after=5)
    hindsight = extract(callback, WON, LOST, iteration=iteration)
    expected = "analysed" if is_on else "skipped"
    assert {hindsight.status(t.id) for t in (WON, LOST)} == {expected}


@pytest.mark.parametrize(("iteration", "won_status"), [(3, "analysed"), (4, "skipped")])
def test_failed_only_analyses_all_through_n_then_failures(iteration, won_status):
    callback = SkillExtraction(NamingAnalyst(), failed_only_after=3)
    hindsight = extract(callback, WON, LOST, iteration=iteration)
    assert (hindsight.status(WON.id), hindsight.status(LOST.id)) == (won_status, "analysed")


def test_each_rollout_starts_anew():
    callback, trainer = SkillExtraction(NamingAnalyst()), trainer_at(1)
    callback.on_trajectory_end(trainer, WON)
    assert list(callback.on_rollout_end(trainer, [WON]).skills) == [WON.id]
    assert callback.on_rollout_end(trainer, [WON]) == Hindsight()
    callback.teardown(trainer, lightning.LightningModule(), "fit")


def test_a_record_replays_to_the_same_hindsight(tmp_path):
    path = str(tmp_path / "analyses.jsonl")
    analyst = NamingAnalyst(failing=(LOST.id,))
    recorded = extract(SkillExtraction(analyst, record=path), WON, LOST)
    assert extract(SkillExtraction(Replay(path)), WON, LOST) == recorded


def test_random_numbers_are_not_touched():
    state, torch_state = random.getstate(), torch.get_rng_state()
    extract(SkillExtraction(Rules()), WON, LOST)
    assert random.getstate() == state
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("end", ["teardown", "on_exception"])
def test_no_thread_is_left_behind(end):
    callback, trainer = SkillExtraction(NamingAnalyst()), trainer_at(1)
    before = threading.enumerate()
    callback.on_trajectory_end(trainer, WON)
    threads = [thread for thread in threading.enumerate() if thread not in before]
    assert threads
    argument = "fit" if end == "teardown" else RuntimeError()
    getattr(callback, end)(trainer, lightning.LightningModule(), argument)
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_workers": 0}, "max_workers is 0; expected 1 or more"),
        ({"start_after": -1}, "start_after is -1; expected 0 or more"),
        ({"failed_only_after": -1}, "failed_only_after is -1; expected 0 or more"),
        ({"start_after": 3, "stop_after": 3}, "would never run: stop_after is 3"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SkillExtraction(Rules(), **settings)
