import math

import pytest
import torch

from opid_lightning.method.rules.distillation import Distillation

OLD = torch.tensor([[-1.0, -2.0]], dtype=torch.float64)
SKILL = OLD + torch.tensor([[0.5, -1.0]], dtype=torch.float64)


def losses_and_gradient(mode, clip=None):
    logprobs = (OLD + 0.2).requires_grad_()
    losses = Distillation(1.0, mode, clip).loss(logprobs, OLD, SKILL, torch.ones_like(OLD), 0)
    losses.sum().backward()
    return losses.flatten().tolist(), logprobs.grad.flatten().tolist()


def test_delta_weighs_log_probs_by_what_the_skill_adds():
    losses, gradient = losses_and_gradient("delta")
    assert losses == pytest.approx([-0.5 * -0.8, 1.0 * -1.8])
    assert gradient == pytest.approx([-0.5, 1.0])


def test_a_clipped_delta_still_pushes():
    assert losses_and_gradient("delta", clip=0.6)[1] == pytest.approx([-0.5, 0.6])


def test_importance_weighs_the_ratio():
    ratio = math.exp(0.2)
    losses, gradient = losses_and_gradient("importance")
    assert losses == pytest.approx([-0.5 * ratio, ratio])
    assert gradient == pytest.approx([-0.5 * ratio, ratio])


def test_a_clipped_importance_weight_has_no_gradient():
    losses, gradient = losses_and_gradient("importance", clip=0.7)
    assert losses == pytest.approx([-0.5 * math.exp(0.2), 0.7])
    assert gradient == pytest.approx([-0.5 * math.exp(0.2), 0.0])


def test_a_scale_scales_losses_and_gradient():
    logprobs = (OLD + 0.2).requires_grad_()
    losses = Distillation(0.25).loss(logprobs, OLD, SKILL, torch.ones_like(OLD), 0)
    losses.sum().backward()
    assert losses.flatten().tolist() == pytest.approx([-0.125 * -0.8, 0.25 * -1.8])
    assert logprobs.grad.flatten().tolist() == pytest.approx([-0.125, 0.25])


def test_the_outcome_advantage_stays_as_it_is():
    outcome = torch.tensor([[0.7], [-0.3]], dtype=torch.float64)
    delta = torch.tensor([[0.5, -2.0], [0.0, 1.0]], dtype=torch.float64)
    credit = Distillation().advantages(outcome, delta, torch.ones_like(delta), 0)
    assert credit.tolist() == [[0.7, 0.7], [-0.3, -0.3]]


@pytest.mark.parametrize(
    "settings",
    [{"mode": "kl"}, {"scale": -0.1}, {"scale": float("nan")}, {"clip": 0.0}, {"clip": -1.0}],
)
def test_a_setting_out_of_range_is_named(settings):
    with pytest.raises(ValueError, match=rf"method\.rule\.{next(iter(settings))} is .*expected"):
        Distillation(**settings)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"'kl'.*importance"):
        Distillation(mode="kl")
