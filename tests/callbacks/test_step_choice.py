import pytest

from opid_lightning.callbacks.step_choice import StepChoice, keep_steps
from opid_lightning.learning.critical_steps import CriticalSteps
from opid_lightning.skills.stream import Outcome
from opid_lightning.types import Analysis, Skills


def outcome_of(*steps):
    return Outcome(Analysis(Skills("k", {step: f"do {step}" for step in steps}, "s")), False, 1.0)


def test_step_skills_are_kept_where_statistics_agree_and_others_counted():
    failed = Outcome(Analysis(None, "late"), False, 2.0)
    outcomes = {"a": outcome_of(5, 2, 0), "b": outcome_of(1), "c": outcome_of(), "d": failed}
    kept, num_dropped = keep_steps(outcomes, {"a": (0, 5), "b": (), "c": (0,), "d": (1,)})
    assert num_dropped == 2
    assert list(kept["a"].analysis.skills.step_skills.items()) == [(5, "do 5"), (0, "do 0")]
    assert kept["b"].analysis.skills == Skills("k", {}, "s")
    assert (kept["c"], kept["d"]) == (outcomes["c"], failed)
    assert len(outcomes["a"].analysis.skills.step_skills) == 3


def test_only_statistics_need_the_whole_rollout():
    can_stream = {
        chosen_by: StepChoice(chosen_by, CriticalSteps()).can_stream
        for chosen_by in ("analyst", "statistics", "both")
    }
    assert can_stream == {"analyst": True, "statistics": False, "both": True}


def test_another_word_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="critical_steps is 'all'; expected one of analyst, stat"):
        StepChoice("all", CriticalSteps())
