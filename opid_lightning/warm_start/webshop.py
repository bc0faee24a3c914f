"""Demonstrations of WebShop: generated catalogues, and an expert that compares what it reads."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from opid_lightning.envs.webshop import WebShop
from opid_lightning.envs.webshop.expert import Decision, ReadingExpert
from opid_lightning.protocols import Environment
from opid_lightning.types import Observation, Turn
from opid_lightning.warm_start.curriculum import Curriculum, again_and_again
from opid_lightning.warm_start.demonstration_source import Demonstration
from opid_lightning.warm_start.demonstrations import Demonstrator
from opid_lightning.warm_start.skill_augmentation import ALL_ADVICE
from opid_lightning.warm_start.tokenizer import WORDS, make_tokenizer, often

# One token each, and part of the text.
TAGS = ("<think>", "</think>", "<action>", "</action>", "</think><action>")
# What stands around names, one token each.
PHRASES = (
    "Your turn. Your goal:",
    "\n> ",
    "search[",
    "click[",
    "click[< prev]",
    "click[features]",
    "click[buy now]",
    "click[next >]",
    "and price lower than",
    ".00 dollars",
    " is not said: features",
    ".0,",
    "Advice for this task, learned from an earlier attempt:",
    "Advice for this very moment:",
    "This way of working solved the task.",
    '", then "',
)
_CHUNKS = (*map(re.escape, sorted(PHRASES, key=len, reverse=True)), *WORDS)
BUY = "click[buy now]"


@dataclass(frozen=True)
class WebShopDemonstrations:
    """Wishes in many catalogues, so that products have to be read and cannot be known by heart.

    None of them is the catalogue of conf=webshop, in which the policy is evaluated.
    """

    num_catalogues: int = 12
    num_products: int = 1000  # of each
    noise: float = 0.1  # share of commands that are slips
    short_until: float = 0.5  # share of the training that shows the first steps alone
    whole_from: float = 0.9  # share of it from which episodes are shown whole

    @property
    def title(self) -> str:
        """As the model card calls it."""
        return "WebShop"

    @property
    def max_response_tokens(self) -> int:
        """Enough for the longest thought and click of the expert."""
        return 32

    def environments(self) -> Mapping[str, Environment]:
        """The catalogue that is evaluated, which no demonstration is about."""
        return {"generated": self._catalogue(0)}

    def _catalogue(self, seed: int) -> WebShop:
        """As conf=webshop has it but for its seed; the small policy reads no other prompts."""
        return WebShop(
            prompt_style="brief",
            history_length=15,
            results_per_page=4,
            num_products=self.num_products,
            catalogue_seed=seed,
        )

    @property
    def _catalogues(self) -> list[WebShop]:
        return [self._catalogue(seed) for seed in range(1, self.num_catalogues + 1)]

    def tokenizer(self) -> Any:
        """A tokenizer made of the words of the generated catalogues."""
        return make_tokenizer(self._corpus(), _CHUNKS, TAGS)

    def _corpus(self) -> Iterator[str]:
        """What the first demonstrations say: all words of the catalogues."""
        for demonstration in islice(self.demonstrations({}, 1, seed=0), 1000):
            last = demonstration.examples[-1]
            yield f"{last.prompt.text} {last.response}"
        numbers = tuple(f" {number} -{number}" for number in range(300))
        yield from often((*ALL_ADVICE, *numbers), PHRASES)

    def demonstrations(
        self, environments: Mapping[str, Environment], num_episodes: int, seed: int
    ) -> Iterator[Demonstration]:
        """All training goals in a new order, again and again."""
        rng = random.Random(seed)
        shown = []
        for catalogue in self._catalogues:
            show = Demonstrator(
                catalogue,
                lambda task, opening: ReadingExpert.of(opening.goal, rng),
                perturb,
                respond,
                self.noise,
            )
            shown += [(show, catalogue.open(), task) for task in catalogue.tasks("train")]
        curriculum = Curriculum(self.short_until, self.whole_from)
        for number, (show, session, task) in enumerate(again_and_again(shown, rng)):
            num_steps = curriculum(number / num_episodes, show.environment.max_steps)
            yield show(session, task, rng, num_steps)

    def facts(self, environments: Mapping[str, Environment]) -> Mapping[str, str]:
        """The rows of the model card about the data."""
        return {
            "expert": "opens what looks right, compares, and buys",
            "training catalogues": f"{self.num_catalogues} of {self.num_products:,} products, none "
            "of them the one that is evaluated",
            "random clicks": f"{self.noise:.0%}, shown but not imitated",
        }


def perturb(goal: str, turns: Sequence[Turn], observation: Observation, rng: random.Random) -> str:
    """A click on anything but the button that ends it all, or a search for half of the wish."""
    clicks = [a for a in observation.admissible if a.startswith("click[") and a != BUY]
    if clicks:
        return rng.choice(clicks)
    words = re.findall(r"[a-z]+", goal)
    return f"search[{' '.join(rng.sample(words, len(words) // 2))}]"


def respond(decision: Decision) -> str:
    """With a blank, so that a first word is the same token here as on pages."""
    return f"<think> {decision.thought}</think><action>{decision.command}</action>"
