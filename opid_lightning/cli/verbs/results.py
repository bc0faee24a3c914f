"""What `validate`, `test` and `predict` print: how the evaluation sets were played."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from opid_lightning.training.evaluation import Evaluation, EvaluationResult, EvaluationSet
from opid_lightning.training.success import Estimate, Success

TOGETHER = "both splits together"


def results_table(
    result: EvaluationResult, sets: Sequence[EvaluationSet], settings: Evaluation
) -> str:
    """A block for each split, and one for all of them where there are several."""
    blocks = [
        "\n".join([heading(played, settings), *rows(result.splits[played.split])])
        for played in sets
    ]
    if len(sets) > 1:
        blocks.append("\n".join([TOGETHER, *rows(result.together)]))
    return "\n\n".join([*blocks, how_intervals_are_made(settings)])


def attempts_in(folder: str, sets: Sequence[EvaluationSet]) -> str:
    """What `predict` played, and in which files it is."""
    number = ", ".join(f"{len(each.tasks)} games of {each.split}" for each in sets)
    logged = Path(folder, "trajectories")
    if not any(logged.glob("predict-*.parquet")):
        return f"Played {number}; without callbacks.trajectory_log, nothing of them was kept."
    return f"Played {number}, a row for each step: {logged}/predict-*.parquet"


def heading(played: EvaluationSet, settings: Evaluation) -> str:
    """Which games were played, and how."""
    number, whole = len(played.tasks), played.num_available
    games = f"all {whole} games" if number == whole else f"{number} of its {whole} games"
    times = "once" if settings.attempts == 1 else f"{settings.attempts} times each"
    sampling = (
        f"at temperature {settings.temperature:g}, seed {settings.seed}"
        if settings.temperature
        else "greedily"
    )
    return f"{played.split}: {games}, {times}, {sampling}"


def rows(success: Success) -> Iterator[str]:
    """Success in micro and macro average and of each type, and what else tells a policy."""
    total = success.overall
    yield row("won, micro average", f"{total.won}/{total.played}", total.rate)
    yield row("won, macro average", f"{len(success.kinds)} types", success.macro)
    for kind, tally in success.kinds.items():
        yield row(f"  {kind}", f"{tally.won}/{tally.played}", tally.rate)
    yield line("invalid actions", f"of {success.num_steps}", invalid_share(success))
    if success.steps_of_wins is not None:
        yield line("steps of a won game", "mean", f"{success.steps_of_wins:.1f}")
    if success.num_sessions_lost:
        lost = str(success.num_sessions_lost)
        yield line("sessions lost, counted as not won", f"of {total.played}", lost)


def row(name: str, count: str, rate: Estimate) -> str:
    """A line of the table with a rate in percent and its 95% interval."""
    return line(name, count, f"{rate.value:.1%}", rate.interval())


def line(name: str, count: str, value: str, interval: str = "") -> str:
    """A line of the table, columns aligned."""
    return f"  {name:<34} {count:>9} {value:>8}  {interval:>15}".rstrip()


def invalid_share(success: Success) -> str:
    """The share of malformed responses in percent; blank where no step was made."""
    return f"{success.num_invalid_actions / success.num_steps:.1%}" if success.num_steps else ""


def how_intervals_are_made(settings: Evaluation) -> str:
    """The footnote on the intervals, which depends on attempts per task."""
    unit = "" if settings.attempts == 1 else ", with games, not attempts, as the unit"
    return (
        f"95% intervals: Wilson's{unit}; of the macro average, those of the types added in squares."
    )
