import math

import pytest
import torch

from opid_lightning.method.loss_terms import gspo_surrogate, kl_estimates, ppo_surrogate
from opid_lightning.method.rules.distillation import Distillation


def ppo(ratio, advantage, low=0.2, high=0.2, dual=3.0):
    """Loss and gradient of one token, and whether it was clipped."""
    logprobs = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    zeros = torch.zeros(1, 1, dtype=torch.float64)
    surrogate = ppo_surrogate(logprobs, zeros, zeros + advantage, low, high, dual)
    surrogate.losses.sum().backward()
    flags = surrogate.is_clipped.item(), surrogate.is_dual_clipped.item()
    return surrogate.losses.item(), logprobs.grad.item(), *flags


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "is_clipped", "is_dual_clipped"),
    [
        (1.0, 2.0, -2.0, -2.0, False, False),
        (1.1, 2.0, -2.2, -2.2, False, False),
        (1.5, 2.0, -2.4, 0.0, True, False),  # rewarded enough: -1.2 * 2
        (0.5, 2.0, -1.0, -1.0, False, False),  # may always come back
        (0.5, -2.0, 1.6, 0.0, True, False),  # punished enough: 0.8 * 2
        (1.5, -2.0, 3.0, 3.0, False, False),
        (5.0, -2.0, 6.0, 0.0, False, True),  # dual clip: 3 * 2, not 5 * 2
    ],
)
def test_ppo_by_hand(ratio, advantage, loss, gradient, is_clipped, is_dual_clipped):
    got = ppo(ratio, advantage)
    assert got[:2] == pytest.approx((loss, gradient))
    assert got[2:] == (is_clipped, is_dual_clipped)


def test_the_two_sides_of_the_clip_range_are_apart():
    assert ppo(1.4, 1.0, low=0.1, high=0.3)[0] == pytest.approx(-1.3)
    assert ppo(0.5, -1.0, low=0.1, high=0.3)[0] == pytest.approx(0.9)


def test_a_clip_range_of_zero_is_taken_at_its_word():
    assert ppo(1.1, 1.0, low=0.0, high=0.0)[0] == pytest.approx(-1.0)


@pytest.mark.parametrize("advantage", [1.3, -1.3])
def test_at_the_old_policy_the_gradient_is_the_policy_gradient(advantage):
    assert ppo(1.0, advantage)[1] == pytest.approx(-advantage)


def test_gspo_has_one_ratio_a_sequence_and_a_gradient_by_token():
    # Log-ratios 0.3 and 0.1 of two tokens, and -9 at padding: the ratio is exp(0.2).
    logprobs = torch.tensor([[0.3, 0.1, -9.0]], dtype=torch.float64, requires_grad=True)
    zeros, mask = torch.zeros(1, 3, dtype=torch.float64), torch.tensor([[1, 1, 0]])
    advantages = torch.tensor([[2.0, -1.0, 5.0]], dtype=torch.float64)
    surrogate = gspo_surrogate(logprobs, zeros, advantages, mask, 0.5, 0.5)
    (surrogate.losses * mask).sum().backward()
    ratio = math.exp(0.2)
    expected = torch.tensor([[-2.0, 1.0, 0.0]], dtype=torch.float64) * ratio
    assert torch.allclose(surrogate.losses[:, :2], expected[:, :2])
    assert torch.allclose(logprobs.grad, expected)


def test_gspo_clips_whole_sequences():
    logprobs = torch.tensor([[0.9, 0.1], [0.1, 0.0]])
    advantages = torch.ones(2, 2)
    mask = torch.ones(2, 2)
    surrogate = gspo_surrogate(logprobs, torch.zeros(2, 2), advantages, mask, 0.2, 0.2)
    assert surrogate.is_clipped.tolist() == [[True, True], [False, False]]
    assert torch.allclose(surrogate.losses[0], torch.tensor([-1.2, -1.2]))


@pytest.mark.parametrize("log_ratio", [-300.0, -89.0, 89.0, 300.0])
@pytest.mark.parametrize("advantage", [-2.0, 0.0, 2.0])
def test_gradients_stay_finite_where_the_ratio_overflows(
    log_ratio: float, advantage: float
) -> None:
    def logprobs() -> torch.Tensor:
        return torch.full((1, 1), log_ratio, requires_grad=True)

    old, mask = torch.zeros(1, 1), torch.ones(1, 1)
    advantages = torch.full((1, 1), advantage)
    losses = [
        lambda x: ppo_surrogate(x, old, advantages, 0.2, 0.2, 3.0).losses,
        lambda x: gspo_surrogate(x, old, advantages, mask, 0.2, 0.2).losses,
        lambda x: kl_estimates(x, old, "k3"),
        lambda x: kl_estimates(-x, old, "k3"),
        lambda x: Distillation(1.0, "importance", 1.0).loss(x, old, advantages, mask, 0),
        lambda x: Distillation(1.0, "importance").loss(x, old, advantages, mask, 0),
    ]
    for loss in losses:
        given = logprobs()
        value = loss(given).sum()
        value.backward()
        assert value.isfinite() and given.grad is not None and given.grad.isfinite().all()


def test_a_sequence_ratio_is_cut_at_exp_10():
    logprobs = torch.tensor([[12.0]], requires_grad=True)
    zeros, ones = torch.zeros(1, 1), torch.ones(1, 1)
    surrogate = gspo_surrogate(logprobs, zeros, -ones, ones, 0.2, 0.2)
    assert surrogate.losses.item() == pytest.approx(math.exp(10))
