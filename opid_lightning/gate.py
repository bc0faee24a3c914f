"""The gate through which everything that an environment returns enters a rollout."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from opid_lightning.types import Action, Observation, Opening, PromptText, Task

_Answer = TypeVar("_Answer", Action, Observation, Opening, PromptText, Task)


@dataclass(frozen=True)
class Gate:
    """Checks the answers of one environment, and turns numpy's scalars into Python's.

    A reward that is not finite would make the policy's weights NaN, and a flag of another type
    would be read as won. Raises ValueError, naming the environment, the task and the step.
    """

    environment: str  # its class, for messages

    def task(self, answer: object, split: str) -> Task:
        checks = {"id": text, "kind": text}
        return self._checked(answer, Task, checks, f"tasks({split!r})")

    def opening(self, answer: object, task: Task) -> Opening:
        where = f"reset() to {task.id!r}"
        opening = self._checked(answer, Opening, {"goal": text}, where)
        observation = self._observation(opening.observation, where)
        return dataclasses.replace(opening, observation=observation)

    def observation(self, answer: object, task: Task, step: int) -> Observation:
        return self._observation(answer, f"step() at step {step} of {task.id!r}")

    def action(self, answer: object, task: Task, step: int) -> Action:
        checks = {"text": text, "is_valid": flag}
        return self._checked(answer, Action, checks, f"action() at step {step} of {task.id!r}")

    def prompt(self, answer: object, goal: str, step: int) -> PromptText:
        checks = dict.fromkeys(("task", "situation", "request"), text)
        return self._checked(answer, PromptText, checks, f"prompt() at step {step} of {goal!r}")

    def _observation(self, answer: object, where: str) -> Observation:
        checks = {
            "text": text,
            "admissible": texts,
            "reward": finite_number,
            "done": flag,
            "won": flag,
        }
        return self._checked(answer, Observation, checks, where)

    def _checked(
        self,
        answer: object,
        kind: type[_Answer],
        checks: Mapping[str, Callable[[Any], Any]],
        where: str,
    ) -> _Answer:
        if not isinstance(answer, kind):
            raise ValueError(
                f"{self.environment}: {where} returned {shown(answer)}; expected "
                f"{kind.__name__}({', '.join(checks)}) of opid_lightning.types."
            )
        values = {}
        for name, check in checks.items():
            try:
                values[name] = check(getattr(answer, name))
            except TypeError as error:
                raise ValueError(
                    f"{self.environment}: {where} returned {kind.__name__}.{name}="
                    f"{shown(getattr(answer, name))}; expected {error}. Fix it in the environment."
                ) from error
        return dataclasses.replace(answer, **values)


def gate_of(environment: object) -> Gate:
    """The gate of an environment, named as `env.class_path` names it."""
    kind = type(getattr(environment, "environment", environment))  # inside one of workers
    return Gate(f"{kind.__module__}.{kind.__qualname__}")


# Each returns the plain Python value, or raises TypeError with what was expected.


def text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return str(value)


def texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError("a tuple or list of texts")
    if not all(isinstance(item, str) for item in value):
        raise TypeError("texts alone in it")
    return tuple(map(str, value))


def finite_number(value: object) -> float:
    value = plain(value)
    if not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise TypeError("a finite number")
    return float(value)


def flag(value: object) -> bool:
    value = plain(value)
    if not isinstance(value, int | float) or value not in (0, 1):
        raise TypeError("True or False")
    return bool(value)


def plain(value: Any) -> object:
    """Python's own number in a numpy scalar, or in an array or tensor of no axes."""
    return value.item() if getattr(value, "shape", None) == () else value


def shown(value: object, longest: int = 80) -> str:
    seen = repr(value)
    cut = f"{seen[:longest]}..." if len(seen) > longest else seen
    return f"{cut} ({type(value).__name__})"
