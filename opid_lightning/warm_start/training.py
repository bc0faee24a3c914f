"""From games to a policy that plays them: the stages of the warm start in order."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from opid_lightning.envs.alfworld.environment import ALFWorld
from opid_lightning.envs.alfworld.expert import count_placements
from opid_lightning.envs.alfworld.generation import generated_games
from opid_lightning.envs.alfworld.stock import DATA_VARIABLE
from opid_lightning.lm.chat import encode_chat
from opid_lightning.types import Policy
from opid_lightning.warm_start.card import write_card
from opid_lightning.warm_start.demonstrations import Demonstration, Demonstrator
from opid_lightning.warm_start.evaluation import evaluate
from opid_lightning.warm_start.hindsight import HindsightLessons
from opid_lightning.warm_start.imitation import Imitation
from opid_lightning.warm_start.progress import Progress
from opid_lightning.warm_start.small_policy import make_model, make_tokenizer

SHORT = 3  # steps


@dataclass(frozen=True)
class WarmStart:
    """Trains a small policy by imitation, plays the held-out games with it, and says how it went.

    Games are generated; where $ALFWORLD_DATA is set, the released training games are shown too.
    """

    out: Path  # folder for the policy, in Hugging Face format, and its card
    seed: int = 0
    threads: int = 1  # other programs on the same cores make more threads slower
    num_games: int = 3000  # generated
    hidden: int = 128
    layers: int = 4
    sharpness: float = 1.0  # of the expert's search
    noise: float = 0.1  # share of its commands that are slips
    short_until: float = 0.25  # share of the training that shows the first steps alone
    whole_from: float = 0.6  # share of it from which episodes are shown whole
    save_every: int = 500  # episodes
    imitation: Imitation = field(default_factory=Imitation)
    # Afterwards, attempts of its own that it is shown with hindsight on them, and what keeps it
    # from forgetting to play without: plain demonstrations.
    num_attempts: int = 1280
    num_reminders: int = 400
    reading_rate: float = 1e-3  # learning rate

    def __call__(self) -> None:
        torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        start = time.monotonic()
        tokenizer = make_tokenizer()
        policy = Policy(make_model(tokenizer, self.seed, self.hidden, self.layers), tokenizer)
        environments = self._environments()
        self._imitate(policy, self.imitation, self._demonstrations(environments))
        self._learn_to_read(policy, environments)
        save(policy, self.out)
        minutes = (time.monotonic() - start) / 60
        results = {name: evaluate(policy, games) for name, games in environments.items()}
        write_card(self, policy, environments, results, minutes)

    def _imitate(
        self, policy: Policy, imitation: Imitation, demonstrations: Iterable[Demonstration]
    ) -> None:
        next_save, encode = self.save_every, encode_chat(policy.tokenizer)
        with Progress(imitation.num_episodes) as progress:
            for number, losses in imitation(policy, demonstrations, encode):
                progress(number, losses)
                if number >= next_save:
                    save(policy, self.out)
                    next_save += self.save_every

    def _learn_to_read(self, policy: Policy, environments: dict[str, ALFWorld]) -> None:
        """The second part: half of all attempts and reminders in games of each kind."""
        rng, encode = random.Random(self.seed + 1), encode_chat(policy.tokenizer)
        lessons: list[Demonstration] = []
        for environment in environments.values():
            tasks = list(environment.tasks("train"))
            placements = count_placements(tasks)
            read = HindsightLessons(environment, placements, sharpness=self.sharpness)
            attempted = rng.sample(tasks, self.num_attempts // len(environments))
            lessons += read(policy, attempted, encode, rng)
            show = Demonstrator(environment, placements, self.sharpness, self.noise)
            session = environment.open()
            reminded = rng.sample(tasks, self.num_reminders // len(environments))
            lessons += [show(session, task, rng) for task in reminded]
        rng.shuffle(lessons)
        second = replace(self.imitation, num_episodes=len(lessons), learning_rate=self.reading_rate)
        self._imitate(policy, second, lessons)

    def _environments(self) -> dict[str, ALFWorld]:
        """By where their games come from."""
        folder = generated_games(self.num_games, 120, 0, None)
        found = {"generated": brief_alfworld(folder)}
        if released := os.environ.get(DATA_VARIABLE):
            found["released"] = brief_alfworld(Path(released))
        return found

    def _demonstrations(self, environments: dict[str, ALFWorld]) -> Iterator[Demonstration]:
        """Without end: all training games in a new order, again and again."""
        rng = random.Random(self.seed)
        shown = []
        for environment in environments.values():
            tasks = environment.tasks("train")
            placements = count_placements(tasks)
            expert = Demonstrator(environment, placements, self.sharpness, self.noise)
            session = environment.open()
            shown += [(expert, session, task) for task in tasks]
        number = 0
        while True:
            rng.shuffle(shown)
            for expert, session, task in shown:
                yield expert(session, task, rng, self._num_steps(number, expert.environment))
                number += 1

    def _num_steps(self, number: int, environment: ALFWorld) -> int:
        """Of the episode with this number.

        Looking a thing up among a few others is learned long before looking it up among many.
        """
        progress = number / self.imitation.num_episodes
        grown = (progress - self.short_until) / (self.whole_from - self.short_until)
        return round(SHORT + (environment.max_steps - SHORT) * min(1.0, max(0.0, grown)))


def brief_alfworld(data: Path) -> ALFWorld:
    """As conf=alfworld has it; the small policy reads no other prompts."""
    return ALFWorld(prompt_style="brief", history_length=30, data=str(data))


def save(policy: Policy, folder: Path) -> None:
    policy.model.save_pretrained(folder)  # type: ignore[operator]
    policy.tokenizer.save_pretrained(folder)
