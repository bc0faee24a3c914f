"""Success rates of a set of trajectories."""

from __future__ import annotations

from collections.abc import Iterable

from opid_lightning.types import Trajectory


def success_rates(trajectories: Iterable[Trajectory]) -> dict[str, float]:
    """Share of won attempts: `micro` over attempts, `macro` over task types, and each type's.

    The macro average weighs every task type alike, however many attempts it has.
    """
    wins: dict[str, list[bool]] = {}
    for trajectory in trajectories:
        wins.setdefault(trajectory.task.kind, []).append(trajectory.won)
    if not wins:
        raise ValueError("Success rate of no trajectories. Expected at least one finished attempt.")
    by_kind = {kind: sum(won) / len(won) for kind, won in sorted(wins.items())}
    everything = [won for kind in wins.values() for won in kind]
    return {
        "success_micro": sum(everything) / len(everything),
        "success_macro": sum(by_kind.values()) / len(by_kind),
        **{f"success/{kind}": rate for kind, rate in by_kind.items()},
    }
