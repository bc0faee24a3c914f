import math

import pytest
import torch

from opid_lightning.method.loss_terms import KL_ESTIMATORS, kl_estimates

LOGPROBS = torch.tensor([[-1.0, -3.0]])
REFERENCE = torch.tensor([[-2.0, -2.5]])  # differences 1 and -0.5


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("k1", [1.0, -0.5]),
        ("abs", [1.0, 0.5]),
        ("k2", [0.5, 0.125]),
        ("k3", [math.exp(-1) + 1 - 1, math.exp(0.5) - 0.5 - 1]),
    ],
)
def test_estimates_by_hand(estimator, expected):
    estimates = kl_estimates(LOGPROBS, REFERENCE, estimator)
    assert estimates.flatten().tolist() == pytest.approx(expected)


def test_k3_is_clamped_where_it_has_no_gradient_any_more():
    logprobs = torch.tensor([[-20.0]], requires_grad=True)
    estimate = kl_estimates(logprobs, torch.tensor([[-0.1]]), "k3")
    estimate.sum().backward()
    assert (estimate.item(), logprobs.grad.item()) == (10.0, 0.0)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_mean_over_samples_of_the_policy_is_the_divergence(estimator):
    policy, reference = torch.tensor([0.7, 0.2, 0.1]).log(), torch.tensor([0.5, 0.2, 0.3]).log()
    estimates = kl_estimates(policy.unsqueeze(0), reference.unsqueeze(0), estimator)
    divergence = (policy.exp() * (policy - reference)).sum()
    assert (policy.exp() * estimates).sum().item() == pytest.approx(divergence.item(), rel=1e-5)


@pytest.mark.parametrize("estimator", KL_ESTIMATORS)
def test_equal_policies_are_no_distance_apart(estimator):
    assert kl_estimates(LOGPROBS, LOGPROBS, estimator).abs().max() == 0


def test_an_unknown_estimator_is_refused():
    with pytest.raises(NotImplementedError, match=r"'full'.*k3"):
        kl_estimates(LOGPROBS, REFERENCE, "full")
