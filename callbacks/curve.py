"""A learning curve: its points, and how they read as a table and as a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from opid_lightning.training.loggers import write_csv
from opid_lightning.training.success import Estimate, Success, gain_of

ROLLOUTS = "rollouts"
BAR_WIDTH = 20  # characters, of a success of 100%
MAX_ROWS = 20  # of a run that is never evaluated


@dataclass(frozen=True)
class Point:
    """The success on one split after an iteration; 0 is before the first update.

    That on `rollouts` is of the iteration's own attempts, which its update is learned from.
    """

    iteration: int
    split: str
    games: int
    played: int
    won: int
    success_micro: float
    success_micro_low: float
    success_micro_high: float
    success_macro: float
    success_macro_low: float
    success_macro_high: float
    won_by_game: tuple[int, ...]


def point_of(iteration: int, split: str, success: Success) -> Point:
    """A point of the curve with micro and macro success as shares in [0, 1]."""
    micro, macro = success.overall.rate, success.macro
    counts = (success.overall.games, success.overall.played, success.overall.won)
    rates = (micro.value, micro.low, micro.high, macro.value, macro.low, macro.high)
    return Point(iteration, split, *counts, *rates, success.overall.won_by_game)


def curve_name(split: str, evaluation: int) -> str:
    """Of a run that resumed with another evaluation, which begins a curve of its own."""
    return split if evaluation == 1 else f"{split} #{evaluation}"


def evaluations(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The evaluations of each split, in the order they were made."""
    found: dict[str, list[Point]] = {}
    for point in points:
        if point.split != ROLLOUTS:
            found.setdefault(point.split, []).append(point)
    return found


def gain_over(first: Point, point: Point) -> Estimate | None:
    """On the first evaluation of the split; none where that was of another number of games."""
    if point is first or (first.games, first.played) != (point.games, point.played):
        return None
    attempts = point.played // point.games
    return gain_of(first.won_by_game, point.won_by_game, attempts)


def write_points(points: Sequence[Point], path: Path) -> None:
    """A row a point, rates as shares; the gain is over the first evaluation of the split."""
    first = {split: evaluated[0] for split, evaluated in evaluations(points).items()}
    rows = []
    for point in points:
        row = {name: value for name, value in asdict(point).items() if name != "won_by_game"}
        gain = gain_over(first[point.split], point) if point.split in first else None
        values = asdict(gain) if gain else dict.fromkeys(("value", "low", "high"))
        rows.append(row | {f"gain_{name}": value for name, value in values.items()})
    write_csv(path, list(rows[0]), rows)


def tables(points: Sequence[Point]) -> list[str]:
    """One for each split that was evaluated; where none was, one of the rollouts."""
    evaluated = evaluations(points)
    rollouts = [point for point in points if point.split == ROLLOUTS]
    if not evaluated:
        return [rollout_table(rollouts)]
    return [evaluation_table(split, evaluated[split], rollouts) for split in evaluated]


def evaluation_table(split: str, evaluated: Sequence[Point], rollouts: Sequence[Point]) -> str:
    """A row for each evaluation of one split, and one for rollouts after the last of them."""
    first = evaluated[0]
    since = "start" if first.iteration == 0 else f"iteration {first.iteration}"
    lines = [
        f"{split}: {first.games} games, {first.played} attempts, 95% intervals; rollouts: all "
        "since the row above",
        f"{'iteration':>9}  {'rollouts':>8}  {'success on ' + split:>25}  points over {since}",
    ]
    previous = 0
    for point in evaluated:
        meanwhile = [p for p in rollouts if previous < p.iteration <= point.iteration]
        lines.append(evaluation_row(point, first, meanwhile))
        previous = point.iteration
    if rest := [point for point in rollouts if point.iteration > previous]:
        lines.append(f"{rest[-1].iteration:>9}  {share_of(rest):>8}  {'not evaluated':>25}")
    return "\n".join(lines)


def evaluation_row(point: Point, first: Point, rollouts: Sequence[Point]) -> str:
    """One evaluation: its success, its gain over `first` in points, and a bar."""
    name = "start" if point.iteration == 0 else str(point.iteration)
    success = Estimate(point.success_micro, point.success_micro_low, point.success_micro_high)
    gain = gain_over(first, point)
    risen = f"{100 * gain.value:+.1f} {gain.interval('+')}" if gain else ""
    bar = "#" * round(BAR_WIDTH * point.success_micro)
    return (
        f"{name:>9}  {share_of(rollouts):>8}  {success.value:>8.1%} {success.interval():>16}"
        f"  {risen:>23}  {bar}"
    ).rstrip()


def rollout_table(rollouts: Sequence[Point]) -> str:
    """Success of the rollouts alone, in at most `MAX_ROWS` rows of several iterations each."""
    size = -(-len(rollouts) // MAX_ROWS)
    stretches = [rollouts[start : start + size] for start in range(0, len(rollouts), size)]
    lines = ["rollouts alone: nothing was evaluated", f"{'iterations':>11}  {'success':>8}"]
    for stretch in stretches:
        span = f"{stretch[0].iteration} to {stretch[-1].iteration}"
        lines.append(f"{span:>11}  {share_of(stretch):>8}")
    return "\n".join(lines)


def share_of(rollouts: Sequence[Point]) -> str:
    """The share of attempts won in these rollouts as a percentage; blank where there are none."""
    played = sum(point.played for point in rollouts)
    return f"{sum(point.won for point in rollouts) / played:.1%}" if played else ""
