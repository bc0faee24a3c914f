"""OPIDModule: the policy, its frozen snapshot and reference, and the update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.cli import OptimizerCallable

from opid_lightning.lm.forward.layouts import check_sees_trees
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.lm.forward.modes import make_trainable
from opid_lightning.lm.lora import Unadapted
from opid_lightning.lm.policy import PolicySource, frozen_copy, load_policy
from opid_lightning.lm.sharding import clip_gradients, copy_weights, gradient_norm, is_finite
from opid_lightning.method.loss import Loss
from opid_lightning.method.rules.rule import Rule
from opid_lightning.training import evaluation, optimization, step_checks, trainer_checks
from opid_lightning.training.checkpoints import (
    adapter_checkpoint,
    evaluation_record,
    optimizer_record,
    policy_record,
)
from opid_lightning.training.checkpoints.resuming import check_run_resumes, records_of, resume
from opid_lightning.training.checkpoints.run_end import RunEnd
from opid_lightning.training.hooks import ranks_of
from opid_lightning.training.strategies import Shards, check_kept
from opid_lightning.types import Batch, Policy
from opid_lightning.value_checks import check_range, check_word


class OPIDModule(lightning.LightningModule):
    """Trains a policy on batches of scored steps by a clipped surrogate.

    Args:
        policy: where the policy comes from.
        loss: the surrogate, with its regularisers.
        optimizer: makes the optimizer from the policy's parameters.
        warmup_iterations: over how many iterations the learning rate rises to its full value.
        decay: how it falls from there to zero at `trainer.max_epochs`, if at all.
        snapshot: whether the old policy shares the policy's storage or copies it. Scoring ends
            before the first optimizer step, so both give the same numbers; `copy` costs memory,
            and keeps the old policy callable after the update.
        activation_checkpointing: compute each block's activations again in the backward pass
            instead of keeping them, which saves most of their memory for a third more time.
        max_first_ratio_error: how far the first importance ratios of an iteration may be from 1.

    Raises ValueError for a setting out of range; in training, before an optimizer step or a
    checkpoint keeps a number that is not finite.
    """

    def __init__(
        self,
        policy: PolicySource,
        loss: Loss,
        optimizer: OptimizerCallable = optimization.adamw,
        warmup_iterations: int = 0,
        decay: optimization.Decay = "none",
        snapshot: Literal["shared", "copy"] = "shared",
        activation_checkpointing: bool = False,
        max_first_ratio_error: float = 1e-3,
    ) -> None:
        super().__init__()
        check_range("model.warmup_iterations", warmup_iterations, at_least=0)
        check_range("model.max_first_ratio_error", max_first_ratio_error, at_least=0)
        optimization.check_optimizer(optimizer)
        self.source = policy
        self.loss = loss
        self.rule, self.iteration = Rule(), 0  # of the iteration that is trained on
        self.optimizer = optimizer
        self.optimizer_settings: list[optimizer_record.Settings] = []
        check_word("model.decay", decay, optimization.Decay)
        self.warmup_iterations = warmup_iterations
        self.decay = decay
        self.snapshot_mode = snapshot
        self.activation_checkpointing = activation_checkpointing
        self.max_first_ratio_error = max_first_ratio_error
        self.model: torch.nn.Module | None = None
        self.snapshot: torch.nn.Module | None = None
        self.reference: torch.nn.Module | None = None  # also none where it is the unadapted policy
        self.adapter: adapter_checkpoint.Record | None = None  # where one is trained
        self.policy_record: dict[str, str] = {}  # that of the model
        self.tokenizer: Any = None
        self.run_end: RunEnd | None = None  # of `fit`
        self.evaluation_number = 1  # how many different ones the run has had, with this one
        self.evaluation_settings: dict[str, str] = {}  # what scores depend on besides the weights
        self.evaluation_result: evaluation.EvaluationResult | None = None  # the newest
        self._played: list[evaluation.Played] = []

    def setup(self, stage: str) -> None:
        """Raises ValueError where trainer, strategy and settings do not go together."""
        check_kept(self.trainer.strategy)
        trainer_checks.check_precision(self.trainer)
        trainer_checks.check_gradient_clipping(self.trainer, self._is_sharding)
        if stage == "fit":
            trainer_checks.check_trains(self.trainer)
            self.run_end = RunEnd(self.trainer)
            if self.trainer.limit_val_batches:
                self.evaluation_settings = evaluation_record.description(self.trainer.datamodule)  # type: ignore[attr-defined]

    def teardown(self, stage: str) -> None:
        """Gives the trainer back its own rules of when to stop."""
        if self.run_end is not None:
            self.run_end.give_back(self.trainer)
            self.run_end = None

    def configure_model(self) -> None:
        """Loads policy, reference and snapshot, sharded where the strategy says so."""
        if self.model is not None:
            return
        policy = load_policy(self.source)
        self.tokenizer = policy.tokenizer
        self.adapter = adapter_checkpoint.record_of(policy, self.source)
        self.policy_record = policy_record.record_of(policy, self.source)
        # Lightning would miss the weights that no checkpoint of an adapter holds.
        self.strict_loading = self.adapter is None
        make_trainable(policy.model, self.activation_checkpointing)
        if self.loss.needs_reference and self.adapter is None:
            self.reference = self._sharded(frozen_copy(policy.model))
        if self.snapshot_mode == "copy":
            self.snapshot = self._sharded(frozen_copy(policy.model, not self._is_sharding))
        self.model = self._sharded(policy.model)

    def _sharded(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model, of which each rank keeps a part where the strategy says so."""
        strategy = self._trainer.strategy if self._trainer else None
        return strategy.shard(model) if isinstance(strategy, Shards) else model

    @property
    def _is_sharding(self) -> bool:
        return self._trainer is not None and isinstance(self._trainer.strategy, Shards)

    @property
    def policy(self) -> Policy:
        """The model in training with its tokenizer, once `configure_model` has run."""
        assert self.model is not None, "configure_model has not run"
        return Policy(self.model, self.tokenizer)

    @property
    def reference_policy(self) -> Policy | None:
        """With an adapter it is the policy without it, and no second model."""
        if self.adapter is not None and self.loss.needs_reference:
            return Policy(Unadapted(self.policy.model), self.tokenizer)
        return Policy(self.reference, self.tokenizer) if self.reference is not None else None

    def take_snapshot(self) -> Policy:
        """The old policy of the iteration that starts now."""
        if self.snapshot is None:
            return self.policy
        copy_weights(self.policy.model, self.snapshot)
        return Policy(self.snapshot, self.tokenizer)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """One micro-batch of the update.

        Returns:
            `loss` to step on, and for callbacks the detached `logprobs` [B R] and the `metrics`.
        """
        logprobs, entropy = response_logprobs(
            self.policy.model,
            batch.inputs,
            batch.temperature,
            with_entropy=self.loss.needs_entropy,
        )
        step_checks.check_logprobs_finite(logprobs, batch)
        if batch_idx < self.trainer.accumulate_grad_batches:
            step_checks.check_first_ratio(logprobs, batch, self.max_first_ratio_error)
        terms = self.loss(logprobs, entropy, batch, self.rule, self.iteration)
        step_checks.check_finite("loss", terms.loss, batch.names)
        return {"loss": terms.loss, "logprobs": logprobs.detach(), "metrics": terms.metrics}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer of the trainable parameters; its settings are remembered for resuming."""
        parameters = self.policy.model.parameters()
        optimizer = self.optimizer([each for each in parameters if each.requires_grad])
        self.optimizer_settings = optimizer_record.settings_of(optimizer)
        return optimizer

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Checks that the gradient is finite, then clips its global norm."""
        self.check_gradient()
        # The norm is of all ranks' shards; clipping by value is Lightning's.
        if gradient_clip_val and gradient_clip_algorithm in (None, "norm"):
            clip_gradients(self.policy.model, gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def check_gradient(self) -> None:
        """Raises before an optimizer step on a gradient that is not finite is taken."""
        norm = gradient_norm(self.policy.model)
        # In float16 a scaler expects overflows: it leaves the step out and lowers its scale.
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            step_checks.check_finite("gradient norm", torch.tensor(norm))

    def check_weights(self) -> None:
        """Raises, on every rank, before weights that are not finite are kept."""
        if not all(ranks_of(self.trainer).gather(is_finite(self.policy.model))):
            raise ValueError(step_checks.not_finite("policy's weights", "", "are"))

    def on_train_epoch_end(self) -> None:
        """Raises ValueError where weights are not finite, before they are saved."""
        self.check_weights()

    def on_fit_start(self) -> None:
        """Raises ValueError where `decay` has no end or attention cannot see merged rows."""
        optimization.check_has_end(self.decay, self.trainer.max_epochs)
        # The data module's own setup comes before the model is there.
        if self.trainer.datamodule.batching.share_prefixes:  # type: ignore[attr-defined]
            check_sees_trees(self.policy.model)

    def start_iteration(self, number: int, rule: Rule) -> None:
        """Sets what is trained with: the rule's loss, and the learning rate of the iteration.

        The data module calls it before callbacks hear of the iteration. A checkpoint would bring
        settings of its own, and Lightning steps schedulers after it has written one, so that a
        resumed run would be one step behind.
        """
        self.rule, self.iteration = rule, number
        share = optimization.learning_rate_share(
            number, self.trainer.max_epochs or 0, self.warmup_iterations, self.decay
        )
        optimizer_record.apply_settings(self.trainer.optimizers[0], self.optimizer_settings, share)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Tells what may end the run that an optimizer step was made."""
        assert self.run_end is not None
        self.run_end.on_batch_end(self.trainer)

    def validation_step(self, played: evaluation.Played, batch_idx: int) -> None:
        """Keeps what was played until the epoch ends."""
        self._played.append(played)

    def test_step(self, played: evaluation.Played, batch_idx: int) -> None:
        """Keeps what was played until the epoch ends."""
        self._played.append(played)

    def predict_step(self, played: evaluation.Played, batch_idx: int) -> list[dict[str, Any]]:
        """How each attempt went; the trajectories themselves are what TrajectoryLog writes."""
        return [
            {"task": t.task.id, "kind": t.task.kind, "won": t.won, "steps": len(t.steps)}
            for t in played.trajectories
        ]

    def on_validation_epoch_end(self) -> None:
        """Logs `validation/*`: success, its intervals and each task type."""
        self._finish_evaluation("validation")

    def on_test_epoch_end(self) -> None:
        """Logs `test/*`: success, its intervals and each task type."""
        self._finish_evaluation("test")

    def _finish_evaluation(self, stage: str) -> None:
        evaluation.check_games_were_played(self.trainer.datamodule.env, self._played)  # type: ignore[attr-defined]
        self.evaluation_result = evaluation.result_of(self._played)
        self._played.clear()
        metrics = self.evaluation_result.metrics(stage)
        if not self.trainer.sanity_checking:
            self.log_dict(metrics)
            return
        # Lightning keeps what a sanity check logs to itself, but this one is the whole evaluation
        # before the first update. The evaluation after update n is logged at step n - 1.
        for logger in self.trainer.loggers:
            logger.log_metrics({**metrics, "epoch": -1}, step=-1)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ValueError for another policy's checkpoint; `fit` resumes from what it holds."""
        self.check_fits(checkpoint)
        if self.trainer.state.fn == "fit":
            resume(self, checkpoint)

    def check_fits(self, checkpoint: Mapping[str, Any]) -> None:
        """Raises where this run cannot resume from it, or evaluate what it holds."""
        policy_record.check_same_policy(checkpoint, self.policy_record)
        adapter_checkpoint.check_same(
            checkpoint.get(adapter_checkpoint.KEY), self.adapter, self.source.path
        )
        if self.trainer.state.fn == "fit":
            check_run_resumes(self, checkpoint)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds our records to the checkpoint, after checking that weights are finite."""
        self.check_weights()
        checkpoint.update(records_of(self, checkpoint))
        if self.adapter is not None:
            checkpoint[adapter_checkpoint.KEY] = self.adapter

    # Checkpoints hold what is trained: reference, and what an adapter stands beside, come from
    # their source again, and the snapshot from the policy.
    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The weights that are trained: the policy's, or those of its adapter."""
        state = super().state_dict(*args, **kwargs)
        policy = {name: value for name, value in state.items() if name.startswith("model.")}
        return adapter_checkpoint.trained(policy, self.adapter)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Loads what `state_dict` gave into the policy."""
        weights = {name.removeprefix("model."): value for name, value in state_dict.items()}
        model = self.policy.model
        if self.adapter is None:
            return policy_record.load_weights(model, weights, strict, assign)
        assert weights.keys() == adapter_checkpoint.trained(model.state_dict(), self.adapter).keys()
        return model.load_state_dict(weights, strict=False, assign=assign)
