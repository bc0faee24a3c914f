"""Whose choice critical steps are."""

from collections.abc import Sequence

from opid_lightning.callbacks.skill_extraction import SkillExtraction
from opid_lightning.types import Analysis, Skills, Trajectory
from tests.builders import step_of, trajectory_of
from tests.callbacks.analyses import PAID, NamingAnalyst, play


class EveryStep(NamingAnalyst):
    """Writes a skill for each step that it may."""

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        self.events.append(f"{trajectory.id} {list(candidates)}")
        return Analysis(Skills("k", dict.fromkeys(candidates, "s")), usage=PAID)


# From the same cell one attempt won at once, and the other walked off: its step 0 is critical.
STRAIGHT = trajectory_of(step_of(0, "east", "cell", reward=1.0), won=True, attempt=0)
ASTRAY = trajectory_of(step_of(0, "west", "cell"), step_of(1, "west", "dead end"), attempt=1)


def test_candidates_of_statistics_are_asked_about_when_the_rollout_is_over(begin):
    analyst = EveryStep()
    callback = SkillExtraction(analyst, max_workers=1, critical_steps="statistics")
    trainer = begin(callback)
    callback.on_stage_start(trainer, "rollout", 2)
    callback.on_trajectory_end(trainer, STRAIGHT)
    callback.on_trajectory_end(trainer, ASTRAY)
    assert analyst.events == ["start"]
    hindsight = callback.collect(trainer, (STRAIGHT, ASTRAY))
    assert analyst.events == ["start", "task#0 []", "task#1 [0]"]
    assert {name: dict(s.step_skills) for name, s in hindsight.skills.items()} == {
        "task#0": {},
        "task#1": {0: "s"},
    }
    assert callback._metrics["analysis/dropped_step_skills"] == 0


def test_both_asks_about_all_steps_at_once_and_keeps_those_of_statistics(begin):
    analyst = EveryStep()
    callback = SkillExtraction(analyst, max_workers=1, critical_steps="both")
    hindsight = play(callback, begin(callback), STRAIGHT, ASTRAY)
    assert analyst.events == ["start", "task#0 [0]", "task#1 [0, 1]"]
    assert {name: list(s.step_skills) for name, s in hindsight.skills.items()} == {
        "task#0": [],
        "task#1": [0],
    }
    assert callback._metrics["analysis/dropped_step_skills"] == 2


def test_statistics_ask_about_no_more_than_the_schedule_wants(begin):
    analyst = EveryStep()
    settings = {"critical_steps": "statistics", "failed_only_after": 0}
    callback = SkillExtraction(analyst, **settings)
    assert list(play(callback, begin(callback), STRAIGHT, ASTRAY).skills) == ["task#1"]
    assert analyst.events == ["start", "task#1 [0]"]
