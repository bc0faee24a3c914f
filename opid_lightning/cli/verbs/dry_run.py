"""`--dry-run`: all that a run does before it plays, then one reset, one prompt and the sampler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import lightning

from opid_lightning.gate import gate_of
from opid_lightning.protocols import Environment, SessionLostError
from opid_lightning.types import Opening, Task

if TYPE_CHECKING:
    from opid_lightning.training.datamodule import RolloutDataModule
    from opid_lightning.training.module import OPIDModule

WIDTH = 12
HEADING = "Dry run of {verb}: all of this was checked; nothing was played, trained or kept."


class DryRunEndedError(Exception):
    """Everything was there. Carries what was checked, a line each."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__(lines)
        self.lines = lines


class DryRunTrainer(lightning.Trainer):
    """Sets up everything as ever, checkpoint and optimizer too, and then ends."""

    def _run_stage(self) -> None:
        self.strategy.barrier("run-stage")
        raise DryRunEndedError(tuple(checked(self)))


def checked(trainer: lightning.Trainer) -> Iterator[str]:
    """Tries what a run begins with; a line for each thing that worked."""
    data: RolloutDataModule = trainer.datamodule  # type: ignore[attr-defined]
    module: OPIDModule = trainer.lightning_module  # type: ignore[assignment]
    yield line("tasks", ", ".join(sizes_of(data)))
    num_weights = sum(each.numel() for each in module.policy.model.parameters())
    kind = f"{module.policy_record['path']} ({module.policy_record['kind']})"
    yield line("policy", f"{kind}, {num_weights:,} weights on {module.device}")
    if trainer.ckpt_path:
        yield line("checkpoint", f"{trainer.ckpt_path} fits")
    task = first_task(data)
    opening = opened(data.worker_env or data.env, task)
    yield line("environment", f"{gate_of(data.env).environment} was reset to {task.id!r}")
    observation = opening.observation
    prompt = data.rollout.prompt(data.env, data.encode, opening.goal, (), observation)
    gate_of(data.env).action(data.env.action("", observation), task, 0)
    limit = data.rollout.max_prompt_tokens
    yield line("prompt", f"{len(prompt.token_ids)} of at most {limit} tokens by the chat template")
    with data.sampler.serving(module.policy):
        yield line("sampler", f"{type(data.sampler).__name__} serves the policy")
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if (analyst := getattr(callback, "analyst", None)) is not None:
            started = "has started" if trainer.state.fn == "fit" else "is not needed"
            yield line("analyst", f"{type(analyst).__name__} {started}")


def line(subject: str, found: str) -> str:
    """A line of the report: what was checked, and what was found."""
    return f"ok  {subject:<{WIDTH}} {found}"


def sizes_of(data: RolloutDataModule) -> Iterator[str]:
    """How many tasks are trained on and evaluated, a phrase for each set."""
    if tasks := getattr(data, "train_tasks", ()):
        yield f"{len(tasks)} to train on, {data.tasks_per_iteration} an iteration"
    for each in data.evaluation_sets:
        yield f"{len(each.tasks)} of {each.num_available} of {each.split} to evaluate"


def first_task(data: RolloutDataModule) -> Task:
    """The first training task, or the first to evaluate where nothing is trained."""
    trained = getattr(data, "train_tasks", ())
    found: Task = trained[0] if trained else data.evaluation_sets[0].tasks[0]
    return found


def opened(environment: Environment, task: Task) -> Opening:
    """Opens a session, resets it to the task and closes it; raises ValueError where it is lost."""
    session = environment.open()
    try:
        return gate_of(environment).opening(session.reset(task), task)
    except SessionLostError as error:
        raise ValueError(f"The session of task {task.id!r} was lost in reset: {error}.") from error
    finally:
        session.close()
