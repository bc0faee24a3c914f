import dataclasses
import math

import pytest
import torch

from opid_lightning.method.advantage import Advantage
from tests.method.rows import all_steps, played, scored

REFERENCE = {"over": "steps", "deviation": "unbiased", "single_member": "raw"}


def outcomes(samples):
    return [sample.outcome_advantage for sample in samples]


def test_the_paper_counts_each_trajectory_once():
    # Rewards 10 (3 steps) and 0 (1 step): mean 5, deviation of the population 5.
    steps = all_steps(played(10.0, 3), played(0.0, 1, attempt=1))
    assert outcomes(Advantage()(steps)) == pytest.approx([1, 1, 1, -1], abs=1e-6)


def test_the_reference_counts_each_step():
    # Scores 10, 10, 10, 0: mean 7.5, unbiased deviation 5.
    steps = all_steps(played(10.0, 3), played(0.0, 1, attempt=1))
    samples = Advantage(**REFERENCE)(steps)
    assert outcomes(samples) == pytest.approx([0.5, 0.5, 0.5, -1.5], abs=1e-6)
    samples = Advantage(normalise="mean", **REFERENCE)(steps)
    assert outcomes(samples) == pytest.approx([2.5, 2.5, 2.5, -7.5])


def test_a_group_is_the_attempts_at_one_task():
    steps = all_steps(
        played(1.0, task="a"), played(5.0, task="b"), played(3.0, task="a", attempt=1)
    )
    advantage = Advantage(normalise="mean", single_member="raw")
    assert outcomes(advantage(steps)) == [-1.0, 5.0, 1.0]


def test_the_score_may_be_the_reward_per_step():
    steps = all_steps(played(10.0, 2), played(0.0, 1, attempt=1))
    advantage = Advantage(normalise="mean", divide_by_length=True)
    assert outcomes(advantage(steps)) == [2.5, 2.5, -2.5]


def test_a_penalty_after_normalisation_is_subtracted_as_it_is():
    steps = all_steps(played(10.0, 2, invalid=[1]), played(10.0, 2, attempt=1))
    samples = Advantage(invalid_action_penalty=0.1)(steps)
    assert outcomes(samples) == pytest.approx([0.0, -0.1, 0.0, 0.0])


def test_a_penalty_before_normalisation_is_blown_up_where_all_succeed():
    # 120 rows of score 10, of which one loses 0.1: z = -119 / sqrt(120) with unbiased deviation.
    steps = all_steps(
        *(played(10.0, 15, attempt=n, invalid=[0] if n == 0 else []) for n in range(8))
    )
    advantage = Advantage(
        invalid_action_penalty=0.1, penalty_after_normalisation=False, **REFERENCE
    )
    assert outcomes(advantage(steps))[0] == pytest.approx(-119 / math.sqrt(120), rel=1e-3)


def test_the_skill_term_is_each_levels_weighted_delta():
    one, other = played(1.0, 1), played(0.0, 1, attempt=1)
    steps = [scored(one, episode=(-0.5, -3.0), step=(-1.0, 0.0)), scored(other)]
    samples = Advantage(episode_weight=0.1, step_weight=0.01)(steps)
    assert torch.allclose(samples[0].skill_advantage, torch.tensor([0.05, -0.2 + 0.01]))
    assert samples[1].skill_advantage.tolist() == [0.0, 0.0]
    assert torch.allclose(samples[0].advantages, torch.tensor([1.0 + 0.05, 1.0 - 0.19]), atol=1e-5)


def test_delta_is_clipped_before_it_is_weighted():
    steps = [scored(played(1.0), episode=(-0.5, -3.0))]
    sample = Advantage(episode_weight=0.1, clip_delta=0.4)(steps)[0]
    assert torch.allclose(sample.skill_advantage, torch.tensor([0.04, -0.04]))


def test_delta_is_normalised_over_the_scored_tokens_of_all_rows():
    one, other = played(1.0), played(0.0, attempt=1)
    steps = [scored(one, old=(-1.0,), episode=(0.0,)), scored(other, old=(-1.0,), episode=(-3.0,))]
    steps.append(scored(played(0.0, attempt=2)))
    samples = Advantage(episode_weight=1.0, normalise_delta=True)(steps)
    assert [s.skill_advantage.tolist() for s in samples[2:]] == [[0.0, 0.0]]
    assert samples[0].skill_advantage.item() == pytest.approx(1.0, abs=1e-5)
    assert samples[1].skill_advantage.item() == pytest.approx(-1.0, abs=1e-5)


def test_weight_zero_and_no_skill_are_grpo_bit_for_bit():
    skills = {"episode": (-0.3, -2.7), "step": (-0.9, -0.1)}
    trajectories = [played(reward, 1, attempt=n) for n, reward in enumerate((0.1, 0.7, 0.9))]
    without = Advantage()([scored(t) for t in trajectories])
    for settings in ({"episode_weight": 0.0, "step_weight": 0.0}, {"state_weight": 0.0}):
        chosen = {} if "state_weight" in settings else skills
        samples = Advantage(**settings)([scored(t, **chosen) for t in trajectories])
        for sample, grpo in zip(samples, without, strict=True):
            assert torch.equal(sample.advantages, grpo.advantages)
            assert sample.advantages.tolist() == [torch.tensor(grpo.outcome_advantage).item()] * 2


def test_a_skill_that_moves_nothing_adds_exactly_nothing():
    steps = [scored(played(1.0), episode=(-1.0, -1.0), step=(-1.0, -1.0))]
    assert Advantage(episode_weight=1.0)(steps)[0].skill_advantage.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("ratio", "scale"), [(0.01, 1.0), (2.0, 4.0)])
def test_a_target_ratio_is_reached_over_response_tokens(ratio, scale):
    steps = [
        scored(played(10.0), old=(-1.0, -1.0, -1.0), episode=(-0.5, -3.0, -1.0)),
        scored(played(0.0, attempt=1), old=(-1.0,), step=(-4.0,)),
        scored(played(0.0, attempt=2), old=(-1.0, -2.0)),
    ]
    samples = Advantage(target_ratio=ratio, outcome_scale=scale, step_weight=0.002)(steps)
    skill = torch.cat([sample.skill_advantage for sample in samples])
    skill = skill[:4]  # without the trajectory that has no skills
    assert skill.abs().mean().item() == pytest.approx(ratio * scale, rel=1e-5)
    # The two weights keep their proportion: 0.001 * -2 against 0.002 * -3.
    assert (samples[1].skill_advantage[0] / samples[0].skill_advantage[1]).item() == pytest.approx(
        3
    )


@pytest.mark.parametrize("settings", [{"target_ratio": 0.5}, {"normalise_delta": True}])
def test_a_trajectory_whose_analysis_failed_moves_no_one_elses_skill_term(settings):
    with_skills = scored(played(10.0), episode=(-0.5, -3.0))
    same_reward = scored(played(10.0, attempt=1), episode=(-4.0, -1.5))
    others = [scored(played(0.0, attempt=n), old=(-1.0,) * n) for n in (2, 3)]
    answered = [scored(played(0.0, attempt=n), episode=(-1.0, -2.0)) for n in (2, 3)]
    advantage = Advantage(**settings)
    failed = advantage([with_skills, same_reward, *others])
    assert all((sample.skill_advantage == 0).all() for sample in failed[2:])
    longer = [scored(played(0.0, attempt=n), old=(-1.0,) * (9 * n)) for n in (2, 3)]
    same = advantage([with_skills, same_reward, *longer])
    for one, other in zip(failed[:2], same[:2], strict=True):
        assert torch.equal(one.skill_advantage, other.skill_advantage)
    moved = advantage([with_skills, same_reward, *answered])
    assert not torch.equal(moved[0].skill_advantage, failed[0].skill_advantage)


def test_a_target_ratio_is_over_all_rows_of_a_trajectory_that_has_skills():
    trajectory = played(10.0, 2)
    steps = [
        scored(trajectory, 0, old=(-1.0,), episode=(-2.0,)),
        scored(trajectory, 1, old=(-1.0,)),
    ]
    samples = Advantage(target_ratio=0.5)(steps)
    assert [s.skill_advantage.item() for s in samples] == pytest.approx([-1.0, 0.0])


def test_a_target_ratio_does_not_depend_on_how_many_groups_tie():
    def skill_terms(*rewards):
        attempts = [played(reward, attempt=n) for n, reward in enumerate(rewards)]
        return [
            s.skill_advantage.tolist()
            for s in Advantage(target_ratio=0.1)(
                [scored(t, episode=(-0.5, -3.0)) for t in attempts]
            )
        ]

    assert skill_terms(0.0, 0.0, 0.0) == skill_terms(10.0, 0.0, 0.0)
    assert torch.tensor(skill_terms(0.0, 0.0, 0.0)).abs().mean().item() == pytest.approx(0.1)


def test_a_penalty_before_normalisation_counts_every_step_of_a_trajectory():
    # One loses 1 in its last of two steps, so its score is 10 - 0.5; the mean of both is 9.75.
    steps = all_steps(played(10.0, 2, invalid=[1]), played(10.0, 2, attempt=1))
    advantage = Advantage(
        normalise="mean", invalid_action_penalty=1.0, penalty_after_normalisation=False
    )
    assert outcomes(advantage(steps)) == [0.25, -0.75, 0.25, 0.25]
    scaled = dataclasses.replace(advantage, normalise="mean_std")
    assert outcomes(scaled(steps)) == pytest.approx([1.0, -3.0, 1.0, 1.0], rel=1e-4)


def test_a_target_ratio_without_any_skill_adds_nothing():
    samples = Advantage(target_ratio=0.5)(all_steps(played(1.0), played(0.0, attempt=1)))
    assert [s.skill_advantage.tolist() for s in samples] == [[0.0, 0.0]] * 2


def test_the_state_term_compares_returns_from_the_same_observation():
    # Returns at the door: 0.5 * 8 and 0; in the hall: 8 alone.
    one = played(8.0, 2, observations=["door", "hall"])
    other = played(0.0, 1, attempt=1, observations=["door"])
    samples = Advantage(normalise="mean", state_weight=0.25, gamma=0.5)(all_steps(one, other))
    assert [s.state_advantage for s in samples] == [0.5, 0.0, -0.5]
    assert samples[0].advantages.tolist() == [4.5, 4.5]


def test_a_penalty_before_normalisation_is_subtracted_from_returns_too():
    one = played(8.0, 1, observations=["door"], invalid=[0])
    other = played(8.0, 1, attempt=1, observations=["door"])
    advantage = Advantage(
        normalise="mean",
        state_weight=1.0,
        invalid_action_penalty=1.0,
        penalty_after_normalisation=False,
    )
    assert [s.state_advantage for s in advantage(all_steps(one, other))] == [-0.5, 0.5]


def test_the_order_of_groups_changes_no_advantage():
    groups = [played(r, 2, task=q, attempt=n) for q in "ab" for n, r in enumerate((1.0, 0.0, 3.0))]
    advantage = Advantage(state_weight=0.5)
    forwards = advantage(all_steps(*groups))
    backwards = advantage(all_steps(*groups[::-1]))
    by_trajectory = {
        (s.scored.routed.trajectory.id, s.scored.routed.step.index): s for s in backwards
    }
    for sample in forwards:
        routed = sample.scored.routed
        other = by_trajectory[routed.trajectory.id, routed.step.index]
        assert sample.outcome_advantage == pytest.approx(other.outcome_advantage, abs=1e-12)
        assert sample.state_advantage == pytest.approx(other.state_advantage, abs=1e-12)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
@pytest.mark.parametrize("context", ["plain", "episode skill", "step skill", "reference"])
def test_a_log_prob_that_is_no_number_stops_with_its_row(bad, context):
    good, broken = (-1.0, -1.0), (-1.0, bad)
    rows = {
        "plain": {"old": broken},
        "episode skill": {"episode": broken},
        "step skill": {"step": broken},
        "reference": {"reference": broken},
    }
    trajectory = played(1.0, 3, task="q7", attempt=2)
    steps = [scored(trajectory, 0, reference=good), scored(trajectory, 2, **rows[context])]
    with pytest.raises(ValueError, match=rf"token 1 of q7#2, step 2, under the {context}"):
        Advantage()(steps)


def test_an_empty_response_and_no_steps_at_all_are_fine():
    trajectories = played(1.0), played(0.0, attempt=1)
    samples = Advantage()([scored(t, old=()) for t in trajectories])
    assert [s.advantages.tolist() for s in samples] == [[], []]
    assert Advantage()([]) == ()


def test_only_levels_of_positive_weight_need_scoring():
    advantage = Advantage(episode_weight=0.0, step_weight=0.5)
    assert (advantage.needs("episode"), advantage.needs("step")) == (False, True)


@pytest.mark.parametrize("normalise", ["mean", "mean_std"])
def test_a_group_of_one_attempt_is_refused(normalise):
    advantage = Advantage(normalise=normalise)
    with pytest.raises(ValueError, match=f"group size 1 .*normalise={normalise}.*at least 2"):
        advantage.check_group_size(1)
    advantage.check_group_size(2)


@pytest.mark.parametrize(
    "settings",
    [
        {"normalise": "std"},
        {"over": "rows"},
        {"deviation": "sample"},
        {"single_member": "mean"},
        {"epsilon": 0.0},
        {"invalid_action_penalty": -0.1},
        {"episode_weight": -0.001},
        {"step_weight": -1.0},
        {"step_weight": float("nan")},
        {"state_weight": float("inf")},
        {"target_ratio": 0.0},
        {"clip_delta": -1.0},
        {"gamma": 1.5},
        {"state_similarity": 1.0},
    ],
)
def test_a_setting_out_of_range_is_named(settings):
    with pytest.raises(ValueError, match=rf"advantage\.{next(iter(settings))} is .*expected"):
        Advantage(**settings)
