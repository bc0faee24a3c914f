"""Rules: an analyst that needs no language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opid_lightning.protocols import AnalysisError
from opid_lightning.skills.step_signals import Fault, StepSignals, read_signals
from opid_lightning.types import Skills, Trajectory

MAX_WORKFLOW_ACTIONS = 15
MAX_EXAMPLES = 3

EPISODE_RULES: dict[Fault, str] = {
    "malformed": "Answer every time with one action in the required format.",
    "unavailable": "Choose only actions that are available; these were not: {actions}.",
    "no_effect": "Do not insist on actions that change nothing: {actions}.",
    "repeated": "Do not repeat a choice in a situation you have been in: {actions}.",
}
STEP_RULES: dict[Fault, str] = {
    "malformed": "Answer with exactly one action in the required format.",
    "unavailable": "Do not choose {action} now, as it is not available; {instead}.",
    "no_effect": "Do not choose {action} now, as it changes nothing; {instead}.",
    "repeated": "Leave the loop: you chose {action} here before; {instead}.",
}


@dataclass(frozen=True)
class Rules:
    """Writes skills from surface signals of the trajectory alone: deterministic and offline.

    It is a heuristic. It sees malformed answers, actions that were not listed, that changed
    nothing or that were repeated in the same situation, which actions opened up new ones, and
    which earned reward. It understands neither the goal nor the observations: the workflow of a
    success is the list of its faultless actions, detours included, and the rules for a failure
    name its faults, not its cause.
    """

    max_step_skills: int = 5

    def __post_init__(self) -> None:
        if self.max_step_skills < 0:
            raise ValueError(
                f"Rules.max_step_skills is {self.max_step_skills}; expected 0 or more."
            )

    def __call__(self, trajectory: Trajectory) -> Skills:
        if not trajectory.steps:
            raise AnalysisError("no_steps", f"trajectory {trajectory.id} has no steps")
        signals = read_signals(trajectory.steps)
        faulty = [signal for signal in signals if signal.fault]
        if trajectory.won:
            critical = most_useful(signals, faulty, self.max_step_skills)
            episode_skill = workflow(signals)
        else:
            critical = faulty
            episode_skill = rules_of_failure(signals, faulty)
        return Skills(
            episode_skill=episode_skill,
            step_skills={s.step.index: advice(s) for s in critical[: self.max_step_skills]},
            episode_summary=summary(trajectory, faulty),
        )


def most_useful(
    signals: Sequence[StepSignals], faulty: Sequence[StepSignals], count: int
) -> list[StepSignals]:
    """Steps that earned reward, then those that opened up most; at most half are faults."""
    keys = [s for s in signals if not s.fault and (s.step.reward > 0 or s.num_new_actions)]
    keys.sort(key=lambda s: (-s.step.reward, -s.num_new_actions, s.step.index))
    num_keys = count - min(len(faulty), count // 2)
    return [*keys[:num_keys], *faulty]


def workflow(signals: Sequence[StepSignals]) -> str:
    """The faultless actions in order, equal neighbours counted, the last ones where many."""
    runs: list[tuple[str, int]] = []
    for signal in signals:
        action = quoted(signal.step.action.text)
        if signal.fault:
            continue
        if runs and runs[-1][0] == action:
            runs[-1] = (action, runs[-1][1] + 1)
        else:
            runs.append((action, 1))
    actions = [action if times == 1 else f"{action} {times} times" for action, times in runs]
    start = "Earlier steps led up to this: " if len(actions) > MAX_WORKFLOW_ACTIONS else ""
    if not actions:
        return "Finish the task at the first opportunity."
    listed = ", then ".join(actions[-MAX_WORKFLOW_ACTIONS:])
    return f"This way of working solved the task. {start}{listed}."


def rules_of_failure(signals: Sequence[StepSignals], faulty: Sequence[StepSignals]) -> str:
    rules = [
        rule.format(actions=some(s.step.action.text for s in faulty if s.fault == fault))
        for fault, rule in EPISODE_RULES.items()
        if any(s.fault == fault for s in faulty)
    ]
    if not rules:
        rules.append("No single action was at fault, so take a more direct way to the goal.")
    untried = [action for signal in signals for action in signal.untried]
    if untried:
        rules.append(f"Explore what was never tried: {some(untried)}.")
    return " ".join(rules)


def advice(signal: StepSignals) -> str:
    """One imperative sentence for one step."""
    action = quoted(signal.step.action.text)
    if signal.fault:
        instead = f"try {quoted(signal.untried[0])}" if signal.untried else "try something else"
        return STEP_RULES[signal.fault].format(action=action, instead=instead)
    if signal.step.reward > 0:
        return f"Choose {action} now, as it is what the task rewards."
    return f"Choose {action} now, as it opens up new possibilities."


def summary(trajectory: Trajectory, faulty: Sequence[StepSignals]) -> str:
    outcome = "succeeded" if trajectory.won else "failed"
    return f"The attempt {outcome} after {len(trajectory.steps)} steps, {len(faulty)} in vain."


def some(actions: Iterable[str]) -> str:
    """The first few different ones."""
    different = list(dict.fromkeys(quoted(action) for action in actions))
    return ", ".join(different[:MAX_EXAMPLES])


def quoted(action: str) -> str:
    """An action on one line; a malformed one may be a whole answer long."""
    line = " ".join(action.split())
    return f'"{line}"' if len(line) <= 80 else f'"{line[:79]}…"'
