"""Rules: an analyst that needs no language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

from opid_lightning.hindsight.analysts.step_signals import Fault, StepSignals, read_signals
from opid_lightning.types import Analysis, Skills, Trajectory
from opid_lightning.value_checks import check_range

MAX_WORKFLOW_ACTIONS = 15
MAX_EXAMPLES = 3

EPISODE_RULES: dict[Fault, str] = {
    "malformed": "Answer every time with one action in the required format.",
    "unavailable": "Choose only actions that are available; these were not: {actions}.",
    "no_effect": "Do not insist on actions that change nothing: {actions}.",
    "repeated": "Do not repeat a choice in a situation you have been in: {actions}.",
    "returned": "Do not go back to what you have already seen: {actions}.",
}
STEP_RULES: dict[Fault, str] = {
    "malformed": "Answer with exactly one action in the required format.",
    "unavailable": "Do not choose {action} now, as it is not available; {instead}.",
    "no_effect": "Do not choose {action} now, as it changes nothing; {instead}.",
    "repeated": "Leave the loop: you chose {action} here before; {instead}.",
    "returned": "Do not choose {action} now, as it leads back to what you have seen; {instead}.",
}


@dataclass(frozen=True)
class Rules:
    """Writes skills from surface signals of the trajectory alone: deterministic and offline.

    It is a heuristic. It sees malformed answers, actions that were not listed, that changed
    nothing, that were repeated in the same situation or led back to an earlier one, which actions
    opened up new ones and which earned reward. It understands neither the goal nor the
    observations: the workflow of a success is the list of its faultless actions, detours
    included, and the rules for a failure name its faults, not its cause.
    """

    max_step_skills: int = 5  # step skills of a trajectory at most

    def __post_init__(self) -> None:
        check_range("analyst.max_step_skills", self.max_step_skills, at_least=0)

    @property
    def identity(self) -> str:
        """The settings and a version; no model is involved."""
        return f"{self!r} 1"  # the number goes up where the same trajectory gets other skills

    def start(self) -> None:
        """Needs nothing."""

    def close(self) -> None:
        """Holds nothing."""

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        """Skills from what the steps show; failure "no_steps" where there are none."""
        if not trajectory.steps:
            return Analysis(None, "no_steps", f"trajectory {trajectory.id} has no steps")
        signals = read_signals(trajectory.steps)
        learn = self.learn_from_success if trajectory.won else self.learn_from_failure
        return Analysis(learn(signals, frozenset(candidates)))

    def learn_from_success(
        self, signals: Sequence[StepSignals], candidates: frozenset[int]
    ) -> Skills:
        """Half of the step skills at most are about faults, the others about what earned most."""
        chosen = [signal for signal in signals if signal.step.index in candidates]
        faulty = [signal for signal in worst_first(chosen) if signal.fault != "returned"]
        useful = [signal for signal in signals if signal.fault in (None, "returned")]
        num_keys = self.max_step_skills - min(len(faulty), self.max_step_skills // 2)
        keys = {
            s.step.index: confirmation(s)
            for s in [s for s in key_steps(useful) if s.step.index in candidates][:num_keys]
        }
        corrections = {s.step.index: correction(s) for s in faulty}
        return Skills(
            episode_skill=workflow(useful),
            step_skills=first({**keys, **corrections}, self.max_step_skills),
            episode_summary=f"Succeeded in {len(signals)} steps, {len(faulty)} of them in vain.",
        )

    def learn_from_failure(
        self, signals: Sequence[StepSignals], candidates: frozenset[int]
    ) -> Skills:
        """An episode skill of rules that name the faults, and a correction per faulty step."""
        faulty = worst_first(signals)
        corrections = {s.step.index: correction(s) for s in faulty if s.step.index in candidates}
        return Skills(
            episode_skill=rules_of_failure(signals, faulty),
            step_skills=first(corrections, self.max_step_skills),
            episode_summary=f"Failed in {len(signals)} steps, {len(faulty)} of them in vain.",
        )


def first(skills: dict[int, str], count: int) -> dict[int, str]:
    """The first `count` entries."""
    return dict(islice(skills.items(), count))


def worst_first(signals: Sequence[StepSignals]) -> list[StepSignals]:
    """The faulty steps, equal faults in the order made."""
    severity: list[Fault | None] = [None, *EPISODE_RULES]
    faulty = (signal for signal in signals if signal.fault)
    return sorted(faulty, key=lambda signal: severity.index(signal.fault))


def key_steps(useful: Sequence[StepSignals]) -> list[StepSignals]:
    """Steps that earned reward, then those that opened up most."""
    keys = [s for s in useful if s.step.reward > 0 or s.num_new_actions]
    return sorted(keys, key=lambda s: (-s.step.reward, -s.num_new_actions))


def workflow(useful: Sequence[StepSignals]) -> str:
    """Their actions in order, equal neighbours counted, the last ones where many."""
    runs = [
        (action, len(list(group)))
        for action, group in groupby(quoted(signal.step.action.text) for signal in useful)
    ]
    if not runs:
        return "Finish the task at the first opportunity."
    actions = [action if times == 1 else f"{action} {times} times" for action, times in runs]
    start = "Earlier steps led up to this: " if len(actions) > MAX_WORKFLOW_ACTIONS else ""
    listed = ", then ".join(actions[-MAX_WORKFLOW_ACTIONS:])
    return f"This way of working solved the task. {start}{listed}."


def rules_of_failure(signals: Sequence[StepSignals], faulty: Sequence[StepSignals]) -> str:
    """Sentences against the faults that occurred, and actions that were never tried."""
    rules = [
        rule.format(actions=list_actions(s.step.action.text for s in faulty if s.fault == fault))
        for fault, rule in EPISODE_RULES.items()
        if any(s.fault == fault for s in faulty)
    ]
    if not rules:
        rules.append("No single action was at fault, so take a more direct way to the goal.")
    untried = [action for signal in signals for action in signal.untried]
    if untried:
        rules.append(f"Explore what was never tried: {list_actions(untried)}.")
    return " ".join(rules)


def correction(signal: StepSignals) -> str:
    """One imperative sentence against the fault of a step."""
    assert signal.fault is not None
    other = signal.alternative
    return STEP_RULES[signal.fault].format(
        action=quoted(signal.step.action.text),
        instead=f"try {quoted(other)}" if other else "try something else",
    )


def confirmation(signal: StepSignals) -> str:
    """One imperative sentence for the choice of a step."""
    action = quoted(signal.step.action.text)
    if signal.step.reward > 0:
        return f"Choose {action} now, as it is what the task rewards."
    return f"Choose {action} now, as it opens up new possibilities."


def list_actions(actions: Iterable[str]) -> str:
    """The first few different ones."""
    different = list(dict.fromkeys(quoted(action) for action in actions))
    return ", ".join(different[:MAX_EXAMPLES])


def quoted(action: str) -> str:
    """An action on one line; a malformed one may be a whole answer long."""
    line = " ".join(action.split())
    return f'"{line}"' if len(line) <= 80 else f'"{line[:79]}…"'
