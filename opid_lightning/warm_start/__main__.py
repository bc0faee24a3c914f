"""python -m opid_lightning.warm_start OUT"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from opid_lightning.envs.alfworld.environment import ALFWorld
from opid_lightning.envs.alfworld.expert import count_placements
from opid_lightning.envs.alfworld.generation import generated_games
from opid_lightning.envs.alfworld.stock import DATA_VARIABLE
from opid_lightning.lm.chat import encode_chat
from opid_lightning.types import Policy, Task
from opid_lightning.warm_start.demonstrations import Demonstration, Demonstrator
from opid_lightning.warm_start.evaluation import play
from opid_lightning.warm_start.imitation import Imitation
from opid_lightning.warm_start.small_policy import make_model, make_tokenizer


@dataclass(frozen=True)
class WarmStart:
    out: Path
    seed: int = 0
    threads: int = 2
    num_games: int = 3000
    hidden: int = 128
    layers: int = 4
    sharpness: float = 1.0
    noise: float = 0.05
    evaluate_every: float = 5.0  # minutes
    num_evaluated: int = 60
    imitation: Imitation = field(default_factory=Imitation)

    def environments(self) -> dict[str, ALFWorld]:
        generated = generated_games(self.num_games, 120, 0, None)
        found = {
            "generated": ALFWorld(prompt_style="brief", history_length=50, data=str(generated))
        }
        if real := os.environ.get(DATA_VARIABLE):
            found["released"] = ALFWorld(prompt_style="brief", history_length=50, data=real)
        return found

    def run(self) -> None:
        torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        tokenizer = make_tokenizer()
        policy = Policy(make_model(tokenizer, self.seed, self.hidden, self.layers), tokenizer)
        environments = self.environments()
        clock = {"next": 60 * self.evaluate_every, "start": time.monotonic(), "print": 0.0}

        def report(metrics: dict[str, float]) -> None:
            now = time.monotonic() - clock["start"]
            if now >= clock["print"]:
                clock["print"] = now + 20
                print(
                    f"{now:6.0f} s",
                    json.dumps({k: round(v, 4) for k, v in metrics.items()}),
                    flush=True,
                )
            if now >= clock["next"]:
                self.evaluate(policy, environments)
                clock["next"] = time.monotonic() - clock["start"] + 60 * self.evaluate_every

        self.imitation(policy, self.demonstrations(environments), encode_chat(tokenizer), report)
        self.evaluate(policy, environments)

    def demonstrations(self, environments: dict[str, ALFWorld]) -> Iterator[Demonstration]:
        rng = random.Random(self.seed)
        tasks = {name: list(e.tasks("train")) for name, e in environments.items()}
        placements = {name: count_placements(found) for name, found in tasks.items()}
        makers = {
            name: Demonstrator(e, placements[name], self.sharpness, self.noise)
            for name, e in environments.items()
        }
        sessions = {name: e.open() for name, e in environments.items()}
        everything = [(name, task) for name, found in tasks.items() for task in found]
        while True:
            rng.shuffle(everything)
            for name, task in everything:
                yield makers[name](sessions[name], task, rng)

    def evaluate(self, policy: Policy, environments: dict[str, ALFWorld]) -> None:
        policy.model.save_pretrained(self.out)
        policy.tokenizer.save_pretrained(self.out)
        for name, environment in environments.items():
            tasks = spread(environment.tasks("valid_unseen"), self.num_evaluated)
            for temperature in (0.4, 1.0):
                start = time.monotonic()
                played = play(policy, environment, tasks, temperature)
                kinds = {t.task.kind for t in played}
                by_kind = {
                    k: f"{sum(t.won for t in played if t.task.kind == k)}/{sum(t.task.kind == k for t in played)}"
                    for k in sorted(kinds)
                }
                steps = [step for t in played for step in t.steps]
                invalid = sum(s.action.text not in s.observation.admissible for s in steps) / len(
                    steps
                )
                print(
                    f"{name} T={temperature}: {sum(t.won for t in played)}/{len(played)} invalid {invalid:.3f} {by_kind} {time.monotonic() - start:.0f} s",
                    flush=True,
                )
        policy.model.train()


def spread(tasks: Sequence[Task], count: int) -> list[Task]:
    count = min(count, len(tasks))
    return [tasks[i * len(tasks) // count] for i in range(count)]


if __name__ == "__main__":
    from jsonargparse import CLI

    CLI(WarmStart, as_positional=True).run()
