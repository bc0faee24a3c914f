"""Discounted returns of every step, linear in rows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from jaxtyping import Float
from torch import Tensor


def discounted_returns(
    rewards: Float[Tensor, " B"], trajectories: Sequence[Hashable], gamma: float
) -> Float[Tensor, " B"]:
    """`G_t = r_t + gamma * G_{t+1}` along each trajectory, whose rows stand in playing order.

    Rows of different trajectories may be mixed. All trajectories are walked backwards at once,
    so the number of tensor operations is the length of the longest.
    """
    returns = rewards.clone()
    for rows, next_rows in _layers(trajectories):
        returns[rows] = rewards[rows] + gamma * returns[next_rows]
    return returns


def _layers(trajectories: Sequence[Hashable]) -> list[tuple[list[int], list[int]]]:
    """Rows by the number of steps after them, from 1 on, each beside the row that follows."""
    next_row: dict[Hashable, int] = {}
    depth: dict[Hashable, int] = {}
    layers: list[tuple[list[int], list[int]]] = []
    for row in range(len(trajectories) - 1, -1, -1):
        trajectory = trajectories[row]
        if trajectory in next_row:
            depth[trajectory] = depth.get(trajectory, -1) + 1
            if depth[trajectory] == len(layers):
                layers.append(([], []))
            layers[depth[trajectory]][0].append(row)
            layers[depth[trajectory]][1].append(next_row[trajectory])
        next_row[trajectory] = row
    return layers
