"""Scoring: the old policy's log-probs of each response under each of its contexts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.lm.logprobs import response_logprobs
from opid_lightning.lm.padding import pad_sequences
from opid_lightning.protocols import Listener
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
    listener: Listener,
    layout: Layout = pad_sequences,
) -> tuple[ScoredStep, ...]:
    """Scores rows in the micro-batches in which they are trained on; keeps the order of `rows`.

    The first update's ratio is then exactly 1: the same rows in the same layout go through the
    same kernels twice. Call it in the training forward's precision, for the same reason.
    """
    listener.on_stage_start("scoring", len(rows))
    scored: dict[int, ScoredStep] = {}
    num_tokens = 0
    for micro_batch in (indices for step in plan for indices in step):
        new = [index for index in micro_batch if index not in scored]  # not again in later epochs
        steps, tokens = score_micro_batch(
            [rows[i] for i in new], old, reference, temperature, layout
        )
        scored.update(zip(new, steps, strict=True))
        num_tokens += tokens
        listener.on_stage_progress("scoring", len(scored))
    listener.on_stage_end("scoring", num_tokens)
    return tuple(scored[index] for index in range(len(rows)))


def score_micro_batch(
    rows: Sequence[RoutedStep],
    old: Policy,
    reference: Policy | None,
    temperature: float,
    layout: Layout,
) -> tuple[list[ScoredStep], int]:
    """The scored rows, and how many tokens that took."""
    plain = [(row.prompt_ids, row.response_ids) for row in rows]
    routed = {level: contexts_of(level, rows) for level in SKILL_LEVELS}
    old_logprobs = logprobs_of(old, plain, temperature, layout)
    # Level by level, as their prompts differ in length and padding costs what tokens cost; apart
    # from the plain ones also where all of them begin alike, so that the ratio is 1.
    skill_logprobs: dict[SkillLevel, dict[int, Float[Tensor, " R"]]] = {}
    for level, contexts in routed.items():
        found = logprobs_of(old, [*contexts.values()], temperature, layout)
        skill_logprobs[level] = dict(zip(contexts, found, strict=True))
    reference_logprobs = logprobs_of(reference, plain, temperature, layout) if reference else None
    steps = [
        ScoredStep(
            routed=row,
            old_logprobs=old_logprobs[index],
            skill_logprobs={level: skill_logprobs[level][index] for level in row.skill_prompt_ids},
            reference_logprobs=reference_logprobs[index] if reference_logprobs else None,
        )
        for index, row in enumerate(rows)
    ]
    skilled = [context for contexts in routed.values() for context in contexts.values()]
    passes = [*plain, *skilled, *(plain if reference else [])]
    return steps, sum(len(prompt) + len(response) for prompt, response in passes)


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
