"""A whole run on keydoor, small enough for a test: the real Trainer, module and data module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar

from opid_lightning.callbacks import PolicyHealth, RoutingStatistics, SkillExtraction
from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.hindsight.analysts.rules import Rules
from opid_lightning.lm.policy import PolicySource
from opid_lightning.method.advantage import Advantage
from opid_lightning.method.batching import Batching
from opid_lightning.method.loss import Loss
from opid_lightning.method.method import Method
from opid_lightning.method.routing import Routing
from opid_lightning.method.rules.additive import Additive
from opid_lightning.protocols import Environment, Sampler
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.training.datamodule import RolloutDataModule
from opid_lightning.training.evaluation import Evaluation
from opid_lightning.training.hooks import RolloutCallback
from opid_lightning.training.loggers import MetricsFile
from opid_lightning.training.module import OPIDModule
from opid_lightning.types import Experience

# Heavy enough for skills to change the weights visibly in one iteration.
OPID = Method(Additive(episode_weight=0.1, step_weight=0.1))
GRPO = Method(Additive(episode_weight=0.0, step_weight=0.0))
SMALL_BATCHES = Batching(mini_batch_rows=16, micro_batch_rows=4)
SHORT_RESPONSES = Rollout(
    group_size=4, max_prompt_tokens=512, skill_tokens=256, max_response_tokens=4
)
EIGHT_TASKS = Evaluation(num_tasks=8)


@dataclass(frozen=True)
class Run:
    """What a finished run leaves behind."""

    module: OPIDModule
    trainer: lightning.Trainer

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return self.module.policy.model.state_dict()

    @property
    def metrics(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.trainer.callback_metrics.items()}


class KeepExperience(RolloutCallback):
    """Keeps the last experience to look at."""

    experience: Experience

    def on_experience_end(self, trainer: lightning.Trainer, experience: Experience) -> None:
        self.experience = experience


def analysing() -> list[lightning.Callback]:
    return [SkillExtraction(Rules()), RoutingStatistics(), PolicyHealth()]


def sgd(parameters: Any) -> torch.optim.Optimizer:
    """Unlike Adam's, its step is linear in the gradient: a wrong scale shows."""
    return torch.optim.SGD(parameters, lr=0.5)


def keydoor_data(
    method: Method = OPID,
    batching: Batching = SMALL_BATCHES,
    rollout: Rollout = SHORT_RESPONSES,
    sampler: Sampler | None = None,
    tasks_per_iteration: int = 4,
    evaluation: Evaluation = EIGHT_TASKS,
    seed: int = 7,
    env: Environment | None = None,
    advantage: Advantage = Advantage(),
) -> RolloutDataModule:
    return RolloutDataModule(
        env=env or Keydoor(),
        sampler=sampler or HuggingFace(),
        rollout=rollout,
        routing=Routing(),
        batching=batching,
        advantage=advantage,
        method=method,
        evaluation=evaluation,
        tasks_per_iteration=tasks_per_iteration,
        seed=seed,
    )


def fit(
    folder: Path,
    callbacks: Sequence[lightning.Callback] | None = None,
    *,
    iterations: int = 2,
    method: Method = OPID,
    advantage: Advantage = Advantage(),
    loss: Loss = Loss(),
    batching: Batching = SMALL_BATCHES,
    rollout: Rollout = SHORT_RESPONSES,
    sampler: Sampler | None = None,
    snapshot: Literal["shared", "copy"] = "shared",
    precision: Any = "32-true",
    optimizer: Any = torch.optim.AdamW,
    resume_from: Path | None = None,
    tasks_per_iteration: int = 4,
    limit_val_batches: float = 0.0,
    evaluation: Evaluation = EIGHT_TASKS,
    evaluate_at_start: bool = False,
    evaluate_every: int = 1,
    policy: str | PolicySource = "keydoor",
    plugins: Sequence[Any] = (),
    env: Environment | None = None,
    warmup_iterations: int = 0,
    decay: Literal["none", "linear", "cosine"] = "none",
    gradient_clip_val: float = 1.0,
) -> Run:
    """Trains a policy, keydoor's own if no other, for a few iterations; checkpoints in `folder`."""
    source = PolicySource(policy) if isinstance(policy, str) else policy
    module = OPIDModule(source, loss, optimizer, warmup_iterations, decay, snapshot=snapshot)
    data = keydoor_data(
        method,
        batching,
        rollout,
        sampler,
        tasks_per_iteration,
        evaluation,
        env=env,
        advantage=advantage,
    )
    checkpoint = ModelCheckpoint(
        folder / "checkpoints", save_last=True, save_top_k=-1, save_on_train_epoch_end=True
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=iterations,
        precision=precision,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        limit_val_batches=limit_val_batches,
        num_sanity_val_steps=-1 if evaluate_at_start else 0,
        check_val_every_n_epoch=evaluate_every,
        gradient_clip_val=gradient_clip_val,
        logger=MetricsFile(str(folder)),
        plugins=list(plugins),
        callbacks=[*(analysing() if callbacks is None else callbacks), checkpoint],
        enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks or ()),
        enable_model_summary=False,
        log_every_n_steps=1,
        default_root_dir=folder,
    )
    trainer.fit(module, data, ckpt_path=resume_from)
    return Run(module, trainer)


def assert_same_weights(one: Run, other: Run) -> None:
    """Bit for bit."""
    for name, value in one.weights.items():
        assert torch.equal(value, other.weights[name]), f"{name} differs"


def largest_difference(one: Run, other: Run) -> float:
    return max(
        float((value - other.weights[name]).abs().max()) for name, value in one.weights.items()
    )
