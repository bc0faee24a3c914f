"""RolloutStatistics: how the training rollouts went."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import lightning

from opid_lightning.callbacks.first_warnings import FirstWarnings
from opid_lightning.rollout.rollout import group_by_task
from opid_lightning.training.hooks import RolloutCallback
from opid_lightning.training.success import success_rates
from opid_lightning.types import Experience, Trajectory

_log = logging.getLogger(__name__)


class RolloutStatistics(RolloutCallback):
    """Logs success, rewards, lengths and what went wrong in the rollouts of each iteration.

    Warns once of observations that do not fit their prompt, and of what no response does.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, float] = {}
        self._warnings = FirstWarnings(_log)

    def on_experience_end(self, trainer: lightning.Trainer, experience: Experience) -> None:
        """Computes `rollout/*`; warns once of cut observations and of what never works."""
        self._metrics = {
            **rollout_statistics(experience.trajectories),
            **loss_statistics(experience.sessions_lost),
        }
        found = what_never_works(experience.trajectories) | what_was_cut(experience.trajectories)
        self._warnings.give(trainer, experience.iteration, found)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Logs the figures of the iteration's rollout."""
        pl_module.log_dict(self._metrics, on_step=False, on_epoch=True)


def rollout_statistics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Metrics of docs/metrics.md by name."""
    steps = [step for trajectory in trajectories for step in trajectory.steps]
    groups = group_by_task(trajectories).values()
    return {
        **{f"train/{name}": rate for name, rate in success_rates(trajectories).items()},
        "rollout/reward_mean": mean(t.reward for t in trajectories),
        "rollout/tied_group_share": mean(len({t.reward for t in group}) == 1 for group in groups),
        "rollout/trajectories": float(len(trajectories)),
        "rollout/rows": float(len(steps)),
        "rollout/steps_mean": mean(len(t.steps) for t in trajectories),
        "rollout/invalid_action_share": mean(not step.action.is_valid for step in steps),
        "rollout/cut_response_share": mean(step.completion.is_cut for step in steps),
        "rollout/truncated_prompt_share": mean(s.prompt.num_dropped_turns > 0 for s in steps),
        "rollout/dropped_turns": float(sum(step.prompt.num_dropped_turns for step in steps)),
        "rollout/cut_observations": float(sum(s.prompt.num_cut_characters > 0 for s in steps)),
        "rollout/prompt_tokens_mean": mean(len(step.prompt.token_ids) for step in steps),
        "rollout/response_tokens_mean": mean(len(step.completion.token_ids) for step in steps),
    }


def what_was_cut(trajectories: Sequence[Trajectory]) -> dict[str, str]:
    """Blank where every newest observation was shown whole."""
    cut = [(t, s) for t in trajectories for s in t.steps if s.prompt.num_cut_characters]
    if not cut:
        return {}
    trajectory, step = cut[0]
    warning = (
        f"{len(cut)} prompts show a part of what was to be seen, such as step {step.index} of "
        f"{trajectory.id!r}, less {step.prompt.num_cut_characters:,} characters. Raise "
        "rollout.max_prompt_tokens, or have the environment show less at a time; "
        "rollout/cut_observations counts them from now on"
    )
    return {"cut observations": warning}


def what_never_works(trajectories: Sequence[Trajectory]) -> dict[str, str]:
    """What no response of a rollout did: a sign that policy and environment do not fit."""
    steps = [step for trajectory in trajectories for step in trajectory.steps]
    last = steps[-1]
    warnings = {}
    if not any(step.action.is_valid for step in steps):
        warnings["no valid action"] = (
            f"None of the {len(steps)} responses of this rollout was a valid action. The last one, "
            f"{last.completion.text[:200]!r}, was read as {last.action.text[:80]!r}. Compare it "
            "with what the environment asks for (env.prompt_style, policy.thinking)."
        )
    if all(step.completion.is_cut for step in steps):
        warnings["no response ends"] = (
            f"None of the {len(steps)} responses of this rollout ended before "
            f"rollout.max_response_tokens={len(last.completion.token_ids)}. The last one ends with "
            f"{last.completion.text[-80:]!r}. Raise the limit, or name in rollout.stop a text "
            "that ends a response."
        )
    return warnings


def loss_statistics(sessions_lost: Mapping[str, int]) -> dict[str, float]:
    """Attempts that ended with their session, which are in none of the other figures."""
    return {
        "rollout/sessions_lost": float(sum(sessions_lost.values())),
        **{f"rollout/sessions_lost_{why}": float(n) for why, n in sessions_lost.items()},
    }


def mean(values: Iterable[float]) -> float:
    """The arithmetic mean; raises ZeroDivisionError where there are no values."""
    numbers = [float(value) for value in values]
    return sum(numbers) / len(numbers)
