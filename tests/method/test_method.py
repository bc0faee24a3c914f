import pytest
import torch

from opid_lightning.method.method import Method
from opid_lightning.method.rules.additive import Additive
from tests.method.rows import credited, played, scored


def test_delta_is_clipped_before_it_is_weighted():
    steps = [scored(played(1.0), episode=(-0.5, -3.0))]
    sample = credited(steps, Additive(episode_weight=0.1), clip_delta=0.4)[0]
    assert torch.allclose(sample.skill_advantage, torch.tensor([0.04, -0.04]))


def test_delta_is_normalised_over_the_scored_tokens_of_all_rows():
    one, other = played(1.0), played(0.0, attempt=1)
    steps = [scored(one, old=(-1.0,), episode=(0.0,)), scored(other, old=(-1.0,), episode=(-3.0,))]
    steps.append(scored(played(0.0, attempt=2)))
    samples = credited(steps, Additive(episode_weight=1.0), normalise_delta=True)
    assert [s.skill_advantage.tolist() for s in samples[2:]] == [[0.0, 0.0]]
    assert samples[0].skill_advantage.item() == pytest.approx(1.0, abs=1e-5)
    assert samples[1].skill_advantage.item() == pytest.approx(-1.0, abs=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
@pytest.mark.parametrize("context", ["plain", "episode skill", "step skill", "reference"])
def test_a_log_prob_that_is_no_number_stops_with_its_row(bad, context):
    good, broken = (-1.0, -1.0), (-1.0, bad)
    rows = {
        "plain": {"old": broken},
        "episode skill": {"episode": broken},
        "step skill": {"step": broken},
        "reference": {"reference": broken},
    }
    trajectory = played(1.0, 3, task="q7", attempt=2)
    steps = [scored(trajectory, 0, reference=good), scored(trajectory, 2, **rows[context])]
    with pytest.raises(ValueError, match=rf"token 1 of q7#2, step 2, under the {context}"):
        credited(steps)


def test_an_empty_response_and_no_steps_at_all_are_fine():
    trajectories = played(1.0), played(0.0, attempt=1)
    samples = credited([scored(t, old=()) for t in trajectories])
    assert [s.advantages.tolist() for s in samples] == [[], []]
    assert credited([]) == ()


def test_only_levels_of_positive_weight_need_scoring():
    method = Method(Additive(episode_weight=0.0, step_weight=0.5))
    assert (method.needs("episode"), method.needs("step")) == (False, True)


@pytest.mark.parametrize("settings", [{"clip_delta": -1.0}, {"clip_delta": 0.0}, {"epsilon": 0.0}])
def test_a_setting_out_of_range_is_named(settings):
    with pytest.raises(ValueError, match=rf"method\.{next(iter(settings))} is .*expected"):
        Method(Additive(), **settings)
