"""An environment of your own: say the words that are asked for, one a step, in their order.

    cd examples
    python environment.py                                                   # trains on it
    python -m opid_lightning fit conf=keydoor env.class_path=environment.Echo env.num_words=4
    python -m opid_lightning play conf=keydoor env.class_path=environment.Echo commands=- game=1

docs/environments.md says what each part promises.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from opid_lightning import Action, Observation, Opening, PromptText, Session, Split, Task, Turn

WORDS = ("left", "right", "take", "open")  # keydoor's policy knows these


@dataclass(frozen=True)
class Echo:
    """All sequences of `num_words` words. The fields are settings, `env.num_words=4`."""

    num_words: int = 3
    max_steps: int = 5  # the episode ends after so many, won or not

    def __post_init__(self) -> None:
        if not 2 <= self.num_words <= self.max_steps:
            raise ValueError(
                f"env.num_words is {self.num_words}; expected 2 to env.max_steps, which is "
                f"{self.max_steps}"
            )

    def tasks(self, split: Split) -> Sequence[Task]:
        """Three quarters for training; the rest is shared by both sets of held-out tasks."""
        sequences = list(itertools.product(WORDS, repeat=self.num_words))
        random.Random(0).shuffle(sequences)  # the same in every process
        train, half = len(sequences) * 3 // 4, len(sequences) * 7 // 8
        parts = {
            "train": sequences[:train],
            "valid_seen": sequences[train:half],
            "valid_unseen": sequences[half:],
        }
        return [Task("-".join(s), f"{len(set(s))}_distinct", s) for s in parts[split]]

    def open(self) -> Session:
        """A new game. The rollout keeps it and resets it to one task after another."""
        return Game()

    def prompt(self, goal: str, history: Sequence[Turn], observation: Observation) -> PromptText:
        """Skills are written between these three parts when a step is scored again."""
        return PromptText(task=goal, situation=observation.text, request="then")

    def action(self, response: str, observation: Observation) -> Action:
        """Never raises: what cannot be read is an invalid action, and is played all the same."""
        said = response.strip()
        return Action(said, is_valid=said in observation.admissible)


class Game:
    """One live game; `reset` starts over and leaves nothing of the game before."""

    def reset(self, task: Task) -> Opening:
        """The payload is whatever `tasks` put there."""
        self.left: tuple[str, ...] = task.payload
        return Opening("first", self._observation(reward=0.0))

    def step(self, action: str) -> Observation:
        """A reward of 1 for the right word; a wrong one changes nothing but the step is gone."""
        is_right = bool(self.left) and action == self.left[0]
        self.left = self.left[1:] if is_right else self.left
        return self._observation(float(is_right))

    def close(self) -> None:
        """Gives everything back; there is nothing."""

    def _observation(self, reward: float) -> Observation:
        over = not self.left
        return Observation(" ".join(self.left), WORDS, reward, done=over, won=over)


if __name__ == "__main__":
    from train import train

    train(env=Echo())
