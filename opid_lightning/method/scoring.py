"""Scoring: the old policy's log-probs of each response under each of its contexts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.lm.forward.layouts import pad_sequences
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.protocols import IterationObserver
from opid_lightning.ranks import ALONE, Ranks
from opid_lightning.types import (
    SKILL_LEVELS,
    BatchPlan,
    Layout,
    Policy,
    RoutedStep,
    ScoredStep,
    SkillLevel,
    TokenIds,
)

Context = tuple[TokenIds, TokenIds]  # prompt, response


def score_rows(
    old: Policy,
    reference: Policy | None,
    rows: Sequence[RoutedStep],
    plan: BatchPlan,
    temperature: float,
    observer: IterationObserver,
    layout: Layout = pad_sequences,
    ranks: Ranks = ALONE,
) -> tuple[ScoredStep, ...]:
    """Scores rows in the micro-batches in which they are trained on; keeps the order of `rows`.

    The first update's ratio is then exactly 1: the same rows in the same layout go through the
    same kernels twice. Call it in the training forward's precision, for the same reason. Each
    rank scores what it trains on, and all of them get all of it.
    """
    micro_batches = [rank for step in first_epoch(plan, len(rows)) for rank in ranks.share(step)]
    observer.on_stage_start("scoring", sum(map(len, micro_batches)))
    score = MicroBatchScorer(old, reference, used_levels(rows), temperature, layout, ranks)
    scored: dict[int, ScoredStep] = {}
    num_tokens = 0
    for micro_batch in micro_batches:
        steps, tokens = score([rows[index] for index in micro_batch])
        scored.update(zip(micro_batch, steps, strict=True))
        num_tokens += tokens
        observer.on_stage_progress("scoring", len(scored))
    observer.on_stage_end("scoring", num_tokens)
    return gather_scores(scored, rows, ranks)


def first_epoch(plan: BatchPlan, num_rows: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Its optimizer steps: those that hold every row once."""
    num_seen = 0
    for step in plan:
        if num_seen == num_rows:
            return
        yield step
        num_seen += sum(map(len, step))


def used_levels(rows: Sequence[RoutedStep]) -> tuple[SkillLevel, ...]:
    """The levels at which any of the rows is to be scored, in the order of `SKILL_LEVELS`."""
    used = {level for row in rows for level in row.skill_prompt_ids}
    return tuple(level for level in SKILL_LEVELS if level in used)


def gather_scores(
    scored: Mapping[int, ScoredStep], rows: Sequence[RoutedStep], ranks: Ranks
) -> tuple[ScoredStep, ...]:
    """What all ranks scored. Log-probs alone travel: every rank has the rows."""
    if ranks.count > 1:
        mine = {index: replace(step, routed=None) for index, step in scored.items()}  # type: ignore[arg-type]
        scored = {
            index: replace(step, routed=rows[index])
            for part in ranks.gather(mine)
            for index, step in part.items()
        }
    return tuple(scored[index] for index in range(len(rows)))


@dataclass(frozen=True)
class MicroBatchScorer:
    """Scores the rows of one micro-batch under all of their contexts.

    Among several ranks it runs as many forwards for every micro-batch, if need be on a filler:
    where parameters are sharded, the ranks have to gather them together.
    """

    old: Policy
    reference: Policy | None
    levels: tuple[SkillLevel, ...]  # that any row of the iteration is routed to
    temperature: float
    layout: Layout
    ranks: Ranks

    def __call__(self, rows: Sequence[RoutedStep]) -> tuple[list[ScoredStep], int]:
        """The scored rows, and how many tokens that took."""
        plain = dict(enumerate((row.prompt_ids, row.response_ids) for row in rows))
        routed = {level: contexts_of(level, rows) for level in self.levels}
        old = self._forward(self.old, plain)
        # Level by level, as their prompts differ in length and padding costs what tokens cost;
        # apart from the plain ones also where all of them begin alike, so that the ratio is 1.
        skilled = {level: self._forward(self.old, routed[level]) for level in self.levels}
        reference = self._forward(self.reference, plain) if self.reference else None
        steps = [
            ScoredStep(
                routed=row,
                old_logprobs=old[index],
                skill_logprobs={level: skilled[level][index] for level in row.skill_prompt_ids},
                reference_logprobs=reference[index] if reference else None,
            )
            for index, row in enumerate(rows)
        ]
        passes = [plain, *routed.values(), *([plain] if self.reference else [])]
        contexts = [context for contexts in passes for context in contexts.values()]
        return steps, sum(len(prompt) + len(response) for prompt, response in contexts)

    def _forward(
        self, policy: Policy, contexts: Mapping[int, Context]
    ) -> dict[int, Float[Tensor, " R"]]:
        """By the row's position; nothing for a filler."""
        given = [*contexts.values()]
        if not given and self.ranks.count > 1:
            given = [((policy.tokenizer.pad_token_id,), ())]
        found = logprobs_of(policy, given, self.temperature, self.layout)
        return dict(zip(contexts, found, strict=False))


def contexts_of(level: SkillLevel, rows: Sequence[RoutedStep]) -> dict[int, Context]:
    """Those of the rows that are scored with a skill of this level, by position."""
    return {
        index: (row.skill_prompt_ids[level], row.response_ids)
        for index, row in enumerate(rows)
        if level in row.skill_prompt_ids
    }


@torch.no_grad()
def logprobs_of(
    policy: Policy,
    contexts: Sequence[Context],
    temperature: float,
    layout: Layout = pad_sequences,
) -> list[Float[Tensor, " R"]]:
    """Log-probs of each response after its prompt, in one forward, on the CPU."""
    if not contexts:
        return []
    prompts, responses = zip(*contexts, strict=True)
    inputs = layout(prompts, responses, policy.tokenizer.pad_token_id)
    device = next(policy.model.parameters()).device
    logprobs, _ = response_logprobs(policy.model, inputs.to(device), temperature)
    return [
        row[: len(response)].float().cpu()
        for row, response in zip(logprobs, responses, strict=True)
    ]
