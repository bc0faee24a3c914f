"""One iteration's update from its trajectory log, in plain torch and from the formulas alone.

Nothing of the project's method is imported: log-probs, advantages, loss, clipping and learning
rate are written out again, slowly, a row at a time, so that a run can be held to them.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Row = Mapping[str, Any]  # of the trajectory log, with `skill_prompts`: ids by level
Model = torch.nn.Module


@dataclass(frozen=True)
class Settings:
    temperature: float
    base_rate: float
    rate_share: float  # of this iteration
    max_norm: float
    skill_weights: Mapping[str, float]
    state_weight: float = 0.0
    kl_weight: float = 0.0
    entropy_weight: float = 0.0
    distillation_weight: float = 0.0
    is_gspo: bool = False
    gamma: float = 0.95


@dataclass(frozen=True)
class Scores:
    old: list[Tensor]
    skilled: list[dict[str, Tensor]]
    reference: list[Tensor]


def updated(start: Model, first: Model, rows: Sequence[Row], settings: Settings) -> Model:
    """The weights after the iteration, from those before it and those before the first one."""
    scores = scored(start, first, rows, settings.temperature)
    advantages = advantages_of(rows, scores, settings)
    model = copy.deepcopy(start)
    for step in sorted({step for row in rows for step in row["optimizer_steps"]}):
        chosen = [index for index, row in enumerate(rows) if step in row["optimizer_steps"]]
        model.zero_grad()
        loss_of(model, rows, chosen, scores, advantages, settings).backward()
        descend(model, settings)
    return model


def descend(model: Model, settings: Settings) -> None:
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
    factor = min(1.0, settings.max_norm / (norm + 1e-6))
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p -= settings.base_rate * settings.rate_share * factor * p.grad


def scored(start: Model, first: Model, rows: Sequence[Row], temperature: float) -> Scores:
    def plain(model: Model) -> list[Tensor]:
        return [
            logprobs(model, row["prompt_token_ids"], row["response_token_ids"], temperature)[0]
            for row in rows
        ]

    with torch.no_grad():
        skilled = [
            {
                level: logprobs(start, prompt, row["response_token_ids"], temperature)[0]
                for level, prompt in row["skill_prompts"].items()
            }
            for row in rows
        ]
        return Scores(plain(start), skilled, plain(first))


def logprobs(
    model: Model, prompt: Sequence[int], response: Sequence[int], temperature: float
) -> tuple[Tensor, Tensor]:
    """Of each response token, and the entropy at its place."""
    ids = torch.tensor([[*prompt, *response]])
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1] / temperature
    everything = logits.log_softmax(-1)
    entropy = -(everything.exp() * everything).sum(-1)
    return everything[torch.arange(len(response)), torch.tensor(response)], entropy


def advantages_of(rows: Sequence[Row], scores: Scores, settings: Settings) -> list[Tensor]:
    outcome, state = outcome_advantages(rows), state_advantages(rows, settings.gamma)
    found = []
    for index in range(len(rows)):
        old, skilled = scores.old[index], scores.skilled[index]
        skill = sum(
            (settings.skill_weights[level] * (new - old) for level, new in skilled.items()),
            torch.zeros_like(old),
        )
        found.append(outcome[index] + settings.state_weight * state[index] + skill)
    return found


def outcome_advantages(rows: Sequence[Row]) -> list[float]:
    """(R - mean) / (population deviation + 1e-6) over the trajectories of a task."""
    rewards: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        rewards[row["task_id"]][row["attempt"]] += row["reward"]
    return [
        standardised(rewards[row["task_id"]][row["attempt"]], rewards[row["task_id"]].values())
        for row in rows
    ]


def state_advantages(rows: Sequence[Row], gamma: float) -> list[float]:
    """The same of discounted returns over the rows with one task and observation."""
    returns = [
        sum(
            gamma ** (later["step"] - row["step"]) * later["reward"]
            for later in rows
            if all(later[key] == row[key] for key in ("task_id", "attempt"))
            and later["step"] >= row["step"]
        )
        for row in rows
    ]
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row, value in zip(rows, returns, strict=True):
        groups[row["task_id"], row["observation"]].append(value)
    return [
        standardised(value, groups[row["task_id"], row["observation"]])
        for row, value in zip(rows, returns, strict=True)
    ]


def standardised(value: float, group: Iterable[float]) -> float:
    values = list(group)
    mean = sum(values) / len(values)
    if len(values) == 1:
        return 0.0
    deviation = math.sqrt(sum((x - mean) ** 2 for x in values) / len(values))
    return (value - mean) / (deviation + 1e-6)


def loss_of(
    model: Model,
    rows: Sequence[Row],
    chosen: Sequence[int],
    scores: Scores,
    advantages: Sequence[Tensor],
    settings: Settings,
) -> Tensor:
    """Means over all response tokens of the optimizer step; GSPO's over its sequences."""
    new, entropy = {}, {}
    for i in chosen:
        ids = rows[i]["prompt_token_ids"], rows[i]["response_token_ids"]
        new[i], entropy[i] = logprobs(model, *ids, settings.temperature)

    def token_mean(values: Callable[[int], Tensor], over: Sequence[int] = chosen) -> Tensor:
        return sum_of(values(i).sum() for i in over) / sum(len(new[i]) for i in over)

    if settings.is_gspo:
        policy = sum_of(gspo(new[i], scores.old[i], advantages[i]) for i in chosen) / len(chosen)
    else:
        policy = token_mean(lambda i: ppo((new[i] - scores.old[i]).exp(), advantages[i]))
    kl = token_mean(lambda i: k3(scores.reference[i] - new[i]))
    loss = policy + settings.kl_weight * kl
    loss = loss - settings.entropy_weight * token_mean(lambda i: entropy[i])
    routed = [i for i in chosen if scores.skilled[i]]
    if settings.distillation_weight and routed:
        delta = {i: next(iter(scores.skilled[i].values())) - scores.old[i] for i in routed}
        loss = loss + settings.distillation_weight * token_mean(
            lambda i: -delta[i] * new[i], routed
        )
    return loss


def sum_of(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum()


def ppo(ratio: Tensor, advantages: Tensor) -> Tensor:
    losses = torch.maximum(-ratio * advantages, -ratio.clamp(0.8, 1.2) * advantages)
    return torch.where(advantages < 0, torch.minimum(losses, -3.0 * advantages), losses)


def gspo(new: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
    ratio = (new - new.detach() + (new - old).mean().detach()).exp()
    return torch.maximum(-ratio * advantages, -ratio.clamp(0.8, 1.2) * advantages).mean()


def k3(log_ratio: Tensor) -> Tensor:
    return (log_ratio.exp() - log_ratio - 1).clamp(-10, 10)
