import math

import pytest
import torch

from opid_lightning.method.rules.step_opsd import StepOPSD

DELTA = [[0.3, -0.3, 5.0, -5.0, 0.0]]


def credit(outcome, rule):
    delta = torch.tensor(DELTA, dtype=torch.float64)
    outcome = torch.tensor([[outcome]], dtype=torch.float64)
    return rule.advantages(outcome, delta, torch.ones_like(delta), 0).flatten().tolist()


@pytest.mark.parametrize("outcome", [2.0, -0.5])
def test_tokens_that_the_skill_likes_get_more_of_a_win_and_less_of_a_loss(outcome):
    sign = math.copysign(1.0, outcome)
    shares = [2 / (1 + math.exp(-sign * delta)) for delta in DELTA[0]]
    clipped = [min(max(share, 0.75), 1.25) for share in shares]
    assert clipped[0] == shares[0] and clipped[2] != shares[2]
    expected = [outcome * (0.4 + 0.6 * share) for share in clipped]
    assert credit(outcome, StepOPSD(scale=0.6, clip=0.25)) == pytest.approx(expected)


@pytest.mark.parametrize("settings", [{"scale": 1.1}, {"scale": -0.1}, {"clip": 0.0}, {"clip": 2}])
def test_a_setting_out_of_range_is_refused(settings):
    with pytest.raises(ValueError, match=r"method\.rule\."):
        StepOPSD(**settings)
