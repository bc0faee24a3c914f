"""How an iteration's rows are cut into optimizer steps, and these into micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.lm.forward.layouts import merge_sequences, pad_right, pad_sequences
from opid_lightning.lm.forward.prefix_tree import cut
from opid_lightning.types import Batch, BatchPlan, Layout, Sample, TokenIds, Totals
from opid_lightning.value_checks import check_range

_MicroBatches = list[tuple[int, ...]]


@dataclass(frozen=True)
class Batching:
    """Every optimizer step of an iteration has as many rows as the next, or one more.

    It accumulates the same number of micro-batches. A short step at the end would be a whole step
    for few rows: with Adam, one row would move the weights as far as all the others.

    With `share_prefixes`, the rows of a micro-batch are merged, and shared prefixes are computed
    once; this helps when a step's prompt continues the one before. Micro-batches then end
    where they share least. The gradient is the same but for rounding. Raises ValueError
    for a setting below 1.
    """

    mini_batch_rows: int | None = 256  # rows of an optimizer step at most; null: all
    # rows of a padded forward at most; null: only micro_batch_tokens limits them
    micro_batch_rows: int | None = None
    ppo_epochs: int = 1  # passes over the iteration's rows
    share_prefixes: bool = False  # compute prefixes that rows share only once
    # Of a forward: those of its rows at the length of the longest, or of its tree, which is best
    # where a trajectory fits. Changes memory and speed, not the gradient.
    micro_batch_tokens: int = 4096

    def __post_init__(self) -> None:
        check_range("batching.mini_batch_rows", self.mini_batch_rows, at_least=1, or_null=True)
        check_range("batching.micro_batch_rows", self.micro_batch_rows, at_least=1, or_null=True)
        check_range("batching.ppo_epochs", self.ppo_epochs, at_least=1)
        check_range("batching.micro_batch_tokens", self.micro_batch_tokens, at_least=1)

    @property
    def layout(self) -> Layout:
        """How prompts and responses become a model's inputs."""
        return merge_sequences if self.share_prefixes else pad_sequences

    def plan(self, sequences: Sequence[TokenIds], seed: int, num_ranks: int = 1) -> BatchPlan:
        """In what order rows of these tokens are trained on; a function of the seed.

        Rows are shuffled over optimizer steps, and sorted inside one, so that micro-batches are
        of similar rows. A step of fewer micro-batches is filled up with such without any rows,
        so that all steps have as many, and each of the ranks as many of them (`ranks_share`).
        """
        if not sequences:
            raise ValueError("no rows to train on: the rollout returned trajectories without steps")
        generator = torch.Generator().manual_seed(seed)
        num_steps = -(-len(sequences) // (self.mini_batch_rows or len(sequences)))
        micro_batches = self._merged if self.share_prefixes else self._padded
        steps = [
            micro_batches(rows.tolist(), sequences)
            for _ in range(self.ppo_epochs)
            for rows in torch.randperm(len(sequences), generator=generator).tensor_split(num_steps)
        ]
        num_batches = -(-max(map(len, steps)) // num_ranks) * num_ranks
        return tuple((*step, *[()] * (num_batches - len(step))) for step in steps)

    # Both put the largest first, so that what does not fit in memory fails at once.

    def _padded(self, rows: Sequence[int], sequences: Sequence[TokenIds]) -> _MicroBatches:
        ordered = sorted(rows, key=lambda row: len(sequences[row]), reverse=True)
        parts = []
        while ordered:
            size = max(1, self.micro_batch_tokens // len(sequences[ordered[0]]))
            size = min(size, self.micro_batch_rows or size)
            parts.append(tuple(ordered[:size]))
            ordered = ordered[size:]
        return parts

    def _merged(self, rows: Sequence[int], sequences: Sequence[TokenIds]) -> _MicroBatches:
        trees = cut([sequences[row] for row in rows], self.micro_batch_tokens)
        return [tuple(rows[member] for member in tree) for tree in trees]


def totals_of(samples: Sequence[Sample], num_batches: int, max_response: int) -> Totals:
    """Sizes of an optimizer step on these samples."""
    lengths = [len(sample.scored.old_logprobs) for sample in samples]
    is_routed = [bool(sample.scored.skill_logprobs) for sample in samples]
    return Totals(
        num_rows=len(samples),
        num_tokens=sum(lengths),
        max_response=max_response,
        num_batches=num_batches,
        num_routed_tokens=sum(n for n, routed in zip(lengths, is_routed, strict=True) if routed),
    )


def collate(
    samples: Sequence[Sample],
    totals: Totals,
    pad_id: int,
    temperature: float,
    layout: Layout = pad_sequences,
) -> Batch:
    """A micro-batch, laid out as drawn in types.Batch; without samples, a row of weight 0."""
    rows = [sample.scored.routed for sample in samples]
    inputs = layout(
        [row.prompt_ids for row in rows] or [(pad_id,)],
        [row.response_ids for row in rows] or [()],
        pad_id,
    )
    width = inputs.response_ids.shape[1]
    skill = [_routed_logprobs(sample) for sample in samples]
    return Batch(
        names=tuple(row.name for row in rows),
        inputs=inputs,
        response_mask=_columns([torch.ones(len(row.response_ids)) for row in rows], width),
        old_logprobs=_columns([sample.scored.old_logprobs for sample in samples], width),
        sampler_logprobs=_columns([Tensor(row.step.completion.logprobs) for row in rows], width),
        advantages=_columns([sample.advantages for sample in samples], width),
        skill_logprobs=_columns(skill, width),
        routed_mask=_columns([torch.ones_like(logprobs) for logprobs in skill], width),
        reference_logprobs=_reference_columns(samples, width),
        temperature=temperature,
        totals=totals,
    )


def _columns(rows: Sequence[Float[Tensor, " _"]], width: int) -> Float[Tensor, "B R"]:
    return pad_right(rows or [torch.empty(0)], width)


def _routed_logprobs(sample: Sample) -> Float[Tensor, " _"]:
    """Of the context to which routing sent the step; none where it sent it nowhere."""
    contexts = sample.scored.skill_logprobs
    return contexts.get("step", contexts.get("episode", torch.empty(0)))


def _reference_columns(samples: Sequence[Sample], width: int) -> Float[Tensor, "B R"] | None:
    references = [sample.scored.reference_logprobs for sample in samples]
    scored = [logprobs for logprobs in references if logprobs is not None]
    assert len(scored) in (0, len(samples)), "some rows were scored by the reference, some not"
    return _columns(scored, width) if len(scored) == len(samples) else None
