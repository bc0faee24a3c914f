"""Demonstrations of ALFWorld: games, an expert that searches, and episodes that grow longer."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.expert import count_placements
from opid_lightning.envs.alfworld.generation import generated_games
from opid_lightning.envs.alfworld.stock import DATA_VARIABLE
from opid_lightning.protocols import Environment
from opid_lightning.warm_start.alfworld.demonstrations import Demonstrator
from opid_lightning.warm_start.alfworld.tokenizer import alfworld_tokenizer
from opid_lightning.warm_start.curriculum import Curriculum, again_and_again
from opid_lightning.warm_start.demonstration_source import Demonstration


@dataclass(frozen=True)
class ALFWorldDemonstrations:
    """Games are generated; where $ALFWORLD_DATA is set, the released ones are shown too."""

    num_games: int = 3000  # generated
    sharpness: float = 1.0  # of the expert's search
    noise: float = 0.1  # share of its commands that are slips
    short_until: float = 0.3  # share of the training that shows the first steps alone
    whole_from: float = 0.7  # share of it from which episodes are shown whole

    @property
    def title(self) -> str:
        """As the model card calls it."""
        return "ALFWorld"

    @property
    def max_response_tokens(self) -> int:
        """Enough for the longest thought and command of the expert."""
        return 24

    def tokenizer(self) -> Any:
        """A tokenizer made of the words of ALFWorld."""
        return alfworld_tokenizer()

    def environments(self) -> Mapping[str, Environment]:
        """Generated games, and the released ones where ALFWORLD_DATA is set."""
        folder = generated_games(self.num_games, 120, 0, None)
        found: dict[str, Environment] = {"generated": brief_alfworld(folder)}
        if released := os.environ.get(DATA_VARIABLE):
            found["released"] = brief_alfworld(Path(released))
        return found

    def demonstrations(
        self, environments: Mapping[str, Environment], num_episodes: int, seed: int
    ) -> Iterator[Demonstration]:
        """All training games in a new order, again and again."""
        rng = random.Random(seed)
        shown = []
        for environment in environments.values():
            tasks = environment.tasks("train")
            placements = count_placements(tasks)
            expert = Demonstrator(environment, placements, self.sharpness, self.noise)
            session = environment.open()
            shown += [(expert, session, task) for task in tasks]
        curriculum = Curriculum(self.short_until, self.whole_from)
        for number, (expert, session, task) in enumerate(again_and_again(shown, rng)):
            num_steps = curriculum(number / num_episodes, expert.environment.max_steps)
            yield expert(session, task, rng, num_steps)

    def facts(self, environments: Mapping[str, Environment]) -> Mapping[str, str]:
        """The rows of the model card about the data."""
        sizes = {name: len(games.tasks("train")) for name, games in environments.items()}
        return {
            "expert": "searches where such things usually lie",
            "training games": ", ".join(f"{size:,} {name}" for name, size in sizes.items()),
            "random commands": f"{self.noise:.0%}, shown but not imitated",
            "sharpness of the search": f"{self.sharpness:g}",
        }


def brief_alfworld(data: Path) -> ALFWorld:
    """As conf=alfworld has it; the small policy reads no other prompts."""
    return ALFWorld(prompt_style="brief", history_length=30, data=str(data))
