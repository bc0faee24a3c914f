"""What can be told of a step without knowing the environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from opid_lightning.types import Observation, Step

Fault = Literal["malformed", "unavailable", "no_effect", "repeated"]

# The answer of ALFWorld and other TextWorld games to an action that cannot be done.
REFUSAL = "nothing happens"


@dataclass(frozen=True)
class StepSignals:
    """One step as an outsider sees it."""

    step: Step
    fault: Fault | None
    num_new_actions: int  # listed after this step, and never before
    untried: tuple[str, ...]  # listed at this step, and not played in the whole attempt


def read_signals(steps: Sequence[Step]) -> tuple[StepSignals, ...]:
    """Signals of each step, in order. Of the last step's outcome only its reward is known."""
    results = [*(step.observation for step in steps[1:]), None]
    played = {step.action.text for step in steps}
    known: set[str] = set()
    decisions: set[tuple[Situation, str]] = set()
    signals: list[StepSignals] = []
    for step, result in zip(steps, results, strict=True):
        known.update(step.observation.admissible)
        decision = (situation(step.observation), step.action.text)
        signals.append(
            StepSignals(
                step=step,
                fault=find_fault(step, result, is_repeated=decision in decisions),
                num_new_actions=len(set(result.admissible) - known) if result else 0,
                untried=tuple(a for a in step.observation.admissible if a not in played),
            )
        )
        decisions.add(decision)
    return tuple(signals)


Situation = tuple[str, tuple[str, ...]]


def situation(observation: Observation) -> Situation:
    """Two observations that show and allow the same are taken for one situation."""
    return observation.text.strip(), observation.admissible


def find_fault(step: Step, result: Observation | None, is_repeated: bool) -> Fault | None:
    """What is wrong with a step, the plainest first. `result` is None where it is not known."""
    if not step.action.is_valid:
        return "malformed"
    if step.observation.admissible and step.action.text not in step.observation.admissible:
        return "unavailable"
    if result is not None and (
        situation(result) == situation(step.observation)
        or result.text.strip().lower().startswith(REFUSAL)
    ):
        return "no_effect"
    return "repeated" if is_repeated else None
