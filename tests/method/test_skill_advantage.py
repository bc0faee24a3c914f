import pytest
import torch

from opid_lightning.method.method import skill_advantages

OLD = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, -1.0]])
SKILL = OLD + torch.tensor([[1.0, 3.0, 9.0], [5.0, -7.0, 9.0]])
MASK = torch.tensor([[1, 1, 0], [1, 0, 0]])  # deltas 1, 3 and 5: mean 3, deviation sqrt(8/3)
DEVIATION = (8 / 3) ** 0.5


def test_delta_is_what_the_skill_adds_where_the_mask_is_set():
    assert skill_advantages(SKILL, OLD, MASK).tolist() == [[1, 3, 0], [5, 0, 0]]


def test_normalising_uses_the_selected_tokens_alone():
    advantages = skill_advantages(SKILL, OLD, MASK, normalise=True, epsilon=0.5)
    expected = torch.tensor([[-2.0, 0, 0], [2, 0, 0]]) / (DEVIATION + 0.5)
    assert torch.allclose(advantages, expected)


def test_clipping_comes_after_normalising():
    advantages = skill_advantages(SKILL, OLD, MASK, normalise=True, clip=0.5)
    assert torch.allclose(advantages, torch.tensor([[-0.5, 0, 0], [0.5, 0, 0]]))
    assert skill_advantages(SKILL, OLD, MASK, clip=2.0).tolist() == [[1, 2, 0], [2, 0, 0]]


def test_equal_deltas_are_only_centred():
    advantages = skill_advantages(OLD + 2, OLD, MASK, normalise=True)
    assert advantages.abs().max() == 0


def test_without_a_mask_all_tokens_are_selected():
    everything = torch.ones_like(MASK)
    for settings in ({}, {"normalise": True, "clip": 1.0}):
        got = skill_advantages(SKILL, OLD, None, **settings)
        assert torch.equal(got, skill_advantages(SKILL, OLD, everything, **settings))


def test_nothing_selected_stays_zero():
    advantages = skill_advantages(SKILL, OLD, torch.zeros_like(MASK), normalise=True, clip=1.0)
    assert advantages.abs().max() == 0


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\), \(2, 3\)"):
        skill_advantages(SKILL, OLD[:, :2], MASK)


def test_no_gradient_flows_through_an_advantage():
    assert not skill_advantages(SKILL.requires_grad_(), OLD, MASK).requires_grad
