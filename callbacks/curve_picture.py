"""The picture of a learning curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from opid_lightning.callbacks.curve import ROLLOUTS, Point


def draw(points: Sequence[Point], path: Path) -> None:
    """Success over iterations: evaluations with 95% intervals, rollouts as a thin line."""
    # Here, as it takes a second; and not pyplot, which would choose a backend for the process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for split in dict.fromkeys(point.split for point in points):
        of_split = [point for point in points if point.split == split]
        iterations = [point.iteration for point in of_split]
        success = [100 * point.success_micro for point in of_split]
        if split == ROLLOUTS:
            axes.plot(iterations, success, color="0.7", linewidth=1, label="rollouts of training")
            continue
        (line,) = axes.plot(iterations, success, marker="o", markersize=4, label=split)
        low = [100 * point.success_micro_low for point in of_split]
        high = [100 * point.success_micro_high for point in of_split]
        axes.fill_between(iterations, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel="iteration", ylabel="attempts won, %", ylim=(0, 100))
    axes.set_xlim(left=0)
    axes.grid(color="0.9")
    axes.legend(loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
