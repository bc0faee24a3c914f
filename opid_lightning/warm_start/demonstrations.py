"""What is imitated: an expert's decisions, some of them with a skill in the prompt."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol, TypeVar

from opid_lightning.method.injection import with_episode_skill, with_step_skill
from opid_lightning.protocols import Environment, Session
from opid_lightning.types import Action, Observation, Opening, Step, Task, Turn
from opid_lightning.warm_start.demonstration_source import Demonstration, Example
from opid_lightning.warm_start.skill_augmentation import episode_advice, step_advice, step_of


class Decision(Protocol):
    """What to do next, and in a few words why. A dataclass."""

    @property
    def thought(self) -> str:
        """Why, in a few words, which the response shows in `<think>`."""

    @property
    def command(self) -> str:
        """What the environment is to do, as the response writes it."""


class Expert(Protocol):
    """Plays one episode: is told what it sees, and asked what to do."""

    def see(self, command: str | None, observation: Observation) -> None:
        """What a command brought; the first observation comes without one."""

    def decide(self) -> Any:
        """A Decision, as the expert's own type."""


Slip = Callable[[str, Sequence[Turn], Observation, random.Random], str]
_Decided = TypeVar("_Decided", bound=Decision)


@dataclass(frozen=True)
class Demonstrator:
    """Has an expert play, and writes down what it decides."""

    environment: Environment
    expert: Callable[[Task, Opening], Expert]
    perturb: Slip  # from goal, turns and observation to a command as a policy's own mistakes are
    respond: Callable[[Any], str]  # a Decision to the response that says it
    noise: float = 0.1  # share of commands that are slips; what the expert wants is still learned
    episode_skill_share: float = 0.2  # of the episodes
    step_skill_share: float = 0.2  # of the steps
    unasked_share: float = 0.3  # of the step skills: they ask for what the expert would not do

    def __call__(
        self, session: Session, task: Task, rng: random.Random, max_steps: int | None = None
    ) -> Demonstration:
        """The whole episode, or its first steps."""
        opening = session.reset(task)
        played = list(islice(self._play(session, task, opening, rng), max_steps))
        steps = tuple(step for step, _, _ in played)
        is_skilled = rng.random() < self.episode_skill_share
        skill = episode_advice(task, steps) if is_skilled else ""
        examples = []
        for step, decision, other in played:
            text = with_episode_skill(step.prompt.text, skill) if skill else step.prompt.text
            examples.append(Example(text, self.respond(decision)))
            if rng.random() < self.step_skill_share:
                advice, command = step_advice(decision.command, other, self.unasked_share, rng)
                response = self.respond(_with_command(decision, command))
                examples.append(Example(with_step_skill(text, advice), response))
        return Demonstration(tuple(examples), steps[-1].reward > 0)

    def _play(
        self, session: Session, task: Task, opening: Opening, rng: random.Random
    ) -> Iterator[tuple[Step, Any, str]]:
        """Each step, what the expert wanted, and another command that it might have given."""
        expert, observation, turns = self.expert(task, opening), opening.observation, list[Turn]()
        expert.see(None, observation)
        for index in range(self.environment.max_steps):
            other = self.perturb(opening.goal, turns, observation, rng)
            if rng.random() < self.noise:
                decision, command = copy.deepcopy(expert).decide(), other
            else:
                decision = expert.decide()
                command = decision.command
            text = self.environment.prompt(opening.goal, turns, observation)
            after = session.step(command)
            yield step_of(index, observation, text, command, after), decision, other
            turns.append(Turn(observation, Action(command, is_valid=True)))
            observation = after
            if observation.done:
                return
            expert.see(command, observation)


def _with_command(decision: _Decided, command: str) -> _Decided:
    return replace(decision, command=command)  # type: ignore[type-var]
