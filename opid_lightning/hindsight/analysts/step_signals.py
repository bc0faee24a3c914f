"""What can be told of a step without knowing the environment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from opid_lightning.types import Observation, Step

# The worst first. To have returned is only bad where the attempt got nowhere.
Fault = Literal["malformed", "unavailable", "no_effect", "repeated", "returned"]

Situation = tuple[str, tuple[str, ...]]  # what is shown, and what is listed

# The answer of ALFWorld and other TextWorld games to an action that cannot be done.
REFUSAL = "nothing happens"


@dataclass(frozen=True)
class StepSignals:
    """One step as an outsider sees it."""

    step: Step
    fault: Fault | None
    num_new_actions: int  # listed after this step, and never before
    untried: tuple[str, ...]  # listed here, not played in the whole attempt; promising ones first

    @property
    def alternative(self) -> str | None:
        """Another listed action, an untried one if there is any."""
        others = (a for a in self.step.observation.admissible if a != self.step.action.text)
        return next(iter(self.untried), next(others, None))


def read_signals(steps: Sequence[Step]) -> tuple[StepSignals, ...]:
    """Signals of each step, in order. Of the last step's outcome only its reward is known."""
    results = [*(step.observation for step in steps[1:]), None]
    played = {step.action.text for step in steps}
    known: set[str] = set()
    past: set[Situation | tuple[Situation, str]] = set()
    signals: list[StepSignals] = []
    for step, result in zip(steps, results, strict=True):
        known.update(step.observation.admissible)
        here = situation(step.observation)
        signals.append(
            StepSignals(
                step=step,
                fault=find_fault(step, result, past),
                num_new_actions=len(set(result.admissible) - known) if result else 0,
                untried=tuple(a for a in step.observation.admissible if a not in played),
            )
        )
        past.update((here, (here, step.action.text)))
    return tuple(with_promising_first(signals))


def with_promising_first(signals: Sequence[StepSignals]) -> list[StepSignals]:
    """Sorts untried actions by how often those of the same first word opened up new ones.

    In most text worlds that word is a verb: going somewhere shows more than examining it again.
    """
    opened: dict[str, list[bool]] = defaultdict(list)
    for signal in signals:
        opened[first_word(signal.step.action.text)].append(signal.num_new_actions > 0)
    promise = {word: sum(found) / (len(found) + 1) for word, found in opened.items()}
    return [
        replace(
            signal,
            untried=tuple(sorted(signal.untried, key=lambda a: -promise.get(first_word(a), 0.0))),
        )
        for signal in signals
    ]


def first_word(action: str) -> str:
    """The verb of an action; blank where it has no words."""
    return action.split(maxsplit=1)[0] if action.strip() else ""


def situation(observation: Observation) -> Situation:
    """Two observations that show and allow the same are taken for one situation."""
    return observation.text.strip(), observation.admissible


def find_fault(
    step: Step, result: Observation | None, past: Container[Situation | tuple[Situation, str]]
) -> Fault | None:
    """The worst fault of a step. `past` holds earlier situations, and what was done in them."""
    here = situation(step.observation)
    there = situation(result) if result else None
    if not step.action.is_valid:
        return "malformed"
    if step.observation.admissible and step.action.text not in step.observation.admissible:
        return "unavailable"
    if there and (there == here or there[0].lower().startswith(REFUSAL)):
        return "no_effect"
    if (here, step.action.text) in past:
        return "repeated"
    return "returned" if there in past else None
