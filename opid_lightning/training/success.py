"""Success rates with 95% intervals, the task being the unit of chance.

Attempts at one task are alike, so that ten attempts at each of ten tasks tell less than one at
each of a hundred. An interval is Wilson's for a share p of n attempts, where n is the effective
number: as many independent attempts as would vary like the tasks do,

    n = p (1 - p) / v,   v = sum over tasks of (won_i - p played_i)^2 / (sum of played_i)^2.

With one attempt a task this is the number of tasks, and the interval is Wilson's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, correlation

from opid_lightning.rollout.rollout import group_by_task
from opid_lightning.types import Trajectory

Z = NormalDist().inv_cdf(0.975)  # of a two-sided 95% interval


@dataclass(frozen=True)
class Estimate:
    """A success rate, or a difference of two, and its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} {self.interval()}"

    def interval(self, sign: str = "") -> str:
        """In points; `+` shows the sign of those above 0, too."""
        return f"({100 * self.low:{sign}.1f} to {100 * self.high:{sign}.1f})"


@dataclass(frozen=True)
class Tally:
    """What was won of some tasks."""

    games: int  # different tasks
    played: int  # attempts at them
    won: int
    rate: Estimate
    won_by_game: tuple[int, ...]  # in the order given


@dataclass(frozen=True)
class Success:
    """How a set of tasks was played."""

    overall: Tally
    macro: Estimate  # over task types, which weigh alike however many attempts they have
    kinds: Mapping[str, Tally]
    num_steps: int
    num_invalid_actions: int
    steps_of_wins: float | None  # mean length of won attempts; none where none was won
    num_sessions_lost: int  # attempts that ended by it, and so were not won

    @property
    def rates(self) -> dict[str, float]:
        """Micro average over attempts, macro over task types, and each type's."""
        return {
            "success_micro": self.overall.rate.value,
            "success_macro": self.macro.value,
            **{f"success/{kind}": tally.rate.value for kind, tally in self.kinds.items()},
        }

    @property
    def metrics(self) -> dict[str, float]:
        """The evaluation metrics of docs/metrics.md; means over nothing are left out."""
        metrics = {
            **self.rates,
            "success_micro_low": self.overall.rate.low,
            "success_micro_high": self.overall.rate.high,
            "success_macro_low": self.macro.low,
            "success_macro_high": self.macro.high,
            "games": float(self.overall.games),
            "sessions_lost": float(self.num_sessions_lost),
        }
        if self.num_steps:
            metrics["invalid_action_share"] = self.num_invalid_actions / self.num_steps
        if self.steps_of_wins is not None:
            metrics["steps_of_wins_mean"] = self.steps_of_wins
        return metrics


def success_rates(trajectories: Iterable[Trajectory]) -> dict[str, float]:
    """Share of won attempts: `micro` over attempts, `macro` over task types, and each type's."""
    return success_of(group_by_task(list(trajectories)).values()).rates


def success_of(groups: Iterable[Sequence[Trajectory]]) -> Success:
    """Success in groups, each of all attempts at one task."""
    by_kind: dict[str, list[Sequence[Trajectory]]] = {}
    for group in groups:
        by_kind.setdefault(group[0].task.kind, []).append(group)
    if not by_kind:
        raise ValueError("Success rate of no trajectories. Expected at least one finished attempt.")
    kinds = {kind: tally_of(by_kind[kind]) for kind in sorted(by_kind)}
    everything = [group for kind_groups in by_kind.values() for group in kind_groups]
    trajectories = [trajectory for group in everything for trajectory in group]
    steps = [step for trajectory in trajectories for step in trajectory.steps]
    lengths = [len(trajectory.steps) for trajectory in trajectories if trajectory.won]
    return Success(
        overall=tally_of(everything),
        macro=macro_rate([tally.rate for tally in kinds.values()]),
        kinds=kinds,
        num_steps=len(steps),
        num_invalid_actions=sum(not step.action.is_valid for step in steps),
        steps_of_wins=sum(lengths) / len(lengths) if lengths else None,
        num_sessions_lost=sum(bool(trajectory.session_lost) for trajectory in trajectories),
    )


def tally_of(groups: Sequence[Sequence[Trajectory]]) -> Tally:
    """Games, attempts, wins and the rate over these groups, a group being one task."""
    played = [len(group) for group in groups]
    won = [sum(trajectory.won for trajectory in group) for group in groups]
    return Tally(len(groups), sum(played), sum(won), rate_of(won, played), tuple(won))


def rate_of(won: Sequence[int], played: Sequence[int]) -> Estimate:
    """From attempts won and played of each task."""
    return wilson(sum(won) / sum(played), effective_attempts(won, played))


def effective_attempts(won: Sequence[int], played: Sequence[int]) -> float:
    """Independent attempts that vary as much as these; between the tasks' and all attempts' number.

    Where all tasks end alike their spread is unknown: won or lost throughout, each counts once.
    """
    total = sum(played)
    share = sum(won) / total
    if share in (0, 1) or len(played) == 1:
        return len(played)
    deviations = ((w - share * n) ** 2 for w, n in zip(won, played, strict=True))
    variance = sum(deviations) / total**2
    if variance * total <= share * (1 - share):
        return total
    return share * (1 - share) / variance


def wilson(share: float, number: float) -> Estimate:
    """Wilson's score interval of a share of `number` independent attempts."""
    shrink = 1 + Z**2 / number
    centre = (share + Z**2 / (2 * number)) / shrink
    half = Z * math.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2)) / shrink
    # Rounding may put a bound of 0 or 1 on the wrong side of the share.
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def macro_rate(rates: Sequence[Estimate]) -> Estimate:
    """The mean of independent rates; its interval adds theirs in squares, each side by itself.

    Newcombe's way, low = M - sqrt(sum (p_k - low_k)^2) / K. A normal interval would take a type
    of which nothing was won as known for certain.
    """
    mean = sum(rate.value for rate in rates) / len(rates)
    below = math.hypot(*(rate.value - rate.low for rate in rates)) / len(rates)
    above = math.hypot(*(rate.high - rate.value for rate in rates)) / len(rates)
    return Estimate(mean, mean - below, mean + above)


def gain_of(before: Sequence[int], after: Sequence[int], attempts: int) -> Estimate:
    """How much the success rate rose on the same tasks, from what was won of each.

    Newcombe's interval for paired shares p and q with correlation r over the tasks,

        low = q - p - sqrt(a^2 - 2 r a b + b^2),   a = q - low_q,   b = high_p - p,

    and the other way round above: tasks that are won again and again say nothing of the gain.
    """
    played = [attempts] * len(before)
    p, q = rate_of(before, played), rate_of(after, played)
    varies = len(set(before)) > 1 and len(set(after)) > 1
    r = correlation(before, after) if varies else 0.0
    gain = q.value - p.value
    below = paired_distance(q.value - q.low, p.high - p.value, r)
    above = paired_distance(q.high - q.value, p.value - p.low, r)
    return Estimate(gain, gain - below, gain + above)


def paired_distance(a: float, b: float, r: float) -> float:
    """How far the difference of two correlated estimates reaches, from the reach of each."""
    return math.sqrt(max(0.0, a**2 - 2 * r * a * b + b**2))  # rounding may go below 0
