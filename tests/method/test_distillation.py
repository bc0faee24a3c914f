import math

import pytest
import torch

from opid_lightning.method.losses.distillation import distillation

OLD = torch.tensor([[-1.0, -2.0]], dtype=torch.float64)
SKILL = OLD + torch.tensor([[0.5, -1.0]], dtype=torch.float64)


def losses_and_gradient(mode, clip=None):
    logprobs = (OLD + 0.2).requires_grad_()
    result = distillation(logprobs, OLD, SKILL, mode, clip)
    result.losses.sum().backward()
    return result.losses.flatten().tolist(), logprobs.grad.flatten().tolist()


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


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"'kl'.*importance"):
        distillation(OLD, OLD, SKILL, "kl", None)
