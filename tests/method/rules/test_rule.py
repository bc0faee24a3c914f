"""A rule of your own: what it is told, and what is said where it returns something wrong."""

import math
from dataclasses import dataclass

import pytest
import torch

from opid_lightning.method.loss import Loss
from opid_lightning.method.method import Method
from opid_lightning.method.rules.rule import Rule
from tests.method.batches import batch_of, random_rows, totals_of_rows
from tests.method.rows import credited, played, scored
from tests.method.rules.own import Decaying, Returning, Weighing

WRONG_SHAPES = {
    "a column": (lambda x: x[:, :1], r"shape \[2, 1\]"),
    "a row less": (lambda x: x[:1], r"shape \[1, 2\]"),
    "a number for everything": (lambda x: x.sum(), r"shape \[\]"),
    "a list": (lambda x: x.tolist(), "<class 'list'>"),
}


def at_second_token(bad):
    def make(values):
        values[1, 1] = bad
        return values

    return make


def two_rows():
    one, other = played(1.0, task="a"), played(0.0, task="a", attempt=1)
    return [
        scored(one, episode=(-0.5, -3.0)),
        scored(other, episode=(-2.0, -1.0), step=(-1.5, -4.0)),
    ]


def loss_under(rule, rows, iteration=0):
    logprobs = rows["logprobs"].clone().requires_grad_()
    batch = batch_of(rows, totals_of_rows(rows))
    terms = Loss(kl_weight=0.0, policy_weight=0.0)(logprobs, None, batch, rule, iteration)
    return terms, torch.autograd.grad(terms.loss, logprobs)[0]


def all_routed():
    rows = random_rows([2, 2], 2)
    skills = rows["old_logprobs"] + 0.1
    return rows | {"routed_mask": rows["response_mask"], "skill_logprobs": skills}


def test_the_base_class_leaves_the_outcome_and_has_no_loss():
    samples = credited(two_rows(), Rule())
    assert [s.skill_advantage.tolist() for s in samples] == [[0.0, 0.0]] * 2
    rows = all_routed()
    terms = Loss()(rows["logprobs"], None, batch_of(rows, totals_of_rows(rows)), Rule())
    assert "rule" not in terms.metrics


@pytest.mark.parametrize("iteration", [0, 3, 6])
def test_a_rule_that_decays_is_told_the_iteration_by_both_faces(iteration):
    rule = Decaying(half_life=3)
    share = 0.5 ** (iteration / 3)
    samples = credited(two_rows(), rule, iteration=iteration)
    # Levels count alike unless a rule says otherwise: 0.1 * (-1.0 - 0.5) and 0.1 * (0.0 - 3.0).
    expected = [[0.05, -0.2], [-0.15, -0.3]]
    for sample, deltas in zip(samples, expected, strict=True):
        wanted = [share * delta for delta in deltas]
        assert sample.skill_advantage.tolist() == pytest.approx(wanted, abs=1e-6)
    rows = all_routed()
    terms, gradient = loss_under(rule, rows, iteration)
    # The mean over four tokens of -0.01 * share * delta * log pi, with delta = 0.1.
    expected_loss = -0.01 * share * 0.1 * rows["logprobs"].mean().item()
    assert terms.metrics["rule"].item() == pytest.approx(expected_loss)
    assert gradient.flatten().tolist() == pytest.approx([-0.01 * share * 0.1 / 4] * 4)
    assert rule.told == [iteration, iteration]


@pytest.mark.parametrize("wrong", WRONG_SHAPES)
def test_advantages_of_another_shape_name_the_rule(wrong):
    make, got = WRONG_SHAPES[wrong]
    said = rf"tests\.method\.rules\.own\.Returning\.advantages returned {got}; expected .*\[2, 2\]"
    with pytest.raises(ValueError, match=said):
        credited(two_rows(), Returning(make))


@pytest.mark.parametrize("wrong", WRONG_SHAPES)
def test_losses_of_another_shape_name_the_rule(wrong):
    make, got = WRONG_SHAPES[wrong]
    said = rf"tests\.method\.rules\.own\.Returning\.loss returned {got}; expected .*\[2, 2\]"
    with pytest.raises(ValueError, match=said):
        loss_under(Returning(make), all_routed())


def test_advantages_of_none_name_the_rule():
    with pytest.raises(ValueError, match=r"Returning\.advantages returned <class 'NoneType'>"):
        credited(two_rows(), Returning(lambda values: None))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_advantages_that_are_no_numbers_name_the_rule_and_the_step(bad):
    said = rf"own\.Returning\.advantages returned {bad} for response token 1 of a#1@0; expected"
    with pytest.raises(ValueError, match=said):
        credited(two_rows(), Returning(at_second_token(bad)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_losses_that_are_no_numbers_name_the_rule_and_the_step(bad):
    said = rf"own\.Returning\.loss returned {bad} for response token 1 of 1; expected finite"
    with pytest.raises(ValueError, match=said):
        loss_under(Returning(at_second_token(bad)), all_routed())


def test_losses_of_tokens_without_a_skill_are_not_read():
    rows = random_rows([2, 2], 2)  # the first row alone is routed
    terms, gradient = loss_under(Returning(at_second_token(math.nan)), rows)
    assert terms.metrics["rule"].item() == pytest.approx(rows["logprobs"][0].mean().item())
    assert gradient.tolist() == [[0.5, 0.5], [0.0, 0.0]]


@pytest.mark.parametrize("number", [-0.1, math.nan, math.inf, None, "0.5"])
def test_a_weight_that_is_no_number_from_zero_up_names_the_rule(number):
    with pytest.raises(ValueError, match=r"own\.Weighing\.weight\('episode'\) is .*expected"):
        Method(Weighing(number))


def test_a_field_named_weight_hides_the_method_and_is_refused_by_name():
    @dataclass(frozen=True)
    class Heavy(Rule):
        weight: float = 0.1

    with pytest.raises(ValueError, match=r"Heavy\.weight is 0\.1; expected the method weight"):
        Method(Heavy())


class InPlace(Rule):
    """Writes into everything that it is given."""

    def advantages(self, outcome, delta, mask, iteration):
        mask.zero_()
        return delta.add_(outcome.mul_(2.0))

    def loss(self, logprobs, old, teacher, mask, iteration):
        mask.zero_()
        return teacher.sub_(old) - 0.0 * logprobs


def test_a_rule_may_write_into_what_it_is_given():
    for sample in credited(two_rows(), InPlace()):
        expected = 2 * sample.outcome_advantage + sum(
            logprobs - sample.scored.old_logprobs
            for logprobs in sample.scored.skill_logprobs.values()
        )
        assert torch.allclose(sample.advantages, expected, atol=1e-6)


def test_a_loss_that_writes_into_the_mask_is_still_averaged_over_it():
    rows = all_routed()
    terms, _ = loss_under(InPlace(), rows)
    mask = rows["routed_mask"].bool()
    expected = (rows["skill_logprobs"] - rows["old_logprobs"])[mask].mean()
    assert terms.metrics["rule"].item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x > 0, "torch.bool"),
        (lambda x: x.long(), "torch.int64"),
        (lambda x: x + 0j, "torch.complex"),
        (lambda x: x.to_sparse(), "sparse"),
        (lambda x: x.to("meta"), "meta device"),
    ],
)
def test_tensors_that_are_no_dense_floats_name_the_rule(change, said):
    rule = Returning(change)
    with pytest.raises(ValueError, match=rf"advantages returned .*{said}"):
        credited(two_rows(), rule)
    with pytest.raises(ValueError, match=rf"loss returned .*{said}"):
        loss_under(rule, all_routed())


def test_advantages_that_float32_cannot_hold_name_the_rule():
    with pytest.raises(ValueError, match="advantages returned inf"):
        credited(two_rows(), Returning(lambda x: x + 1e300))


def test_advantages_keep_no_graph():
    weight = torch.ones((), requires_grad=True)
    samples = credited(two_rows(), Returning(lambda x: weight * x))
    assert not any(sample.advantages.requires_grad for sample in samples)


def test_a_loss_without_a_gradient_names_the_rule():
    with pytest.raises(ValueError, match="loss returned numbers without a gradient"):
        loss_under(Returning(lambda x: x.detach()), all_routed())
