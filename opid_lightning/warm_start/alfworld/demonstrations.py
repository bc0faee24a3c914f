"""What is imitated: an expert's decisions, some of them with a skill in the prompt."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from opid_lightning.envs.alfworld.expert import Decision, Placements, SearchingExpert, kind_of
from opid_lightning.method.injection import with_episode_skill, with_step_skill
from opid_lightning.protocols import Environment, Session
from opid_lightning.types import Action, Observation, PromptText, Step, Task, Turn
from opid_lightning.warm_start.demonstration_source import Demonstration, Example
from opid_lightning.warm_start.skill_augmentation import episode_advice, step_advice, step_of


@dataclass(frozen=True)
class Wish:
    """Something that can be asked for in rooms of a type."""

    task: Task
    goal: str


@dataclass
class Demonstrator:
    """Has the expert play, and writes down what it decides.

    At each step other experts, who look on with goals of their own, say what they would do: what
    is seen is the same, so that only attention to the goal tells the answers apart.
    """

    environment: Environment
    placements: Placements
    sharpness: float = 1.0  # of the expert's search
    noise: float = 0.1  # share of commands that are slips; what the expert wants is still learned
    num_onlookers: int = 5
    asked_steps: int = 12  # of each episode, in which onlookers are asked
    episode_skill_share: float = 0.2  # of the episodes
    step_skill_share: float = 0.2  # of the steps
    unasked_share: float = 0.3  # of the step skills: they ask for what the expert would not do
    wishes: dict[int, list[Wish]] = field(default_factory=dict)  # of games so far, by room type

    def __call__(
        self, session: Session, task: Task, rng: random.Random, max_steps: int | None = None
    ) -> Demonstration:
        """The whole episode, or its first steps."""
        played = list(islice(self._play(session, task, rng), max_steps))
        steps = tuple(step for step, _, _ in played)
        skill = self._episode_skill(steps, task, rng)
        examples = []
        for step, decision, others in played:
            text = with_episode_skill(step.prompt.text, skill) if skill else step.prompt.text
            examples.append(Example(text, respond(decision)))
            if rng.random() < self.step_skill_share:
                examples.append(self._with_step_skill(text, step, decision, rng))
            examples += others if not skill else ()
        return Demonstration(tuple(examples), steps[-1].reward > 0)

    def _play(
        self, session: Session, task: Task, rng: random.Random
    ) -> Iterator[tuple[Step, Decision, list[Example]]]:
        opening = session.reset(task)
        observation, turns = opening.observation, list[Turn]()
        expert = self._expert(task, observation, rng)
        onlookers = self._onlookers(Wish(task, opening.goal), observation, rng)
        for index in range(self.environment.max_steps):
            decision = expert.decide()
            command = decision.command
            if rng.random() < self.noise:
                command = perturb(expert, observation, rng)
            text = self.environment.prompt(opening.goal, turns, observation)
            others = [
                Example(
                    self.environment.prompt(goal, turns, observation), respond(onlooker.decide())
                )
                for goal, onlooker in onlookers[: len(onlookers) * (index < self.asked_steps)]
                if onlooker.held is None or kind_of(onlooker.held) == onlooker.object_kind
            ]
            after = session.step(command)
            yield step_of(index, observation, text, command, after), decision, others
            turns.append(Turn(observation, Action(command, is_valid=True)))
            for player in (expert, *(onlooker for _, onlooker in onlookers)):
                player.see(command, after)
            observation = after
            if observation.done:
                return

    def _expert(self, task: Task, observation: Observation, rng: random.Random) -> SearchingExpert:
        expert = SearchingExpert.of(task, self.placements, rng, self.sharpness)
        expert.see(None, observation)
        return expert

    def _onlookers(
        self, wish: Wish, observation: Observation, rng: random.Random
    ) -> list[tuple[str, SearchingExpert]]:
        """Experts with goals of earlier games that make sense in this room."""
        earlier = self.wishes.setdefault(room_type_of(wish.task), [])
        drawn = rng.sample(earlier, min(self.num_onlookers, len(earlier)))
        earlier.append(wish)
        experts = [(other.goal, self._expert(other.task, observation, rng)) for other in drawn]
        return [(goal, expert) for goal, expert in experts if expert.has_what_it_needs]

    def _episode_skill(self, steps: tuple[Step, ...], task: Task, rng: random.Random) -> str:
        return episode_advice(task, steps) if rng.random() < self.episode_skill_share else ""

    def _with_step_skill(
        self, text: PromptText, step: Step, decision: Decision, rng: random.Random
    ) -> Example:
        others = [c for c in step.observation.admissible if c != decision.command]
        skill, command = step_advice(decision.command, rng.choice(others), self.unasked_share, rng)
        return Example(with_step_skill(text, skill), respond(replace(decision, command=command)))


def room_type_of(task: Task) -> int:
    """Kitchens are numbered below 100, living rooms from 200, bedrooms from 300, bathrooms 400."""
    return int(Path(task.payload).parent.parent.name.split("-")[-1]) // 100


def perturb(expert: SearchingExpert, observation: Observation, rng: random.Random) -> str:
    """Something that is possible here, or sounds as if it were, like a policy's own mistakes."""
    if rng.random() < 0.5:
        return rng.choice(observation.admissible)
    place = rng.choice([*expert.places, expert.here or expert.places[0]])
    thing = f"{expert.object_kind} {rng.randint(1, 3)}"
    form = rng.choice(
        ("go to {place}", "open {place}", "take {thing} from {place}", "take {thing}")
    )
    return form.format(place=place, thing=thing)


def respond(decision: Decision) -> str:
    """The response that the policy is taught: thought and command in their tags."""
    return f"<think>{decision.thought}</think><action>{decision.command}</action>"
