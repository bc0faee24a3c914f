"""Learning to read hindsight: what an expert would do where the policy itself has just failed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from opid_lightning.envs.alfworld.environment import ALFWorld
from opid_lightning.envs.alfworld.expert import Placements, SearchingExpert
from opid_lightning.protocols import Analyst
from opid_lightning.rollout import Rollout, SessionPool
from opid_lightning.sampling.hugging_face import HuggingFace
from opid_lightning.skills.injection import with_episode_skill, with_step_skill
from opid_lightning.skills.routing import Routing
from opid_lightning.skills.rules import Rules
from opid_lightning.types import Policy, PromptText, Route, Task, TokenIds, Trajectory
from opid_lightning.warm_start.demonstrations import Demonstration, Example, respond
from opid_lightning.warm_start.evaluation import Silent

AT_ONCE = 64  # attempts


@dataclass(frozen=True)
class HindsightLessons:
    """The policy's own attempts, each step with its skill in the prompt, answered by an expert.

    As in OPID's re-scoring: an analyst reads the finished attempt, routing picks the skill of
    each step, and what is asked is what to do in that very situation. A model that follows
    instructions can use such advice; a small one has to learn that it is worth reading.
    """

    environment: ALFWorld
    placements: Placements
    analyst: Analyst = field(default_factory=Rules)
    routing: Routing = field(default_factory=Routing)
    sharpness: float = 1.0  # of the expert's search

    def __call__(
        self,
        policy: Policy,
        tasks: Sequence[Task],
        encode: Callable[[str], TokenIds],
        rng: random.Random,
    ) -> Iterator[Demonstration]:
        """Plays each task once, at temperature 1, and corrects it."""
        for trajectory in self._attempts(policy, tasks, encode, rng):
            lesson = self.correct(trajectory, rng)
            if lesson.examples:
                yield lesson

    def _attempts(
        self,
        policy: Policy,
        tasks: Sequence[Task],
        encode: Callable[[str], TokenIds],
        rng: random.Random,
    ) -> Iterator[Trajectory]:
        play = Rollout(group_size=1, max_response_tokens=24)
        sessions = SessionPool(self.environment)
        for start in range(0, len(tasks), AT_ONCE):
            with HuggingFace(max_batch=AT_ONCE).serving(policy) as generation:
                chosen, seed = tasks[start : start + AT_ONCE], rng.getrandbits(32)
                yield from play(sessions, chosen, generation, encode, seed, Silent())
        sessions.close()

    def correct(self, trajectory: Trajectory, rng: random.Random) -> Demonstration:
        """Until the attempt is where the expert has no answer, for example with a wrong thing."""
        skills = self.analyst(trajectory)
        expert = SearchingExpert.of(trajectory.task, self.placements, rng, self.sharpness)
        expert.see(None, trajectory.steps[0].observation)
        examples = []
        for step, after in zip(trajectory.steps, (*trajectory.steps[1:], None), strict=True):
            if not expert.has_what_it_needs:
                break
            prompt = advised(step.prompt.text, self.routing(step.index, skills))
            examples.append(Example(prompt, respond(expert.decide())))
            if after is not None:
                expert.see(step.action.text, after.observation)
        return Demonstration(tuple(examples), trajectory.won)


def advised(prompt: PromptText, route: Route) -> PromptText:
    """With the skill that a step is scored with."""
    if route.episode_skill:
        prompt = with_episode_skill(prompt, route.episode_skill)
    if route.step_skill:
        prompt = with_step_skill(prompt, route.step_skill)
    return prompt
