"""Method: from scored steps and their outcome advantages to the credit of each token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from opid_lightning.method.rows import Rows, check_logprobs
from opid_lightning.method.rules.checks import check_numbers, check_shape, check_weights
from opid_lightning.method.rules.rule import Rule
from opid_lightning.types import SKILL_LEVELS, RowAdvantages, Sample, ScoredStep, SkillLevel
from opid_lightning.value_checks import check_range


def skill_advantages(
    skill_logprobs: Float[Tensor, "*_"],
    old_logprobs: Float[Tensor, "*_"],
    mask: Shaped[Tensor, "*_"] | None,
    normalise: bool = False,
    clip: float | None = None,
    epsilon: float = 1e-6,
) -> Float[Tensor, "*_"]:
    """`delta = skill - old` where the mask is set, then normalised, then clipped; else 0.

    Without a mask, all tokens are selected.
    """
    shapes = {tuple(x.shape) for x in (skill_logprobs, old_logprobs, mask) if x is not None}
    if len(shapes) > 1:
        raise ValueError(
            "log-probs with the skill, log-probs without it, and their mask must have one shape, "
            f"got {sorted(shapes)}"
        )
    advantages = (skill_logprobs - old_logprobs).detach()
    if mask is not None:
        advantages = advantages * mask
    if normalise:
        advantages = _normalise(advantages, mask, epsilon)
    return advantages if clip is None else advantages.clamp(-clip, clip)


def _normalise(
    advantages: Float[Tensor, "*_"], mask: Shaped[Tensor, "*_"] | None, epsilon: float
) -> Float[Tensor, "*_"]:
    """Mean 0 and population deviation 1 over the selected tokens of all rows."""
    is_selected = torch.ones_like(advantages, dtype=torch.bool) if mask is None else mask.bool()
    selected = advantages[is_selected]
    if not len(selected):
        return advantages
    centred = advantages - selected.mean()
    deviation = selected.std(correction=0)
    if deviation > epsilon:
        centred = centred / (deviation + epsilon)
    return torch.where(is_selected, centred, advantages)


@dataclass(frozen=True)
class Method:
    """Computes delta, the shift of log-probs in hindsight, and has the rule make credit of it.

    `delta = log pi_old(y | h~) - log pi_old(y | h)`, summed over levels by the rule's weights.
    """

    rule: Rule  # makes the credit of each token from outcome and delta
    # scale delta to mean 0 and deviation 1 over a level's scored tokens
    normalise_delta: bool = False
    epsilon: float = 1e-6  # added to that deviation
    clip_delta: float | None = None  # clip delta to +-this, after normalising and before the weight

    def __post_init__(self) -> None:
        check_weights(self.rule)
        check_range("method.epsilon", self.epsilon, above=0)
        check_range("method.clip_delta", self.clip_delta, above=0, or_null=True)

    def needs(self, level: SkillLevel) -> bool:
        """Whether steps must be scored with skills of this level."""
        return self.rule.weight(level) > 0

    def __call__(
        self, steps: Sequence[ScoredStep], advantages: RowAdvantages, iteration: int
    ) -> tuple[Sample, ...]:
        """The samples of all steps of an iteration, in the order given.

        Raises ValueError where a log-prob is not finite, or what the rule returns is not.
        """
        check_logprobs(steps)
        if not steps:
            return ()
        rows = Rows(steps)
        delta, mask = self.delta(rows)
        outcome = (advantages.outcome + advantages.state).unsqueeze(-1)
        # A copy: a rule may change in place what it is given.
        returned = self.rule.advantages(outcome.clone(), delta, mask, iteration)
        credit = check_shape(self.rule, "advantages", returned, delta).detach()
        check_numbers(self.rule, "advantages", credit.float(), [step.routed.name for step in steps])
        terms = zip(steps, advantages.outcome.tolist(), advantages.state.tolist(), strict=True)
        added = (credit - outcome).float()
        return tuple(
            Sample(step, episode, state, added[row, : step.old_logprobs.numel()])
            for row, (step, episode, state) in enumerate(terms)
        )

    def delta(self, rows: Rows) -> tuple[Float[Tensor, "B R"], Float[Tensor, "B R"]]:
        """Delta in float64, exactly 0 where no skill was scored, and where one was."""
        deltas = [torch.zeros_like(step.old_logprobs) for step in rows.steps]
        masks = [torch.zeros_like(step.old_logprobs) for step in rows.steps]
        for level in filter(self.needs, SKILL_LEVELS):
            scored = rows.scored_with(level)
            for row, shift in zip(scored, self._shifts(rows, scored, level), strict=True):
                deltas[row] += self.rule.weight(level) * shift
                masks[row] = torch.ones_like(shift)
        return (
            pad_sequence(deltas, batch_first=True).double(),
            pad_sequence(masks, batch_first=True).double(),
        )

    def _shifts(
        self, rows: Rows, scored: Sequence[int], level: SkillLevel
    ) -> Sequence[Float[Tensor, " _"]]:
        """Of these rows, before their weight; normalised over the tokens of all of them."""
        if not scored:
            return ()
        steps = [rows.steps[row] for row in scored]
        shifts = skill_advantages(
            torch.cat([step.skill_logprobs[level] for step in steps]),
            torch.cat([step.old_logprobs for step in steps]),
            None,
            self.normalise_delta,
            self.clip_delta,
            self.epsilon,
        )
        return torch.split(shifts, Rows(steps).response_lengths)
