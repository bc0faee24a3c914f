from __future__ import annotations

from collections import Counter
from pathlib import Path

import lightning
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.method.advantage import Advantage
from opid_lightning.method.batching import Batching
from opid_lightning.protocols import no_hindsight
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.training.task_order import iteration_seed, tasks_of_iteration
from opid_lightning.training.trainer_checks import check_trainer
from opid_lightning.types import Task
from tests.keydoor_run import KeepExperience, fit, keydoor_data

TASKS = [Task(f"task{i}", "kind") for i in range(10)]


@given(count=st.integers(1, 10), seed=st.integers(0, 5), number=st.integers(0, 50))
def test_an_iteration_has_different_tasks(count: int, seed: int, number: int) -> None:
    tasks = tasks_of_iteration(TASKS, count, seed, number)
    assert len({task.id for task in tasks}) == count


@given(seed=st.integers(0, 50))
def test_a_pass_plays_every_task_once(seed: int) -> None:
    played = [task.id for number in (2, 3) for task in tasks_of_iteration(TASKS, 5, seed, number)]
    assert Counter(played) == Counter(task.id for task in TASKS)


def test_passes_and_seeds_differ_in_order() -> None:
    first, second = (tasks_of_iteration(TASKS, 10, 0, number) for number in (0, 1))
    other_seed = tasks_of_iteration(TASKS, 10, 1, 0)
    assert first != second
    assert first != other_seed


def test_seeds_of_iterations_and_of_runs_are_all_different() -> None:
    seeds = {iteration_seed(seed, number) for seed in range(50) for number in range(1000)}
    assert len(seeds) == 50 * 1000


def test_stale_rollouts_are_refused() -> None:
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match=r"reload_dataloaders_every_n_epochs to 1\. It is 0"):
        check_trainer(trainer)


def test_accumulation_is_not_the_users_to_set() -> None:
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        accumulate_grad_batches=2,
    )
    with pytest.raises(ValueError, match=r"batching\.mini_batch_rows"):
        check_trainer(trainer)


def test_group_of_one_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="group size 1"):
        fit(tmp_path, advantage=Advantage(), rollout=Rollout(group_size=1))


def test_more_tasks_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is 10000, but Keydoor has only \d+ training tasks"):
        fit(tmp_path, tasks_per_iteration=10_000)


def test_every_optimizer_step_is_taken_whole(tmp_path: Path) -> None:
    """A last step of few rows must still be a step: its micro-batches are filled with none."""
    keep = KeepExperience()
    run = fit(tmp_path, [keep], iterations=1, batching=Batching(7, 2))
    num_steps = -(-len(keep.experience.samples) // 7)
    assert run.trainer.global_step == num_steps
    assert len(keep.experience.samples) % 7, "choose other numbers: no step is short"


def test_hindsight_comes_from_one_place() -> None:
    data = keydoor_data()
    data.register_hindsight("Writes", no_hindsight)
    with pytest.raises(ValueError, match=r"Writes and WritesToo both write hindsight"):
        data.register_hindsight("WritesToo", no_hindsight)
    data.register_hindsight("Writes", None)
    data.register_hindsight("WritesToo", no_hindsight)
