"""From games to a policy that plays them: the stages of the warm start in order."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
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
    short_until: float = 0.3  # share of the training that shows the first steps alone
    whole_from: float = 0.7  # share of it from which episodes are shown whole
    save_every: int = 500  # episodes
    imitation: Imitation = field(default_factory=Imitation)

    def __call__(self) -> None:
        torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        start, next_save = time.monotonic(), self.save_every
        tokenizer = make_tokenizer()
        policy = Policy(make_model(tokenizer, self.seed, self.hidden, self.layers), tokenizer)
        environments = self._environments()
        demonstrations = self._demonstrations(environments)
        with Progress(self.imitation.num_episodes) as progress:
            for number, losses in self.imitation(policy, demonstrations, encode_chat(tokenizer)):
                progress(number, losses)
                if number >= next_save:
                    save(policy, self.out)
                    next_save += self.save_every
        save(policy, self.out)
        minutes = (time.monotonic() - start) / 60
        results = {name: evaluate(policy, games) for name, games in environments.items()}
        write_card(self, policy, environments, results, minutes)

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
