"""From tasks to a policy that solves some of them: the stages of a warm start in order."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.lm.text.prompt_check import TAUGHT_PROMPTS, prompts_of
from opid_lightning.protocols import Environment
from opid_lightning.types import Policy
from opid_lightning.warm_start.demonstration_source import DemonstrationSource
from opid_lightning.warm_start.evaluation import evaluate
from opid_lightning.warm_start.imitation import Imitation
from opid_lightning.warm_start.model import make_model
from opid_lightning.warm_start.model_card import write_card
from opid_lightning.warm_start.progress import Progress


@dataclass(frozen=True)
class WarmStart:
    """Trains a small policy by imitation, plays the held-out tasks, and says how it went."""

    out: Path  # folder for the policy, in Hugging Face format, and its card
    source: DemonstrationSource
    seed: int = 0
    threads: int = 1  # other programs on the same cores make more threads slower
    hidden: int = 128
    layers: int = 4
    save_every: int = 500  # episodes
    imitation: Imitation = field(default_factory=Imitation)

    def __call__(self) -> None:
        """Trains, saves as it goes, then plays the held-out tasks and writes the card."""
        torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        start, next_save = time.monotonic(), self.save_every
        tokenizer = self.source.tokenizer()
        policy = Policy(make_model(tokenizer, self.seed, self.hidden, self.layers), tokenizer)
        environments = self.source.environments()
        declare_prompts(policy, environments.values())
        shown = self.source.demonstrations(environments, self.imitation.num_episodes, self.seed)
        with Progress(self.imitation.num_episodes) as progress:
            for number, losses in self.imitation(policy, shown, encode_chat(tokenizer)):
                progress(number, losses)
                if number >= next_save:
                    save(policy, self.out)
                    next_save += self.save_every
        save(policy, self.out)
        minutes = (time.monotonic() - start) / 60
        results = {
            name: evaluate(policy, environment, self.source.max_response_tokens)
            for name, environment in environments.items()
        }
        write_card(self, policy, environments, results, minutes)


def declare_prompts(policy: Policy, environments: Iterable[Environment]) -> None:
    """Has the policy's config.json say which prompts it can read."""
    taught = [prompts_of(environment) for environment in environments]
    if any(prompts != taught[0] for prompts in taught):
        raise ValueError(f"The environments show different prompts: {taught}. Give them one form.")
    setattr(policy.model.config, TAUGHT_PROMPTS, taught[0])


def save(policy: Policy, folder: Path) -> None:
    """Writes model and tokenizer in Hugging Face format."""
    policy.model.save_pretrained(folder)  # type: ignore[operator]
    policy.tokenizer.save_pretrained(folder)
