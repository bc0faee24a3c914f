"""Learning to say what an expert says: cross-entropy on whole episodes at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from opid_lightning.lm.forward.prefix_tree import PrefixTree, merge, stack
from opid_lightning.types import Policy, TokenIds
from opid_lightning.warm_start.demonstration_source import Demonstration


@dataclass(frozen=True)
class Lesson:
    """A demonstration in tokens: a tree, and which of its tokens are said by the expert."""

    tree: PrefixTree
    is_response: Bool[np.ndarray, " N"]


@dataclass(frozen=True)
class Imitation:
    """Hyper-parameters of supervised training."""

    num_episodes: int = 9_000
    learning_rate: float = 2e-3
    warmup: float = 0.02  # share of the episodes in which the learning rate rises
    weight_decay: float = 0.01
    batch_tokens: int = 1024  # padding included; many small steps: attention learns to look up late
    prompt_weight: float = 0.5  # of the loss on prompts: to foretell the game is to know it
    bucket: int = 64  # episodes among which such of one length are batched

    def __call__(
        self,
        policy: Policy,
        demonstrations: Iterable[Demonstration],
        encode: Callable[[str], TokenIds],
    ) -> Iterator[tuple[int, dict[str, float]]]:
        """Trains the policy; after each step says how many episodes it saw, and the losses."""
        optimizer = torch.optim.AdamW(
            policy.model.train().parameters(), betas=(0.9, 0.98), weight_decay=self.weight_decay
        )
        chosen = islice(demonstrations, self.num_episodes)
        lessons = (lesson_of(policy.tokenizer, encode, shown) for shown in chosen)
        num_episodes = 0
        for batch in self.batches(lessons):
            for group in optimizer.param_groups:
                progress = num_episodes / self.num_episodes
                group["lr"] = self.learning_rate * schedule(progress, self.warmup)
            losses = self.update(policy, optimizer, batch)
            num_episodes += len(batch)
            yield num_episodes, losses

    def update(
        self, policy: Policy, optimizer: torch.optim.Optimizer, batch: Sequence[Lesson]
    ) -> dict[str, float]:
        """One step on a few episodes; its losses."""
        losses, is_response = token_losses(policy.model, batch, policy.tokenizer.pad_token_id)
        response, prompt = losses[is_response].mean(), losses[~is_response].mean()
        (response + self.prompt_weight * prompt).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return {"response": response.item(), "prompt": prompt.item()}

    def batches(self, lessons: Iterator[Lesson]) -> Iterator[list[Lesson]]:
        """Episodes of similar lengths, up to a number of tokens."""
        while bucket := list(islice(lessons, self.bucket)):
            bucket.sort(key=lambda lesson: len(lesson.tree.tokens))
            batch: list[Lesson] = []
            for lesson in bucket:
                if batch and (len(batch) + 1) * len(lesson.tree.tokens) > self.batch_tokens:
                    yield batch
                    batch = []
                batch.append(lesson)
            yield batch


def lesson_of(
    tokenizer: Any, encode: Callable[[str], TokenIds], demonstration: Demonstration
) -> Lesson:
    """The episode as one tree of tokens, with a mask on those to be learned."""
    sequences, prompt_lengths = [], []
    for example in demonstration.examples:
        prompt = encode(example.prompt.text)
        response = tokenizer.encode(example.response, add_special_tokens=False)
        sequences.append((*prompt, *response, tokenizer.eos_token_id))
        prompt_lengths.append(len(prompt))
    tree = merge(sequences)
    is_response = np.zeros(len(tree.tokens), dtype=bool)
    for path, length in zip(tree.paths, prompt_lengths, strict=True):
        is_response[path[length:]] = True
    return Lesson(tree, is_response)


def token_losses(
    model: Any, lessons: Sequence[Lesson], pad_id: int
) -> tuple[Float[Tensor, " M"], Bool[Tensor, " M"]]:
    """The cross-entropy of every token but the roots, and whether it belongs to a response."""
    forest = stack([lesson.tree for lesson in lessons], pad_id)
    width = forest.input_ids.shape[1]
    nodes, parents, kinds = [], [], []
    for row, lesson in enumerate(lessons):
        inner = np.flatnonzero(lesson.tree.parents >= 0)
        nodes.append(row * width + inner)
        parents.append(row * width + lesson.tree.parents[inner])
        kinds.append(lesson.is_response[inner])
    hidden = model.model(
        input_ids=forest.input_ids,
        position_ids=forest.position_ids,
        attention_mask=forest.attention_mask,
        use_cache=False,
    ).last_hidden_state.flatten(0, 1)
    logits = model.lm_head(hidden[torch.from_numpy(np.concatenate(parents))])
    targets = forest.input_ids.flatten()[torch.from_numpy(np.concatenate(nodes))]
    losses = functional.cross_entropy(logits.float(), targets, reduction="none")
    return losses, torch.from_numpy(np.concatenate(kinds))


def schedule(progress: float, warmup: float) -> float:
    """Linear up, then a cosine down to a twentieth."""
    if progress < warmup:
        return progress / warmup
    fall = (progress - warmup) / (1 - warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * fall))
