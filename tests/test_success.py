"""Success rates and their intervals, by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.rollout.rollout import group_by_task
from opid_lightning.training.success import (
    Estimate,
    effective_attempts,
    gain_of,
    macro_rate,
    rate_of,
    success_of,
    success_rates,
    wilson,
)
from opid_lightning.types import Task, Trajectory
from tests.builders import step_of, trajectory_of

Z2 = 1.959963984540054**2


def attempts(kind: str, *won: bool) -> list[Trajectory]:
    return [Trajectory(Task(kind, kind), i, "", (), outcome) for i, outcome in enumerate(won)]


def test_macro_weighs_every_task_type_alike() -> None:
    rates = success_rates([*attempts("heat", True), *attempts("cool", True, False, False)])
    assert rates == {
        "success_micro": 2 / 4,
        "success_macro": (1 + 1 / 3) / 2,
        "success/cool": 1 / 3,
        "success/heat": 1.0,
    }


def test_no_trajectories_have_no_success_rate() -> None:
    with pytest.raises(ValueError, match="no trajectories"):
        success_rates([])


def test_wilson_by_hand() -> None:
    """8 of 10; Newcombe (1998) gives such figures to four places."""
    centre = (0.8 + Z2 / 20) / (1 + Z2 / 10)
    half = math.sqrt(Z2) * math.sqrt(0.8 * 0.2 / 10 + Z2 / 400) / (1 + Z2 / 10)
    found = wilson(0.8, 10)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half))
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


@pytest.mark.parametrize(
    ("won", "played", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17: 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_one_attempt_a_task_has_the_published_interval(
    won: int, played: int, low: float, high: float
) -> None:
    rate = rate_of([1] * won + [0] * (played - won), [1] * played)
    assert (rate.value, rate.low, rate.high) == pytest.approx((won / played, low, high), abs=5e-5)


def test_attempts_that_end_alike_count_once_a_task() -> None:
    """Four tasks, ten attempts at each, all or nothing: as much as four attempts."""
    assert effective_attempts([10, 10, 0, 0], [10] * 4) == pytest.approx(4)
    assert rate_of([10, 0, 0, 10], [10] * 4) == wilson(0.5, effective_attempts([1, 0], [1, 1]) * 2)


def test_effective_attempts_by_hand() -> None:
    """Two attempts at each of four tasks, won 2, 1, 1, 0: p = 1/2, v = (1 + 0 + 0 + 1) / 8^2."""
    assert effective_attempts([2, 1, 1, 0], [2] * 4) == pytest.approx(0.25 / (2 / 64))


def test_attempts_are_never_worth_more_than_their_number() -> None:
    assert effective_attempts([1, 1, 1], [2, 2, 2]) == 6


@pytest.mark.parametrize("won", [[0, 0, 0], [5, 5, 5]])
def test_where_all_end_alike_tasks_are_the_unit(won: list[int]) -> None:
    assert effective_attempts(won, [5] * 3) == 3


def test_one_task_tells_as_much_as_one_attempt() -> None:
    assert effective_attempts([3], [6]) == 1


@given(data=st.data(), number=st.integers(1, 12), played=st.integers(1, 5))
def test_intervals_hold_their_rate(data: st.DataObject, number: int, played: int) -> None:
    won = data.draw(st.lists(st.integers(0, played), min_size=number, max_size=number))
    rate = rate_of(won, [played] * number)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert number - 1e-9 <= effective_attempts(won, [played] * number) <= number * played


def test_the_macro_interval_adds_in_squares_by_hand() -> None:
    found = macro_rate([Estimate(0.5, 0.2, 0.9), Estimate(1.0, 0.6, 1.0)])
    assert found.value == 0.75
    assert found.low == pytest.approx(0.75 - math.sqrt(0.3**2 + 0.4**2) / 2)
    assert found.high == pytest.approx(0.75 + 0.4 / 2)


def test_the_macro_average_of_one_type_is_the_micro_average() -> None:
    success = success_of(group_by_task(attempts("heat", True, False, False)).values())
    assert success.macro == success.overall.rate


def test_gain_by_hand() -> None:
    """Lost, lost, won, won; then lost, won, won, won: r = 1 / sqrt(3)."""
    before, after = wilson(0.5, 4), wilson(0.75, 4)
    a, b = 0.75 - after.low, before.high - 0.5
    c, d = after.high - 0.75, 0.5 - before.low
    r = 1 / math.sqrt(3)
    found = gain_of([0, 0, 1, 1], [0, 1, 1, 1], 1)
    assert found.value == 0.25
    assert found.low == pytest.approx(0.25 - math.sqrt(a**2 - 2 * r * a * b + b**2))
    assert found.high == pytest.approx(0.25 + math.sqrt(c**2 - 2 * r * c * d + d**2))


def test_the_same_tasks_won_again_narrow_the_gain() -> None:
    paired = gain_of([1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], 1)
    crossed = gain_of([0, 0, 0, 0, 1, 1], [1, 1, 1, 0, 0, 0], 1)
    assert paired.value == crossed.value
    assert paired.high - paired.low < crossed.high - crossed.low


def test_no_gain_where_nothing_is_ever_won_is_not_certain() -> None:
    found = gain_of([0] * 10, [0] * 10, 1)
    assert found.value == 0
    assert -found.low == found.high == pytest.approx(wilson(0, 10).high)


def test_steps_of_wins_and_invalid_actions() -> None:
    won = trajectory_of(step_of(), step_of(is_valid=False), won=True, task_id="a")
    lost = trajectory_of(step_of(is_valid=False), task_id="b")
    metrics = success_of([[won], [lost]]).metrics
    assert metrics["steps_of_wins_mean"] == 2
    assert metrics["invalid_action_share"] == 2 / 3
    assert metrics["games"] == 2
    assert "steps_of_wins_mean" not in success_of([[lost]]).metrics
