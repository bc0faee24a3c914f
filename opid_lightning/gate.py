"""The gate through which everything that an environment returns enters a rollout."""

from __future__ import annotations

import dataclasses
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeVar

import numpy as np

from opid_lightning.types import (
    Action,
    Completion,
    Observation,
    Opening,
    PromptText,
    Task,
    Trajectory,
)
from opid_lightning.value_checks import LARGEST_REWARD, check_range

_log = logging.getLogger(__name__)
_OF_A_SESSION = ("reset", "step", "close")

_Answer = TypeVar("_Answer", Action, Observation, Opening, PromptText, Task)

_Session = TypeVar("_Session")


@dataclass(frozen=True)
class Gate:
    """Checks the answers of one environment, and turns numpy's scalars into Python's.

    A reward that is not finite would make the policy's weights NaN, and a flag of another type
    would be read as won. Raises ValueError, naming the environment, the task and the step.
    """

    environment: str  # its class, for messages

    @contextmanager
    def calling(self, where: str) -> Iterator[None]:
        """Around each call of the environment, which must not end the run as if it were over."""
        try:
            yield
        except SystemExit as error:
            raise ValueError(
                f"{self.environment}: {where} ended the process by sys.exit({error.code!r})"
                f"{line_of(error)}; expected it to return or to raise an error. Fix it in the "
                "environment."
            ) from error
        except StopIteration as error:  # would end a loop of ours, and its attempts with it
            raise ValueError(
                f"{self.environment}: {where} raised StopIteration{line_of(error)}, as next() does "
                "where nothing is left; expected it to return or to raise another error. Give "
                "next() a default in the environment."
            ) from error
        except KeyboardInterrupt:
            _log.warning("%s: %s was interrupted (KeyboardInterrupt).", self.environment, where)
            raise

    def tasks(self, tasks: Callable[[Any], object], split: str) -> list[Task]:
        """Those that an environment's method of this name has for a split."""
        where = f"tasks({split!r})"
        with self.calling(where):
            answer = tasks(split)
            if not isinstance(answer, Iterable):
                raise ValueError(
                    f"{self.environment}: {where} returned {shown(answer)}; expected a list of "
                    "Task. Fix it in the environment."
                )
            return [self.task(task, split) for task in answer]

    def session(self, answer: _Session) -> _Session:
        """What `open` returned, with all methods of a session."""
        lacks = [name for name in _OF_A_SESSION if not callable(getattr(answer, name, None))]
        if lacks:
            raise ValueError(
                f"{self.environment}: open() returned {shown(answer)}, which has no "
                f"{lacks[0]}(); expected a session with {', '.join(_OF_A_SESSION)}. Fix it in the "
                "environment."
            )
        return answer

    def task(self, answer: object, split: str) -> Task:
        """The task with checked fields.

        Like all methods here, raises ValueError that names the environment.
        """
        checks = {"id": encodable_text, "kind": encodable_text}
        return self._checked(answer, Task, checks, f"tasks({split!r})")

    def opening(self, answer: object, task: Task) -> Opening:
        """What `reset` returned, goal and observation checked."""
        where = f"reset() to {task.id!r}"
        opening = self._checked(answer, Opening, {"goal": text}, where)
        observation = self._observation(opening.observation, where)
        return dataclasses.replace(opening, observation=observation)

    def observation(self, answer: object, task: Task, step: int) -> Observation:
        """What `step` returned, its reward finite and within 1e9 of 0."""
        return self._observation(answer, f"step() at step {step} of {task.id!r}")

    def action(self, answer: object, task: Task, step: int) -> Action:
        """What `action` returned, its flag a plain bool."""
        checks = {"text": text, "is_valid": flag}
        return self._checked(answer, Action, checks, f"action() at step {step} of {task.id!r}")

    def prompt(self, answer: object, goal: str, step: int) -> PromptText:
        """What `prompt` returned, all three parts text."""
        checks = dict.fromkeys(("task", "situation", "request"), text)
        return self._checked(answer, PromptText, checks, f"prompt() at step {step} of {goal!r}")

    def _observation(self, answer: object, where: str) -> Observation:
        checks = {
            "text": text,
            "admissible": texts,
            "reward": reward,
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
    return Gate(name_of(getattr(environment, "environment", environment)))  # inside one of workers


def check_generation(generation: object) -> None:
    """Raises where what a sampler's `serving` gave cannot be asked for responses."""
    needed = ("submit", "collect", "weight_version", "metrics")
    if lacks := [name for name in needed if not hasattr(generation, name)]:
        raise ValueError(
            f"The sampler's serving() gave {shown(generation)}, which has no "
            f"{' and no '.join(lacks)}; expected a Generation (opid_lightning/protocols.py). Fix "
            "the sampler."
        )


def completions_of(answer: object, generation: object) -> Sequence[Completion]:
    """What a sampler's `collect` returned. Raises ValueError where that is no completions."""
    is_list = isinstance(answer, Sequence) and not isinstance(answer, str)
    given: Sequence[Any] = answer if is_list else (answer,)  # type: ignore[assignment]
    if odd := [each for each in given if not isinstance(each, Completion)]:
        raise ValueError(
            f"{name_of(generation)}.collect returned {shown(odd[0])}; expected a list of "
            "Completion of opid_lightning.types. Fix the sampler."
        )
    return given


def name_of(thing: object) -> str:
    """Its class, as `class_path` names it."""
    kind = type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"


def check_max_steps(environment: object) -> None:
    """Raises where no step of a game would be played."""
    max_steps: Any = getattr(environment, "max_steps", None)
    name = f"env.max_steps, of {gate_of(environment).environment},"
    check_range(name, max_steps, at_least=1)
    if not isinstance(max_steps, Integral):
        raise ValueError(f"{name} is {max_steps}; expected a whole number")


def check_any_step(environment: object, trajectories: Sequence[Trajectory]) -> None:
    """Raises where every game was over before its first step."""
    if trajectories and not any(trajectory.steps for trajectory in trajectories):
        raise ValueError(
            f"{gate_of(environment).environment}: reset() returned done=True for all "
            f"{len(trajectories)} games that were played, so that none had a step; expected "
            "False. Fix reset(), or leave such tasks out of tasks()."
        )


def line_of(error: BaseException) -> str:
    """In which file and line it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return "".join(f" ({frame.filename}, line {frame.lineno})" for frame in last)


# Each returns the plain Python value, or raises TypeError with what was expected.


def text(value: object) -> str:
    """With U+FFFD for halves of UTF-16 pairs, which no tokenizer and no file can take."""
    if not isinstance(value, str):
        raise TypeError("text")
    return without_lone_surrogates(str.__str__(value))  # not as an Enum writes itself


def encodable_text(value: object) -> str:
    """A name: with something replaced it might be another's."""
    if isinstance(value, str) and text(value) != value:
        raise TypeError("text without lone surrogates")
    return text(value)


def texts(value: object) -> tuple[str, ...]:
    """A tuple of texts, from a tuple or list; raises TypeError for anything else."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError("a tuple or list of texts")
    if not all(isinstance(item, str) for item in value):
        raise TypeError("texts alone in it")
    return tuple(map(text, value))


def without_lone_surrogates(value: str) -> str:
    """With U+FFFD for each; pairs are joined."""
    if value.isascii():  # which Python knows without looking
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value


def reward(value: object) -> float:
    """A finite Python float within `LARGEST_REWARD` of 0; raises TypeError for anything else."""
    value = plain(value)
    if not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise TypeError("a finite number")
    if abs(value) > LARGEST_REWARD:
        raise TypeError(
            f"a number within {LARGEST_REWARD:g} of 0, as advantages and gradients of larger "
            "rewards overflow"
        )
    return float(value)


def flag(value: object) -> bool:
    """A Python bool, from bools, 0 and 1, NumPy's too; raises TypeError for anything else."""
    value = plain(value)
    if not isinstance(value, int | float) or value not in (0, 1):
        raise TypeError("True or False")
    return bool(value)


def plain(value: Any) -> object:
    """Python's own number in a numpy scalar, or in an array or tensor of no axes.

    What holds no number is returned as it is: a masked value, a time, a tensor without data.
    """
    kind = getattr(getattr(value, "dtype", None), "kind", "f")  # of numpy alone
    if getattr(value, "shape", None) != () or kind in "mM" or np.ma.is_masked(value):
        return value
    try:
        return value.item()
    except Exception:  # of whatever class it is; the value is refused by name
        return value


def shown(value: object, longest: int = 80) -> str:
    """The value on one line of at most `longest` characters, with its type."""
    try:
        seen = " ".join(repr(value).split())
    except Exception as error:  # of whatever class it is; and Python writes no number this long
        return f"{type(value).__name__} (its repr raises {type(error).__name__})"
    cut = f"{seen[:longest]}..." if len(seen) > longest else seen
    return f"{cut} ({type(value).__name__})"
