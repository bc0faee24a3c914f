import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opid_lightning.method.loss import Loss
from opid_lightning.method.loss_terms import AGGREGATIONS
from opid_lightning.method.rules.distillation import Distillation
from opid_lightning.method.rules.rule import Rule
from tests.method.batches import batch_of, random_rows, select, totals_of_rows

EVERYTHING = {
    "kl_weight": 0.3,
    "entropy_weight": 0.2,
}
DISTILLATION = Distillation(0.4, "importance", 0.5)
LENGTHS = [3, 0, 5, 1, 4, 2]


def run(loss, rows, totals, has_reference=True, rule=Rule()):
    """Loss terms, and the gradient with respect to log-probs and entropies."""
    logprobs = rows["logprobs"].clone().requires_grad_()
    entropy = (-rows["logprobs"]).detach().requires_grad_()
    terms = loss(logprobs, entropy, batch_of(rows, totals, has_reference), rule)
    gradients = torch.autograd.grad(terms.loss, (logprobs, entropy), materialize_grads=True)
    return terms, gradients


def test_each_term_by_hand():
    rows = random_rows([2], 3)
    totals = totals_of_rows(rows)
    new, old = rows["logprobs"][0, :2], rows["old_logprobs"][0, :2]
    difference = new - rows["reference_logprobs"][0, :2]
    ratio, advantages = (new - old).exp(), rows["advantages"][0, :2]
    policy = -torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean()
    kl = ((-difference).exp() + difference - 1).mean()
    entropy = -new.mean()
    delta = (rows["skill_logprobs"][0, :2] - old).clamp(-0.1, 0.1)
    loss = Loss(kl_weight=0.3, entropy_weight=0.2)
    terms, _ = run(loss, rows, totals, rule=Distillation(0.4, clip=0.1))
    expected = policy + 0.3 * kl - 0.2 * entropy + 0.4 * -(delta * new).mean()
    assert terms.loss.item() == pytest.approx(expected.item())
    assert terms.metrics["policy"].item() == pytest.approx(policy.item())
    assert terms.metrics["kl"].item() == pytest.approx(kl.item())
    assert terms.metrics["entropy"].item() == pytest.approx(entropy.item())
    assert terms.metrics["ppo_kl"].item() == pytest.approx((old - new).mean().item())


@pytest.mark.parametrize("surrogate", ["ppo", "gspo"])
@pytest.mark.parametrize("how", AGGREGATIONS)
@settings(max_examples=20)
@given(st.lists(st.integers(0, 3), min_size=len(LENGTHS), max_size=len(LENGTHS)))
def test_how_rows_are_cut_and_padded_changes_neither_loss_nor_gradient(surrogate, how, parts):
    rows = random_rows(LENGTHS, 5)
    loss = Loss(surrogate=surrogate, aggregation=how, **EVERYTHING)
    whole, (whole_gradient, whole_entropy) = run(
        loss, rows, totals_of_rows(rows), rule=DISTILLATION
    )
    num_batches = 4
    totals = totals_of_rows(rows, num_batches)
    losses, policy = [], []
    for part in range(num_batches):  # some of them empty
        chosen = [row for row, number in enumerate(parts) if number == part]
        terms, (gradient, by_entropy) = run(loss, select(rows, chosen), totals, rule=DISTILLATION)
        losses.append(terms.loss)
        policy.append(terms.metrics["policy"])
        for index, row in enumerate(chosen):
            width = gradient.shape[1]
            assert torch.allclose(gradient[index] / num_batches, whole_gradient[row, :width])
            assert torch.allclose(by_entropy[index] / num_batches, whole_entropy[row, :width])
    assert sum(losses).item() / num_batches == pytest.approx(whole.loss.item())
    assert sum(policy).item() / num_batches == pytest.approx(whole.metrics["policy"].item())


def test_what_stands_at_padding_reaches_neither_loss_nor_gradient():
    rows = random_rows([2, 3], 4)
    totals = totals_of_rows(rows)
    clean, (clean_gradient, _) = run(Loss(**EVERYTHING), rows, totals, rule=DISTILLATION)
    soiled = rows["logprobs"].clone()
    soiled[rows["response_mask"] == 0] = -1000.0  # exp(1000) overflows
    rows |= {"logprobs": soiled}
    terms, (gradient, _) = run(Loss(**EVERYTHING), rows, totals, rule=DISTILLATION)
    assert terms.loss.item() == clean.loss.item()
    assert torch.equal(gradient, clean_gradient)
    assert gradient[rows["response_mask"] == 0].abs().max() == 0


def test_an_empty_micro_batch_is_zero_with_zero_gradient():
    totals = totals_of_rows(random_rows(LENGTHS, 5), num_batches=2)
    nothing = select(random_rows([1], 1), [])
    terms, (gradient, _) = run(Loss(**EVERYTHING), nothing, totals, rule=DISTILLATION)
    assert terms.loss.item() == 0
    assert gradient.tolist() == [[0.0]]


def test_terms_of_weight_zero_are_not_there():
    rows = random_rows([3], 3)
    loss = Loss(kl_weight=0.0)
    terms = loss(rows["logprobs"], None, batch_of(rows, totals_of_rows(rows), False))
    assert {"kl", "entropy", "rule"}.isdisjoint(terms.metrics)
    assert terms.loss.item() == terms.metrics["policy"].item()
    assert not (loss.needs_reference or loss.needs_entropy)


def test_rows_without_reference_cannot_have_a_kl_term():
    rows = random_rows([3], 3)
    with pytest.raises(ValueError, match=r"kl_weight is 0\.01.*not scored by a reference"):
        run(Loss(), rows, totals_of_rows(rows), has_reference=False)


def test_the_kl_of_gspo_is_aggregated_as_its_own_setting_says():
    rows = random_rows([1, 4], 4)  # so that a mean over tokens is none over sequences
    terms, _ = run(Loss(surrogate="gspo", kl_estimator="k1"), rows, totals_of_rows(rows))
    difference = (rows["logprobs"] - rows["reference_logprobs"])[rows["response_mask"].bool()]
    assert terms.metrics["kl"].item() == pytest.approx(difference.mean().item())


def test_a_mismatch_weighs_the_surrogate_alone():
    rows = random_rows([2], 2)
    rows["logprobs"] = rows["old_logprobs"]  # of ratio 1, so that losses are -weight * advantage
    rows["sampler_logprobs"] = rows["old_logprobs"] - torch.tensor([[5.0, -1.0]])
    loss = Loss(kl_estimator="k1", mismatch="truncate", mismatch_cap=2.0)
    terms, _ = run(loss, rows, totals_of_rows(rows))
    weighed = rows["advantages"] * torch.tensor([[2.0, 1 / math.e]])
    assert terms.metrics["policy"].item() == pytest.approx(-weighed.mean().item())
    difference = rows["logprobs"] - rows["reference_logprobs"]
    assert terms.metrics["kl"].item() == pytest.approx(difference.mean().item())
    assert terms.metrics["mismatch_corrected_share"].item() == 0.5


def test_the_mean_of_a_rules_losses_is_over_routed_tokens():
    rows = random_rows([2, 4], 4)  # the first row alone is routed
    loss, rule = Loss(kl_weight=0.0), Distillation(scale=1.0)
    terms, _ = run(loss, rows, totals_of_rows(rows), rule=rule)
    delta = (rows["skill_logprobs"] - rows["old_logprobs"])[0, :2]
    expected = -(delta * rows["logprobs"][0, :2]).mean()
    assert terms.metrics["rule"].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("surrogate", ["ppo", "gspo"])
def test_the_gradient_is_that_of_finite_differences_inside_the_clip_range(surrogate):
    rows = random_rows([3, 2], 3)
    rows["logprobs"] = rows["old_logprobs"] + 0.1 * (rows["logprobs"] - rows["old_logprobs"])
    if surrogate == "gspo":  # one advantage a row: only then is its gradient a true one
        rows["advantages"] = rows["advantages"][:, :1] * rows["response_mask"]
    loss, rule = Loss(surrogate=surrogate, kl_weight=0.5), Distillation(scale=0.5)
    batch = batch_of(rows, totals_of_rows(rows))
    logprobs = rows["logprobs"].clone().requires_grad_()
    gradient = torch.autograd.grad(loss(logprobs, None, batch, rule).loss, logprobs)[0]
    for index in rows["response_mask"].nonzero().tolist():
        step = torch.zeros_like(rows["logprobs"])
        step[tuple(index)] = 1e-6
        up = loss(rows["logprobs"] + step, None, batch, rule).loss
        down = loss(rows["logprobs"] - step, None, batch, rule).loss
        assert ((up - down) / 2e-6).item() == pytest.approx(gradient[tuple(index)].item(), abs=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"surrogate": "trpo"},
        {"aggregation": "mean"},
        {"kl_estimator": "k4"},
        {"clip_low": -0.1},
        {"clip_low": 1.1},
        {"clip_high": -0.1},
        {"dual_clip": 1.0},
        {"kl_weight": -0.01},
        {"entropy_weight": -1.0},
        {"policy_weight": -1.0},
        {"policy_weight": float("nan")},
    ],
)
def test_a_setting_out_of_range_is_named(wrong):
    with pytest.raises(ValueError, match=rf"loss\.{next(iter(wrong))} is .*expected"):
        Loss(**wrong)
