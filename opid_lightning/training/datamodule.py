"""RolloutDataModule: fresh on-policy rollouts for each epoch, and the fixed evaluation sets."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from opid_lightning.envs.workers import WorkerEnvironment, Workers
from opid_lightning.gate import gate_of
from opid_lightning.iteration import Iteration, Models
from opid_lightning.lm.text.prompt_check import CheckedEncoder
from opid_lightning.method.advantage import Advantage
from opid_lightning.method.batching import Batching
from opid_lightning.method.injection import Injection
from opid_lightning.method.method import Method
from opid_lightning.method.routing import Routing
from opid_lightning.protocols import (
    Environment,
    Generation,
    HindsightSource,
    Sampler,
    Split,
    no_hindsight,
)
from opid_lightning.ranks import Ranks
from opid_lightning.rollout.rollout import Rollout, in_order
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.training.evaluation import Evaluation, EvaluationSet, Played
from opid_lightning.training.evaluation_parts import Part, ServedOnce, cost_of, loader_of
from opid_lightning.training.hooks import (
    EvaluationDispatcher,
    TrainingDispatcher,
    iteration_number,
    ranks_of,
)
from opid_lightning.training.implementation_checks import check_implements
from opid_lightning.training.micro_batches import MicroBatches, loader
from opid_lightning.training.stage_settings import cap_concurrency, with_settings
from opid_lightning.training.task_order import iteration_seed, tasks_of_iteration
from opid_lightning.training.trainer_checks import (
    check_evaluation_is_whole,
    check_number_of_tasks,
    check_rollout_temperature,
    check_trainer,
    warn_of_idle_ranks,
)
from opid_lightning.types import Batch, Experience, SkillLevel, Task
from opid_lightning.value_checks import check_range

if TYPE_CHECKING:
    from opid_lightning.training.module import OPIDModule


class RolloutDataModule(lightning.LightningDataModule):
    """Plays the training tasks with the current policy when an epoch starts.

    Needs `trainer.reload_dataloaders_every_n_epochs=1`. Sets
    `trainer.accumulate_grad_batches`, as how many micro-batches an optimizer step takes follows
    from `batching` and the number of rows played.

    Args:
        env: the benchmark.
        sampler: the engine that samples responses.
        rollout: how tasks are played.
        routing: which skill each step is scored with.
        injection: where a prompt has its skill.
        batching: how rows become optimizer steps and micro-batches.
        advantage: the advantage of each step by its outcome.
        method: what becomes of it and of the skills: the credit of each token.
        evaluation: how the evaluation sets are played.
        workers: processes in which sessions live, if any.
        tasks_per_iteration: tasks an iteration, each attempted `rollout.group_size` times.
        seed: decides task order, sampling and row order, together with the iteration's number.

    Raises ValueError where the environment lacks a method, and in `setup` where data is missing
    or the Trainer would train on part of a rollout.
    """

    def __init__(
        self,
        env: Environment,
        sampler: Sampler,
        rollout: Rollout,
        routing: Routing,
        batching: Batching,
        advantage: Advantage,
        method: Method,
        evaluation: Evaluation,
        injection: Injection = Injection(),
        workers: Workers = Workers(),
        tasks_per_iteration: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_range("data.tasks_per_iteration", tasks_per_iteration, at_least=1)
        check_implements("env", env, Environment)
        self.env = env
        self.sampler = sampler
        self.rollout = cap_concurrency(rollout, workers)
        self.routing = routing
        self.injection = injection
        self.batching = batching
        self.advantage = advantage
        self.method = method
        self.evaluation = evaluation
        self.tasks_per_iteration = tasks_per_iteration
        self.seed = seed
        self.worker_env = WorkerEnvironment(env, workers) if workers.num_processes else None
        self.sessions = SessionPool(self.worker_env or env)
        self.evaluation_sets: tuple[EvaluationSet, ...] = ()  # of the verb that runs
        self._served = ExitStack()  # by an evaluation that is under way
        self._experience: Experience | None = None
        self._hindsight: tuple[str, HindsightSource] | None = None  # and who brings it

    def register_hindsight(self, name: str, source: HindsightSource | None) -> None:
        """Has iterations take their skills from there; none: from nowhere any more.

        Raises ValueError where they come from somebody else already.
        """
        if self._hindsight is not None and self._hindsight[0] != name:
            raise ValueError(
                f"{self._hindsight[0]} and {name} both write hindsight. Skills come from one "
                "place; remove one of them."
            )
        self._hindsight = (name, source) if source else None

    def setup(self, stage: str) -> None:
        """Reads tasks, checks settings and starts workers.

        Raises ValueError before anything is played.
        """
        assert self.trainer is not None
        if stage == "fit":
            check_trainer(self.trainer)
            self.advantage.check_group_size(self.rollout.group_size)
            check_rollout_temperature(self.rollout.temperature)
            self.train_tasks = self._tasks("train")
            check_number_of_tasks(self.tasks_per_iteration, len(self.train_tasks), self.env)
        check_evaluation_is_whole(self.trainer, stage)
        if self.worker_env is not None:
            self.worker_env.start()
        self.evaluation_sets = self.evaluation.sets(stage, self._tasks)
        limit = self.rollout.max_response_tokens
        rank_zero_info(cost_of(self.evaluation_sets, self.evaluation.attempts, limit))

    def _tasks(self, split: Split) -> Sequence[Task]:
        gate = gate_of(self.env)
        tasks = gate.tasks(self.env.tasks, split)
        if not tasks:
            raise ValueError(f"{gate.environment} has no tasks in split {split!r}.")
        return tasks

    @property
    def module(self) -> OPIDModule:
        """The module in training, which holds the policy."""
        assert self.trainer is not None
        return self.trainer.lightning_module  # type: ignore[return-value]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Runs one iteration with the weights of now; a loader over its finished batches.

        Lightning asks twice for the first epoch of a resumed run, and also where a run has
        nothing left to do.
        """
        assert self.trainer is not None
        if self.trainer.fit_loop.done:
            return DataLoader([], batch_size=None)  # type: ignore[arg-type]
        number = iteration_number(self.trainer)
        self.module.start_iteration(number, self.method.rule)
        if self._experience is None or self._experience.iteration != number:
            dispatcher = TrainingDispatcher(self.trainer)
            self._experience = self.play_iteration(number, dispatcher)
            dispatcher.on_experience_end(self._experience)
            warn_of_idle_ranks(self._experience.plan, self.ranks.count)
        micro_batches = MicroBatches(
            self._experience,
            self.ranks,
            self.tokenizer.pad_token_id,
            self.rollout.max_response_tokens,
            self.batching.layout,
        )
        self.trainer.accumulate_grad_batches = micro_batches.num_of_step
        return loader(micro_batches)

    def play_iteration(self, number: int, dispatcher: TrainingDispatcher) -> Experience:
        """Depends on the seed, its number and the weights alone."""
        models = Models(
            policy=self.module.policy,
            old=self.module.take_snapshot(),
            reference=self.module.reference_policy,
            encode=self.encode,
            precision=self.trainer.precision_plugin.forward_context,  # type: ignore[union-attr]
        )
        tasks = tasks_of_iteration(self.train_tasks, self.tasks_per_iteration, self.seed, number)
        seed = iteration_seed(self.seed, number)
        # For environments and samplers of others, which may draw from the global generators.
        lightning.seed_everything((seed + self.ranks.rank) % 2**32, verbose=False)
        return self.iteration(
            number, seed, tasks, self.sessions, self.sampler, models, dispatcher, self.ranks
        )

    @property
    def ranks(self) -> Ranks:
        """This process among those of the run."""
        assert self.trainer is not None
        return ranks_of(self.trainer)

    def uses(self, level: SkillLevel) -> bool:
        """Whether any weight makes use of skills of this level."""
        return self.method.needs(level)

    @property
    def iteration(self) -> Iteration:
        """The stages, with a skill level routed to only where a weight makes use of it."""
        routing = with_settings(
            self.routing,
            episode_enabled=self.routing.episode_enabled and self.uses("episode"),
            step_enabled=self.routing.step_enabled and self.uses("step"),
        )
        injection = self.injection
        if injection.max_prompt_tokens is None:
            limit = self.rollout.max_prompt_tokens
            injection = with_settings(injection, max_prompt_tokens=limit)
        source = self._hindsight[1] if self._hindsight else no_hindsight
        stages = routing, injection, self.batching, self.advantage, self.method
        return Iteration(self.rollout, *stages, source)

    @property
    def tokenizer(self):  # type: ignore[no-untyped-def]
        """The policy's, once the module has loaded it."""
        return self.module.policy.tokenizer

    @property
    def encode(self):  # type: ignore[no-untyped-def]
        """From a user message to the ids of the whole chat prompt; the first prompt is checked."""
        policy, thinking = self.module.policy, self.module.source.thinking
        return CheckedEncoder(policy, thinking, self.rollout.stop, self.env)

    def val_dataloader(self) -> DataLoader[Played]:
        """Its parts are played when they are asked for, with the weights of then."""
        sets, size = self.evaluation_sets, self.evaluation.tasks_per_batch
        parts = [part for chosen in sets for part in chosen.parts(size)]
        serving = lambda: self.sampler.serving(self.module.policy)  # noqa: E731
        return loader_of(ServedOnce(parts, self.evaluate, serving, self._served))

    def predict_dataloader(self) -> DataLoader[Played]:
        """The validation sets."""
        return self.val_dataloader()

    def test_dataloader(self) -> DataLoader[Played]:
        """The sets that `setup("test")` chose."""
        return self.val_dataloader()

    def evaluate(self, part: Part, generation: Generation) -> Played:
        """Plays each task, always with `evaluation.seed`."""
        assert self.trainer is not None
        split, tasks = part
        play = with_settings(
            self.rollout,
            group_size=self.evaluation.attempts,
            temperature=self.evaluation.temperature,
        )
        trajectories = play(
            self.sessions,
            self.ranks.share(tasks),
            generation,
            self.encode,
            self.evaluation.seed,
            EvaluationDispatcher(self.trainer),
        )
        return Played(split, in_order(self.ranks.gather(trajectories), tasks))

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Moves training batches; evaluations are of trajectories, which stay where they are."""
        return batch.to(device) if isinstance(batch, Batch) else batch

    def teardown(self, stage: str) -> None:
        """Closes sessions and worker processes."""
        self._close()

    def on_exception(self, exception: BaseException) -> None:
        """Lightning tears nothing down then; a thread that waits for a session would stay."""
        self._close()

    def _close(self) -> None:
        self._served.close()
        self.sessions.close()
        if self.worker_env is not None:
            self.worker_env.close()
