import pytest
import torch

from opid_lightning.method.advantage import Advantage
from opid_lightning.method.rules.additive import Additive
from tests.method.rows import all_steps, credited, played, scored


def test_the_skill_term_is_each_levels_weighted_delta():
    one, other = played(1.0, 1), played(0.0, 1, attempt=1)
    steps = [scored(one, episode=(-0.5, -3.0), step=(-1.0, 0.0)), scored(other)]
    samples = credited(steps, Additive(episode_weight=0.1, step_weight=0.01))
    assert torch.allclose(samples[0].skill_advantage, torch.tensor([0.05, -0.2 + 0.01]))
    assert samples[1].skill_advantage.tolist() == [0.0, 0.0]
    assert torch.allclose(samples[0].advantages, torch.tensor([1.0 + 0.05, 1.0 - 0.19]), atol=1e-5)


def test_weight_zero_and_no_skill_are_grpo_bit_for_bit():
    skills = {"episode": (-0.3, -2.7), "step": (-0.9, -0.1)}
    trajectories = [played(reward, 1, attempt=n) for n, reward in enumerate((0.1, 0.7, 0.9))]
    without = Advantage()([scored(t) for t in trajectories]).outcome.tolist()
    for rule, chosen in ((Additive(0.0, 0.0), skills), (Additive(1.0, 1.0), {})):
        samples = credited([scored(t, **chosen) for t in trajectories], rule)
        for sample, grpo in zip(samples, without, strict=True):
            assert sample.skill_advantage.tolist() == [0.0, 0.0]
            assert sample.advantages.tolist() == [torch.tensor(grpo).item()] * 2


@pytest.mark.parametrize("normalise_delta", [False, True])
@pytest.mark.parametrize("target_ratio", [None, 0.5])
def test_skills_that_move_nothing_add_exactly_nothing(target_ratio, normalise_delta):
    same = {"episode": (-1.0, -1.0), "step": (-1.0, -1.0)}
    steps = [scored(played(reward, attempt=n), **same) for n, reward in enumerate((0.1, 0.7))]
    rule = Additive(episode_weight=1.0, step_weight=0.3, target_ratio=target_ratio)
    outcome = Advantage()(steps).outcome.tolist()
    samples = credited(steps, rule, normalise_delta=normalise_delta)
    for sample, alone in zip(samples, outcome, strict=True):
        assert sample.skill_advantage.tolist() == [0.0, 0.0]
        assert sample.advantages.tolist() == [torch.tensor(alone).item()] * 2


@pytest.mark.parametrize(("ratio", "scale"), [(0.01, 1.0), (2.0, 4.0)])
def test_a_target_ratio_is_reached_over_the_tokens_that_a_skill_scored(ratio, scale):
    steps = [
        scored(played(10.0), old=(-1.0, -1.0, -1.0), episode=(-0.5, -3.0, -1.0)),
        scored(played(0.0, attempt=1), old=(-1.0,), step=(-4.0,)),
        scored(played(0.0, attempt=2), old=(-1.0, -2.0)),
    ]
    rule = Additive(target_ratio=ratio, outcome_scale=scale, step_weight=0.002)
    samples = credited(steps, rule)
    skill = torch.cat([sample.skill_advantage for sample in samples])
    skill = skill[:4]  # without the row that no skill scored
    assert skill.abs().mean().item() == pytest.approx(ratio * scale, rel=1e-5)
    # The two weights keep their proportion: 0.001 * -2 against 0.002 * -3.
    assert (samples[1].skill_advantage[0] / samples[0].skill_advantage[1]).item() == pytest.approx(
        3
    )


@pytest.mark.parametrize(
    ("rule", "settings"),
    [(Additive(target_ratio=0.5), {}), (Additive(), {"normalise_delta": True})],
)
def test_a_trajectory_whose_analysis_failed_moves_no_one_elses_skill_term(rule, settings):
    with_skills = scored(played(10.0), episode=(-0.5, -3.0))
    same_reward = scored(played(10.0, attempt=1), episode=(-4.0, -1.5))
    others = [scored(played(0.0, attempt=n), old=(-1.0,) * n) for n in (2, 3)]
    answered = [scored(played(0.0, attempt=n), episode=(-1.0, -2.0)) for n in (2, 3)]
    failed = credited([with_skills, same_reward, *others], rule, **settings)
    assert all((sample.skill_advantage == 0).all() for sample in failed[2:])
    longer = [scored(played(0.0, attempt=n), old=(-1.0,) * (9 * n)) for n in (2, 3)]
    same = credited([with_skills, same_reward, *longer], rule, **settings)
    for one, other in zip(failed[:2], same[:2], strict=True):
        assert torch.equal(one.skill_advantage, other.skill_advantage)
    moved = credited([with_skills, same_reward, *answered], rule, **settings)
    assert not torch.equal(moved[0].skill_advantage, failed[0].skill_advantage)


def test_a_target_ratio_leaves_out_rows_of_the_same_trajectory_that_no_skill_scored():
    trajectory = played(10.0, 2)
    steps = [
        scored(trajectory, 0, old=(-1.0,), episode=(-2.0,)),
        scored(trajectory, 1, old=(-1.0,)),
    ]
    samples = credited(steps, Additive(target_ratio=0.5))
    assert [s.skill_advantage.item() for s in samples] == pytest.approx([-0.5, 0.0])


def test_a_target_ratio_does_not_depend_on_how_many_groups_tie():
    def skill_terms(*rewards):
        attempts = [played(reward, attempt=n) for n, reward in enumerate(rewards)]
        steps = [scored(t, episode=(-0.5, -3.0)) for t in attempts]
        samples = credited(steps, Additive(target_ratio=0.1))
        return [sample.skill_advantage.tolist() for sample in samples]

    assert skill_terms(0.0, 0.0, 0.0) == skill_terms(10.0, 0.0, 0.0)
    assert torch.tensor(skill_terms(0.0, 0.0, 0.0)).abs().mean().item() == pytest.approx(0.1)


def test_a_target_ratio_without_any_skill_adds_nothing():
    samples = credited(all_steps(played(1.0), played(0.0, attempt=1)), Additive(target_ratio=0.5))
    assert [s.skill_advantage.tolist() for s in samples] == [[0.0, 0.0]] * 2


@pytest.mark.parametrize(
    "settings",
    [
        {"episode_weight": -0.001},
        {"step_weight": -1.0},
        {"step_weight": float("nan")},
        {"target_ratio": 0.0},
        {"outcome_scale": 0.0},
    ],
)
def test_a_setting_out_of_range_is_named(settings):
    with pytest.raises(ValueError, match=rf"method\.rule\.{next(iter(settings))} is .*expected"):
        Additive(**settings)
