import math

import pytest
import torch

from opid_lightning.method.loss import Loss
from opid_lightning.method.loss_terms import mismatch_weights
from tests.method.batches import batch_of, random_rows, totals_of_rows

OLD = torch.tensor([[0.0, 0.0, 0.0, 0.0]]).double() - 1
# rho = pi_old / pi_sampler: 1, 4, 1/4, 1.5
SAMPLER = OLD - torch.tensor([[1.0, 4.0, 0.25, 1.5]]).double().log()


def test_truncation_caps_large_weights_and_leaves_small_ones():
    found = mismatch_weights(OLD, SAMPLER, "truncate", cap=2.0)
    assert found.weights.tolist() == [pytest.approx([1.0, 2.0, 0.25, 1.5])]
    assert found.is_corrected.tolist() == [[False, True, False, False]]


def test_masking_drops_tokens_that_are_too_far_either_way_and_weights_none():
    found = mismatch_weights(OLD, SAMPLER, "mask", cap=2.0)
    assert found.weights.tolist() == [[1, 0, 0, 1]]
    assert found.is_corrected.tolist() == [[False, True, True, False]]


def test_without_correction_every_weight_is_1():
    found = mismatch_weights(OLD, SAMPLER, "none", cap=2.0)
    assert found.weights.tolist() == [[1, 1, 1, 1]]
    assert not found.is_corrected.any()


def test_truncated_weights_make_the_gradient_that_of_the_old_policy():
    """E_sampler[rho * A * grad log pi] = E_old[A * grad log pi], over all words."""
    logits = torch.tensor([0.3, -0.2, 0.9]).double().requires_grad_()
    sampler = torch.tensor([0.5, 0.3, 0.2]).double()
    gains = torch.tensor([1.0, -2.0, 0.5]).double()
    logprobs = logits.log_softmax(-1)
    old = logprobs.detach()
    rho = mismatch_weights(old[None], sampler.log()[None], "truncate", cap=100.0).weights[0]
    estimated = torch.autograd.grad((sampler * rho * gains * logprobs).sum(), logits)[0]
    logprobs = logits.log_softmax(-1)
    exact = torch.autograd.grad((old.exp() * gains * logprobs).sum(), logits)[0]
    assert torch.allclose(estimated, exact)


def run(loss, rows):
    logprobs = rows["logprobs"].clone().requires_grad_()
    terms = loss(logprobs, None, batch_of(rows, totals_of_rows(rows)))
    return terms, torch.autograd.grad(terms.loss, logprobs)[0]


@pytest.mark.parametrize("surrogate", ["ppo", "gspo"])
def test_masked_tokens_have_no_gradient_and_the_kl_keeps_its_own(surrogate):
    rows = random_rows([3, 3], 3)
    rows["sampler_logprobs"] = rows["old_logprobs"].clone()
    rows["sampler_logprobs"][0, 1] -= math.log(3)
    terms, gradient = run(Loss(surrogate=surrogate, kl_weight=0, mismatch="mask"), rows)
    assert gradient[0, 1] == 0
    assert terms.metrics["mismatch_corrected_share"].item() == pytest.approx(1 / 6)
    _, with_kl = run(Loss(surrogate=surrogate, kl_weight=0.1, mismatch="mask"), rows)
    assert with_kl[0, 1] != 0


def test_the_policy_term_is_weighted_by_hand():
    rows = random_rows([1], 1)
    rows["logprobs"] = rows["old_logprobs"].clone()
    rows["sampler_logprobs"] = rows["old_logprobs"] - math.log(1.7)
    terms, gradient = run(Loss(kl_weight=0, mismatch="truncate", mismatch_cap=1.5), rows)
    assert terms.metrics["policy"].item() == pytest.approx(-1.5 * rows["advantages"].item())
    assert gradient.item() == pytest.approx(-1.5 * rows["advantages"].item())


def test_by_default_the_samplers_logprobs_change_nothing():
    rows = random_rows([3, 2], 3)
    terms, gradient = run(Loss(), rows)
    rows["sampler_logprobs"] = rows["old_logprobs"]
    same, same_gradient = run(Loss(), rows)
    assert terms.loss == same.loss
    assert torch.equal(gradient, same_gradient)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"mismatch": "drop"}, "loss.mismatch"), ({"mismatch_cap": 1.0}, "loss.mismatch_cap")],
)
def test_bad_settings_name_what_is_wrong(settings, expected):
    with pytest.raises(ValueError, match=expected):
        Loss(**settings)
