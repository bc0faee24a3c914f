import torch
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.method.advantage import discounted_returns

REWARDS = st.lists(st.tuples(st.integers(0, 4), st.floats(-10, 10)), max_size=40)


def test_returns_by_hand():
    rewards = torch.tensor([1.0, 2.0, 4.0])
    returns = discounted_returns(rewards, ["a", "a", "a"], 0.5)
    assert returns.tolist() == [1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4]


def test_rows_of_several_trajectories_may_be_mixed():
    rewards = torch.tensor([0.0, 1.0, 0.0, 2.0, 10.0])
    returns = discounted_returns(rewards, ["a", "b", "a", "a", "b"], 0.5)
    assert returns.tolist() == [0.5, 6.0, 1.0, 2.0, 10.0]


@given(REWARDS, st.floats(0, 1))
def test_each_return_is_the_reward_and_the_discounted_next_return(rows, gamma):
    trajectories = [trajectory for trajectory, _ in rows]
    rewards = torch.tensor([reward for _, reward in rows], dtype=torch.float64)
    returns = discounted_returns(rewards, trajectories, gamma).tolist()
    following = {}
    for row in reversed(range(len(rows))):
        expected = rows[row][1] + gamma * following.get(trajectories[row], 0.0)
        assert returns[row] == expected
        following[trajectories[row]] = returns[row]
