"""The fixed evaluation sets, and evaluations of a real policy on keydoor."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.lm.policy import PolicySource
from opid_lightning.method.loss import Loss
from opid_lightning.training.datamodule import RolloutDataModule
from opid_lightning.training.evaluation import Evaluation, Played, result_of, spread
from opid_lightning.training.module import OPIDModule
from opid_lightning.types import Task, Trajectory
from tests.keydoor_run import assert_same_weights, fit, keydoor_data

KINDS = ("heat", "cool", "clean")
TASKS = [Task(f"{kind}{i}", kind) for kind in KINDS for i in range(6)]


def test_a_smaller_set_is_spread_over_types_and_within_them_by_hand() -> None:
    assert [task.id for task in spread(TASKS, 6)] == [
        *("heat1", "heat4"),
        *("cool1", "cool4"),
        *("clean1", "clean4"),
    ]


def test_a_type_that_runs_out_leaves_room_to_the_others() -> None:
    few = [*TASKS[:1], *TASKS[6:]]
    counted = Counter(task.kind for task in spread(few, 7))
    assert counted == {"heat": 1, "cool": 3, "clean": 3}


@given(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=30), data=st.data())
def test_any_smaller_set_is_even_and_in_order(kinds: list[str], data: st.DataObject) -> None:
    tasks = [Task(str(i), kind) for i, kind in enumerate(kinds)]
    count = data.draw(st.integers(1, len(tasks)))
    taken = spread(tasks, count)
    assert len({task.id for task in taken}) == count
    assert [int(task.id) for task in taken] == sorted(int(task.id) for task in taken)
    there, chosen = Counter(kinds), Counter(task.kind for task in taken)
    unfinished = [chosen[kind] for kind in there if chosen[kind] < there[kind]]
    assert not unfinished or max(chosen.values()) <= min(unfinished) + 1


def test_all_tasks_are_the_default_and_keep_their_order() -> None:
    chosen = Evaluation().chosen("valid_seen", TASKS)
    assert chosen.tasks == tuple(TASKS)


@pytest.mark.parametrize(
    ("num_tasks", "played", "said"),
    [
        (None, 18, ""),
        (18, 18, ""),
        (19, 18, "evaluation.num_tasks=19: valid_seen has 18 tasks; all are played."),
        (
            6,
            6,
            "evaluation.num_tasks=6: of the 18 tasks of valid_seen always the same are played, ",
        ),
    ],
)
def test_a_split_with_fewer_tasks_is_played_whole_and_that_is_said(
    num_tasks: int | None, played: int, said: str
) -> None:
    evaluation = Evaluation(num_tasks=num_tasks)
    chosen = evaluation.chosen("valid_seen", TASKS)
    assert len(chosen.tasks) == played
    assert evaluation.notice(chosen).startswith(said)
    assert bool(evaluation.notice(chosen)) == bool(said)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": -0.1}, "evaluation.temperature is -0.1"),
        ({"temperature": 0.0099}, "evaluation.temperature is 0.0099; expected 0, which is greedy"),
        ({"num_tasks": 0}, "evaluation.num_tasks is 0"),
        ({"attempts": 0}, "evaluation.attempts is 0"),
        ({"temperature": 0.0, "attempts": 2}, "all attempts at a task are the same"),
    ],
)
def test_settings_without_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Evaluation(**settings)


def test_a_part_holds_tasks_of_one_split() -> None:
    chosen = Evaluation().chosen("valid_seen", TASKS)
    parts = chosen.parts(7)
    assert [(split, len(tasks)) for split, tasks in parts] == [
        ("valid_seen", 7),
        ("valid_seen", 7),
        ("valid_seen", 4),
    ]


def attempt(task_id: str, won: bool) -> Trajectory:
    return Trajectory(Task(task_id, "kind"), 0, "", (), won)


def test_splits_are_told_apart_though_their_tasks_have_the_same_ids() -> None:
    result = result_of(
        [
            Played("valid_seen", (attempt("0", True),)),
            Played("valid_seen", (attempt("1", True),)),
            Played("valid_unseen", (attempt("0", False), attempt("1", False))),
        ]
    )
    metrics = result.metrics("validation")
    assert metrics["validation/valid_seen/success_micro"] == 1.0
    assert metrics["validation/valid_unseen/success_micro"] == 0.0
    assert metrics["validation/success_micro"] == 0.5
    assert metrics["validation/games"] == 4


# ------------------------------------------------------------------ of a real policy

SEEN = Keydoor().tasks("valid_seen")
UNSEEN = Keydoor().tasks("valid_unseen")


class KeepPlayed(lightning.Callback):
    """Keeps what every evaluation played."""

    def __init__(self) -> None:
        self.evaluations: list[list[Trajectory]] = []

    def on_validation_start(self, *_: Any) -> None:
        self.evaluations.append([])

    def on_validation_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Played, *_: Any
    ) -> None:
        self.evaluations[-1].extend(batch.trajectories)


def validate(data: RolloutDataModule, **settings: Any) -> tuple[OPIDModule, list[Trajectory]]:
    keep = KeepPlayed()
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[keep],
        **settings,
    )
    module = OPIDModule(PolicySource("keydoor"), Loss())
    trainer.validate(module, data, verbose=False)
    return module, keep.evaluations[0]


def answers(played: list[Trajectory]) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
    return [(t.id, tuple(step.completion.token_ids for step in t.steps)) for t in played]


def test_the_whole_split_is_played_in_its_order() -> None:
    _, played = validate(keydoor_data(evaluation=Evaluation(tasks_per_batch=5)))
    assert [t.task.id for t in played] == [task.id for task in SEEN]


def test_both_splits_are_played_one_after_the_other() -> None:
    data = keydoor_data(evaluation=Evaluation(validation_split="both", tasks_per_batch=5))
    module, played = validate(data)
    assert [t.task.id for t in played] == [task.id for task in (*SEEN, *UNSEEN)]
    assert module.evaluation_result is not None
    games = {s: result.overall.games for s, result in module.evaluation_result.splits.items()}
    assert games == {"valid_seen": len(SEEN), "valid_unseen": len(UNSEEN)}


def test_seed_everything_changes_no_evaluation() -> None:
    first = answers(validate(keydoor_data(evaluation=Evaluation(), seed=7))[1])
    assert answers(validate(keydoor_data(evaluation=Evaluation(), seed=8))[1]) == first
    assert answers(validate(keydoor_data(evaluation=Evaluation(seed=1), seed=7))[1]) != first


def test_a_greedy_evaluation_has_no_seed() -> None:
    greedy = Evaluation(temperature=0.0)
    first = answers(validate(keydoor_data(evaluation=greedy))[1])
    assert answers(validate(keydoor_data(evaluation=replace(greedy, seed=1)))[1]) == first


def test_several_attempts_differ_and_the_first_is_the_only_one_of_one() -> None:
    settings = Evaluation(num_tasks=4, temperature=1.0)
    module, played = validate(keydoor_data(evaluation=replace(settings, attempts=3)))
    assert [t.attempt for t in played] == [0, 1, 2] * 4
    assert len({steps for _, steps in answers(played)}) > 4
    _, once = validate(keydoor_data(evaluation=settings))
    assert answers(once) == answers(played)[::3]
    assert module.evaluation_result is not None
    assert module.evaluation_result.together.overall.games == 4
    assert module.evaluation_result.together.overall.played == 12


def frozen_policy(parameters: Any) -> Any:
    return torch.optim.SGD(parameters, lr=0.0)


def test_the_same_weights_are_evaluated_alike_at_every_iteration(tmp_path: Path) -> None:
    keep = KeepPlayed()
    run = fit(
        tmp_path,
        [keep],
        iterations=2,
        optimizer=frozen_policy,
        limit_val_batches=1.0,
        evaluate_at_start=True,
    )
    start, first, second = (answers(played) for played in keep.evaluations)
    assert start == first == second
    last = Played("valid_seen", tuple(keep.evaluations[-1]))
    assert run.module.evaluation_result == result_of([last])


def test_evaluating_changes_no_weight(tmp_path: Path) -> None:
    evaluated = fit(tmp_path / "a", limit_val_batches=1.0, evaluate_at_start=True)
    alone = fit(tmp_path / "b")
    assert_same_weights(evaluated, alone)


@pytest.mark.parametrize(
    "settings",
    [{"limit_val_batches": 1}, {"limit_val_batches": 0.5}, {"limit_val_batches": 0}],
)
def test_a_set_is_never_cut_short(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"trainer\.limit_val_batches is"):
        validate(keydoor_data(), **settings)


def test_a_test_plays_its_own_split() -> None:
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    module = OPIDModule(PolicySource("keydoor"), Loss())
    chosen = Evaluation(num_tasks=4, validation_split="valid_seen", test_split="valid_unseen")
    trainer.test(module, keydoor_data(evaluation=chosen), verbose=False)
    assert module.evaluation_result is not None
    assert module.evaluation_result.splits.keys() == {"valid_unseen"}


def test_the_set_of_a_test_is_never_cut_short() -> None:
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        limit_test_batches=2,
    )
    with pytest.raises(ValueError, match=r"trainer\.limit_test_batches is 2"):
        trainer.test(OPIDModule(PolicySource("keydoor"), Loss()), keydoor_data(), verbose=False)


def test_part_of_an_evaluation_before_the_first_update_is_refused() -> None:
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        max_epochs=1,
        num_sanity_val_steps=2,
    )
    with pytest.raises(ValueError, match=r"num_sanity_val_steps is 2.*-1"):
        trainer.fit(OPIDModule(PolicySource("keydoor"), Loss()), keydoor_data())
