"""Sessions that wait, and sessions that are lost: what rollout, evaluation and run make of them."""

from __future__ import annotations

import csv
import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.iteration import without_lost
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.protocols import Session, SessionLostError, SilentObserver, WaitingEnvironment
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.scripted import Scripted
from opid_lightning.training.evaluation import Played, result_of
from opid_lightning.types import Observation, Opening, Policy, Task, Trajectory
from tests.builders import step_of, trajectory_of
from tests.envs.flaky import Flaky
from tests.test_rollout import solve

ROOT = Path(__file__).parents[1]
ROLLOUT = Rollout(group_size=2, max_prompt_tokens=64, skill_tokens=16, max_response_tokens=2)
# Of the first six tasks, all of which take a solver three steps or more to win.
TASKS = [task for task in Keydoor().tasks("train") if task.payload.key is not None][:6]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(PolicySource("keydoor"))


@dataclass
class Heard(SilentObserver):
    """A listener that counts, and opens a gate when so many trajectories have ended."""

    opens_at: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    ended: list[str] = field(default_factory=list)
    progress: list[int] = field(default_factory=list)

    def on_stage_progress(self, stage: str, done: int) -> None:
        self.progress.append(done)

    def on_trajectory_end(self, trajectory: Trajectory) -> None:
        self.ended.append(trajectory.id)
        if len(self.ended) == self.opens_at:
            self.gate.set()


def solved(
    policy: Policy, env: Keydoor, rollout: Rollout = ROLLOUT, observer: SilentObserver | None = None
) -> tuple[Trajectory, ...]:
    """Played by a solver, to whom responses come one at a time."""
    with Scripted(reply_to=solve).serving(policy) as generation:
        encode = encode_chat(policy.tokenizer)
        return rollout(SessionPool(env), TASKS, generation, encode, 0, observer or SilentObserver())


# ------------------------------------------------------------------ waiting


@dataclass
class Diary:
    """What the sessions of a waiting environment write down."""

    gate: threading.Event = field(default_factory=threading.Event)
    gate_was_open: list[bool] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    at_once: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Waits(Keydoor):
    max_waiting: int = 4
    diary: Diary = field(default_factory=Diary)
    gated: str = ""  # the task whose first step waits for the gate

    def open(self) -> Session:
        return WaitingGame(super().open(), self.diary, self.gated)


@dataclass
class WaitingGame:
    game: Session
    diary: Diary
    gated: str

    def reset(self, task: Task) -> Opening:
        self.is_gated = task.id == self.gated
        return self.game.reset(task)

    def step(self, action: str) -> Observation:
        with self.diary.lock:
            self.diary.threads.add(threading.current_thread().name)
            self.diary.at_once["now"] += 1
            self.diary.at_once["most"] = max(self.diary.at_once.values())
        if self.is_gated:
            self.is_gated = False
            self.diary.gate_was_open.append(self.diary.gate.wait(30))
        time.sleep(0.002)
        with self.diary.lock:
            self.diary.at_once["now"] -= 1
        return self.game.step(action)

    def close(self) -> None:
        self.game.close()


def test_the_others_play_to_their_end_while_one_waits(policy: Policy) -> None:
    heard = Heard(opens_at=5)
    env = Waits(diary=Diary(gate=heard.gate), gated=TASKS[2].id)
    trajectories = solved(policy, env, dataclasses.replace(ROLLOUT, group_size=1), heard)
    assert env.diary.gate_was_open == [True]
    assert heard.ended[-1] == trajectories[2].id == f"{TASKS[2].id}#0"


def test_trajectories_are_the_same_whether_their_steps_wait_or_not(policy: Policy) -> None:
    assert solved(policy, Waits()) == solved(policy, Keydoor())


def test_no_more_steps_wait_at_once_than_the_environment_says(policy: Policy) -> None:
    env = Waits(max_waiting=3)
    assert isinstance(env, WaitingEnvironment) and not isinstance(Keydoor(), WaitingEnvironment)
    solved(policy, env)
    assert env.diary.at_once["most"] == len(env.diary.threads) == 3
    assert all(name.startswith("session") for name in env.diary.threads)


def test_without_anything_to_wait_for_steps_are_in_the_rollouts_thread(policy: Policy) -> None:
    env = Waits(max_waiting=0)
    solved(policy, env)
    assert env.diary.threads == {threading.current_thread().name}


# ------------------------------------------------------------------ lost


@dataclass(frozen=True)
class Perilous(Keydoor):
    """Loses its session in the reset, or in a step, of each attempt at some tasks."""

    lost_at: Mapping[str, int] = field(default_factory=dict)  # by task id: 0 is the reset
    sessions: list[PerilousGame] = field(default_factory=list)

    def open(self) -> Session:
        self.sessions.append(PerilousGame(super().open(), self.lost_at))
        return self.sessions[-1]


@dataclass
class PerilousGame:
    game: Session
    lost_at: Mapping[str, int]
    is_lost: bool = False
    num_closed: int = 0

    def reset(self, task: Task) -> Opening:
        self.task_id, self.num_calls = task.id, 0
        self._dare()
        return self.game.reset(task)

    def step(self, action: str) -> Observation:
        self._dare()
        return self.game.step(action)

    def close(self) -> None:
        self.num_closed += 1

    def _dare(self) -> None:
        assert not self.is_lost, "a lost session is used again"
        if self.lost_at.get(self.task_id) == self.num_calls:
            self.is_lost = True
            raise SessionLostError("dark", f"a pit in {self.task_id}")
        self.num_calls += 1


def test_a_lost_attempt_keeps_what_was_played_and_leaves_the_others_as_they_were(
    policy: Policy,
) -> None:
    heard, whole = Heard(), solved(policy, Keydoor())
    env = Perilous(lost_at={TASKS[1].id: 2})
    found = solved(policy, env, dataclasses.replace(ROLLOUT, max_concurrent=3), heard)
    lost = [trajectory for trajectory in found if trajectory.session_lost]
    assert [trajectory.id for trajectory in lost] == [f"{TASKS[1].id}#{i}" for i in (0, 1)]
    for trajectory in lost:
        assert trajectory.session_lost == "dark" and not trajectory.won
        assert trajectory.steps == whole[2 + trajectory.attempt].steps[:1]
    assert [t for t in found if t not in lost] == [t for t in whole if t.task != TASKS[1]]
    # Nobody is to look back on them, but the stage is not over without them.
    assert set(heard.ended) == {t.id for t in found if t not in lost}
    assert heard.progress == list(range(1, 13))
    # Two new sessions for two that were lost, and those are closed.
    assert len(env.sessions) == 3 + 2
    assert [game.num_closed for game in env.sessions] == [int(g.is_lost) for g in env.sessions]


@pytest.mark.parametrize(
    ("share", "num_lost_tasks", "message"),
    [
        (0.25, 1, None),
        (0.25, 2, "4 of 12 .*max_lost_share=0.25 allows no more than 3. The last one: dark: a pit"),
        (0.5, 3, None),
        (1.0, 5, None),
        (1.0, 6, "12 of 12 attempts .*max_lost_share=1 allows no more than 11"),
        (0.0, 1, "1 of 12 attempts .*max_lost_share=0 allows no more than 0"),
        (0.0, 0, None),
    ],
)
def test_too_many_lost_sessions_stop_the_run_and_say_why(
    policy: Policy, share: float, num_lost_tasks: int, message: str | None
) -> None:
    env = Perilous(lost_at={task.id: 0 for task in TASKS[:num_lost_tasks]})
    rollout = dataclasses.replace(ROLLOUT, max_lost_share=share)
    if message is None:
        assert sum(bool(t.session_lost) for t in solved(policy, env, rollout)) == 2 * num_lost_tasks
    else:
        with pytest.raises(ValueError, match=message):
            solved(policy, env, rollout)


def test_a_single_lost_session_does_not_stop_a_rollout_of_few_attempts() -> None:
    lost = [SessionLostError("dark", "a pit")]
    ROLLOUT.check_losses(lost, 1)
    ROLLOUT.check_losses(lost, 2)
    with pytest.raises(ValueError, match=r"2 of 2 attempts .*no more than 1"):
        ROLLOUT.check_losses(2 * lost, 2)


def lost_one(attempt: int) -> Trajectory:
    return dataclasses.replace(trajectory_of(step_of(), attempt=attempt), session_lost="died")


def test_lost_attempts_are_counted_by_reason_and_not_trained_on() -> None:
    won = trajectory_of(step_of(), won=True)
    slow = dataclasses.replace(lost_one(3), session_lost="step_timeout")
    whole, lost = without_lost((lost_one(0), won, lost_one(2), slow))
    assert whole == (won,)
    assert lost == {"died": 2, "step_timeout": 1}


def test_in_an_evaluation_a_lost_attempt_counts_as_not_won_and_is_counted() -> None:
    won = trajectory_of(step_of(), won=True)
    success = result_of([Played("valid_seen", (won, lost_one(1), lost_one(2)))]).together
    assert success.metrics["success_micro"] == 1 / 3
    assert success.metrics["sessions_lost"] == 2
    assert success.overall.played == 3


def test_a_run_goes_on_with_an_environment_that_crashes(tmp_path: Path) -> None:
    """One attempt at each task ends its process, in training and in the evaluation."""
    flaky = Flaky(folder=str(tmp_path / "faults"))
    (tmp_path / "faults").mkdir()
    for task in flaky.tasks("train"):
        flaky.plan("exit", "step", task)
    flaky.plan("segfault", "reset", flaky.tasks("valid_seen")[0])
    command = (
        "-m opid_lightning fit conf=keydoor env.class_path=tests.envs.flaky.Flaky "
        "env.folder=faults workers.num_processes=8 workers.step_timeout_s=30 "
        "data.tasks_per_iteration=4 rollout.group_size=4 trainer.max_epochs=2 "
        "evaluation.validation_split=valid_seen trainer.check_val_every_n_epoch=2 "
        "~callbacks.checkpoint ~callbacks.hf_export trainer.default_root_dir=run"
    )
    done = subprocess.run(
        [sys.executable, *command.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "workers.num_processes=8: so many games are played at once" in done.stderr + done.stdout
    assert done.stdout.count(" of 12, ") == done.stdout.count(" steps, 4 sessions lost") == 2
    with (tmp_path / "run" / "metrics.csv").open() as file:
        start, first, second = csv.DictReader(file)
    assert float(start["validation/sessions_lost"]) == 1
    for row in (first, second):
        assert float(row["rollout/trajectories"]) == 12
        assert float(row["rollout/sessions_lost"]) == 4
        assert float(row["rollout/sessions_lost_died"]) == 4
        assert float(row["skills/analysed"]) + float(row["skills/skipped"]) == 12
    assert float(second["validation/sessions_lost"]) == 0
