"""From the recorded inputs of the combined advantages to this project's, and back.

Every recorded row becomes a scored step; `Advantage` and `Method` themselves add up the terms.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from opid_lightning.method.advantage import Advantage
from opid_lightning.method.groups import describe_group_sizes
from opid_lightning.method.method import Method
from opid_lightning.method.rules.additive import Additive
from opid_lightning.types import Sample, SkillLevel
from tests.golden.adapters_advantage import Inputs, Outputs, groups_of, reference, spread
from tests.golden.scored_rows import placed, scored_rows
from tests.golden.term_sizes import term_sizes

MODES = {"mean_norm": "mean", "mean_std_norm": "mean_std"}


def compute_gigpo_outcome_advantage(inputs: Inputs) -> Outputs:
    advantage = combined(inputs, state_weight=inputs.get("step_advantage_w", 1.0))
    steps = scored_rows(inputs, {})
    samples = Method(Additive())(steps, advantage(steps), 0)
    scores = on_tokens(samples, inputs)["scores"]
    outputs = {"advantages": scores, "returns": scores}
    if not inputs.get("return_metrics"):
        return outputs
    return outputs | {"metrics": group_metrics("gigpo", groups_of(inputs))}


def combined(inputs: Inputs, **settings: Any) -> Advantage:
    """The recorded step rewards are returns already, so nothing later is added to them."""
    mode = inputs.get("mode", "mean_norm")
    similarity = inputs.get("similarity_thresh", 0.95)
    return reference(
        normalise=MODES.get(mode, mode),
        epsilon=inputs.get("epsilon", 1e-6),
        state_similarity=similarity if inputs.get("enable_similarity", False) else None,
        **settings,
    )


def group_metrics(prefix: str, groups: Tensor) -> Outputs:
    sizes = describe_group_sizes(groups)
    return {f"{prefix}/state_group/{name}": value for name, value in sizes.items()}


def on_tokens(samples: tuple[Sample, ...], inputs: Inputs) -> dict[str, Tensor]:
    """Each term, and what they come to, where the reference has response tokens."""
    mask = inputs["response_mask"]
    ones = [torch.ones_like(sample.scored.old_logprobs) for sample in samples]
    pairs = list(zip(samples, ones, strict=True))
    return {
        "episode": placed([one * sample.outcome_advantage for sample, one in pairs], mask),
        "state": placed([one * sample.state_advantage for sample, one in pairs], mask),
        "teacher": placed([sample.skill_advantage for sample in samples], mask),
        "scores": placed([sample.advantages for sample in samples], mask),
    }


def compute_opid_advantage_components(inputs: Inputs) -> Outputs:
    weights = weights_of(inputs)
    state_weight = weights["step_advantage"]
    if state_weight != 0 and inputs["step_rewards"] is None:
        raise ValueError("the state term needs the returns of steps")
    advantage = combined(inputs, state_weight=state_weight)
    method = Method(
        Additive(weights["episode_skill_teacher"], weights["step_skill_teacher"]),
        normalise_delta=inputs.get("normalize_teacher_adv", False),
        epsilon=advantage.epsilon,
        clip_delta=inputs.get("clip_teacher_adv"),
    )
    steps = scored_rows(inputs, teachers_of(inputs))
    terms = on_tokens(method(steps, advantage(steps), 0), inputs)
    metrics = {f"opid/adv/{name}_weight": weight for name, weight in weights.items()}
    if state_weight != 0:
        metrics |= group_metrics("opid", groups_of(inputs))
    return {
        "episode_advantages": terms["episode"],
        # The reference names it before its weight.
        "step_advantages": terms["state"] / (state_weight or 1.0),
        "teacher_advantages": terms["teacher"],
        "scores": terms["scores"],
        "metrics": metrics,
    }


def teachers_of(inputs: Inputs) -> dict[SkillLevel, tuple[Tensor, Tensor]]:
    """Log-probs with the skills of each level, and which tokens they count for."""
    episode = inputs.get("episode_teacher_log_prob")
    episode = inputs.get("teacher_log_prob") if episode is None else episode
    given: dict[SkillLevel, tuple[Any, str]] = {
        "episode": (episode, "critical_step_mask"),
        "step": (inputs.get("step_teacher_log_prob"), "step_skill_mask"),
    }
    return {
        level: (logprobs, spread(inputs.get(mask), inputs["response_mask"]))
        for level, (logprobs, mask) in given.items()
        if logprobs is not None and inputs["old_log_prob"] is not None
    }


def weights_of(inputs: Inputs) -> dict[str, float]:
    """The reference reads a missing weight as its default, and null as 0."""
    return {
        "step_advantage": float(inputs.get("step_advantage_w", 0.0) or 0.0),
        "episode_skill_teacher": float(inputs.get("episode_skill_teacher_advantage_w", 1.0) or 0.0),
        "step_skill_teacher": float(inputs.get("step_skill_teacher_advantage_w", 0.0) or 0.0),
    }


def compute_opid_outcome_advantage(inputs: Inputs) -> Outputs:
    parts = compute_opid_advantage_components(inputs)
    outputs = {"advantages": parts["scores"], "returns": parts["scores"]}
    if not inputs.get("return_metrics"):
        return outputs
    mask, weight = inputs["response_mask"], weights_of(inputs)["step_advantage"]
    terms = {name: parts[f"{name}_advantages"] for name in ("episode", "step", "teacher")}
    weighted = {**terms, "step": weight * terms["step"]}
    active = (terms["teacher"][mask.bool()] != 0).sum().item()
    metrics = {
        **{f"opid/adv_raw/{k}": value for k, value in term_sizes(terms, mask).items()},
        **{f"opid/adv/{k}": value for k, value in term_sizes(weighted, mask).items()},
        "opid/adv/teacher_active_token_ratio": active / (mask.bool().sum().item() + 1e-6),
        "opid/adv/step_weight": weight,
        **parts["metrics"],
    }
    return outputs | {"metrics": metrics}
