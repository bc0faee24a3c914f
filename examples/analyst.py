"""An analyst of your own: reads a finished trajectory and writes skills.

    cd examples
    python analyst.py                                                       # trains with it
    python -m opid_lightning fit conf=keydoor analyst.class_path=analyst.Listed

docs/analysts.md says when analysts are asked, and what is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from opid_lightning import Analysis, Skills, Trajectory


@dataclass(frozen=True)
class Listed:
    """Repeats what worked, and reminds of the listed actions where another one was tried."""

    max_step_skills: int = 5

    @property
    def identity(self) -> str:
        """Analyses are kept and taken again by it: change the number with the skills."""
        return f"{self!r} version 1"

    def start(self) -> None:
        """Called before the first rollout. Raise AnalystUnavailableError where it cannot work."""

    def close(self) -> None:
        """Gives back what `start` took."""

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        """Called from several threads. What it cannot analyse has a failure's short name."""
        if not trajectory.steps:
            return Analysis(None, failure="no_steps")
        if trajectory.won:
            played = ", then ".join(step.action.text for step in trajectory.steps)
            return Analysis(Skills(f"This worked: {played}.", step_skills={}))
        corrections = {
            step.index: f"Choose one of these: {', '.join(step.observation.admissible)}."
            for step in trajectory.steps
            if step.index in candidates and not step.action.is_valid
        }
        kept = dict(list(corrections.items())[: self.max_step_skills])
        return Analysis(Skills("Choose only actions that are listed.", kept))


if __name__ == "__main__":
    from train import train

    train(analyst=Listed())
