"""Sessions in worker processes: what becomes of those that die, hang or fail, and of the rest."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.envs.workers import WorkerEnvironment, Workers
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.protocols import (
    Environment,
    SessionLostError,
    SilentObserver,
    WaitingEnvironment,
)
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.types import Policy, Step, Task, Trajectory
from tests.envs.flaky import Flaky, Unbuildable, Unpicklable

ROLLOUT = Rollout(group_size=2, max_prompt_tokens=64, skill_tokens=16, max_response_tokens=2)
NUM_TASKS = 8
QUICK = Workers(num_processes=8, step_timeout_s=2.0, reset_timeout_s=2.0)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(PolicySource("keydoor"))


@pytest.fixture(scope="module")
def flaky(tmp_path_factory: pytest.TempPathFactory) -> Flaky:
    return Flaky(folder=str(tmp_path_factory.mktemp("faults")))


@pytest.fixture(scope="module")
def workers(flaky: Flaky) -> Iterator[WorkerEnvironment]:
    """Started with more time than its sessions have, as that includes importing."""
    started = WorkerEnvironment(flaky, Workers(8))
    started.start()
    started.workers = QUICK
    yield started
    started.close()


@pytest.fixture(scope="module")
def undisturbed(policy: Policy) -> dict[str, Trajectory]:
    return by_id(play(Keydoor(), policy))


def play(
    environment: Environment, policy: Policy, rollout: Rollout = ROLLOUT, num_tasks: int = NUM_TASKS
) -> tuple[Trajectory, ...]:
    sessions = SessionPool(environment)
    tasks, encode = environment.tasks("train")[:num_tasks], encode_chat(policy.tokenizer)
    try:
        with HuggingFace().serving(policy) as generation:
            return rollout(sessions, tasks, generation, encode, 0, SilentObserver())
    finally:
        sessions.close()


def by_id(trajectories: tuple[Trajectory, ...]) -> dict[str, Trajectory]:
    """Without log-probs, whose last digits depend on what else was in the engine's batch."""
    return {
        trajectory.id: dataclasses.replace(
            trajectory, steps=tuple(without_logprobs(step) for step in trajectory.steps)
        )
        for trajectory in trajectories
    }


def without_logprobs(step: Step) -> Step:
    return dataclasses.replace(step, completion=dataclasses.replace(step.completion, logprobs=()))


def is_alive(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(file: Path) -> str:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} never came"
        time.sleep(0.02)
    return file.read_text()


def wait_until_gone(*processes: int) -> None:
    deadline = time.monotonic() + 10
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline, f"some of {processes} live on"
        time.sleep(0.02)


def test_trajectories_are_the_same_in_worker_processes(
    workers: WorkerEnvironment, policy: Policy, undisturbed: dict[str, Trajectory]
) -> None:
    assert isinstance(workers, Environment) and isinstance(workers, WaitingEnvironment)
    assert by_id(play(workers, policy)) == undisturbed


def test_alfworld_plays_alike_in_a_worker_process(tmp_path: Path) -> None:
    environment = ALFWorld(num_train_games=2, num_valid_games=1, games_cache=str(tmp_path))
    task = environment.tasks("train")[1]
    there = WorkerEnvironment(environment, Workers(1))
    here, other = environment.open(), there.open()
    seen = here.reset(task).observation
    assert other.reset(task).observation == seen
    for _ in range(10):
        action = seen.admissible[-1]
        seen = here.step(action)
        assert other.step(action) == seen
    there.close()


@pytest.mark.parametrize(
    ("method", "fault", "reason"),
    [
        ("step", "exit", "died"),
        ("step", "leave", "died"),
        ("step", "segfault", "died"),
        ("step", "memory", "out_of_memory"),
        ("step", "sleep", "step_timeout"),
        ("step", "compute", "step_timeout"),
        ("step", "lose", "no_answer"),
        ("reset", "exit", "died"),
        ("reset", "sleep", "reset_timeout"),
    ],
)
def test_a_fault_costs_one_trajectory_and_changes_no_other(
    workers: WorkerEnvironment,
    flaky: Flaky,
    policy: Policy,
    undisturbed: dict[str, Trajectory],
    method: str,
    fault: str,
    reason: str,
) -> None:
    flaky.plan(fault, method, flaky.tasks("train")[3])
    trajectories = by_id(play(workers, policy))
    assert list(trajectories) == list(undisturbed)
    (lost,) = (trajectory for trajectory in trajectories.values() if trajectory.session_lost)
    assert (lost.task, lost.session_lost) == (flaky.tasks("train")[3], reason)
    assert not lost.won and lost.steps == ()
    assert {**trajectories, lost.id: undisturbed[lost.id]} == undisturbed


def test_a_worker_that_is_killed_while_it_steps_costs_its_trajectory(
    workers: WorkerEnvironment, flaky: Flaky, policy: Policy, undisturbed: dict[str, Trajectory]
) -> None:
    flaky.plan("wait", "step", flaky.tasks("train")[0])
    processes: list[int] = []

    def kill() -> None:
        processes.extend(map(int, wait_for(Path(flaky.folder) / "processes").split()))
        os.kill(processes[0], signal.SIGKILL)

    workers.workers = dataclasses.replace(QUICK, step_timeout_s=30)
    killer = threading.Thread(target=kill)
    killer.start()
    trajectories = by_id(play(workers, policy))
    killer.join()
    workers.workers = QUICK
    (lost,) = (trajectory for trajectory in trajectories.values() if trajectory.session_lost)
    assert lost.session_lost == "died"
    assert {**trajectories, lost.id: undisturbed[lost.id]} == undisturbed
    wait_until_gone(*processes)  # and what it had started


def test_a_lost_session_says_what_it_was_asked_and_how_its_process_ended(
    workers: WorkerEnvironment, flaky: Flaky
) -> None:
    task = flaky.tasks("train")[0]
    messages = []
    for fault in ("exit", "segfault", "sleep"):
        flaky.plan(fault, "step", task)
        session = workers.open()
        session.reset(task)
        with pytest.raises(SessionLostError) as lost:
            session.step("look about")
        messages.append(lost.value.detail)
        session.close()
    assert messages == [
        "step(look about) ended the worker process: exit code 3",
        "step(look about) ended the worker process: signal SIGSEGV",
        "step(look about) took longer than workers.step_timeout_s=2",
    ]


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("fail", LookupError, "no such room"),
        ("fail_unpicklably", RuntimeError, "UnbuildableError: number 7 is wrong"),
    ],
)
def test_a_bug_stops_the_run_with_the_traceback_of_the_worker(
    workers: WorkerEnvironment,
    flaky: Flaky,
    policy: Policy,
    fault: str,
    error: type[Exception],
    message: str,
) -> None:
    flaky.plan(fault, "step", flaky.tasks("train")[1])
    with pytest.raises(error, match=message) as raised:
        play(workers, policy)
    (note,) = raised.value.__notes__
    assert "flaky.py" in note and f"in {fault}" in note


def test_workers_whose_zygote_is_killed_die_with_it_and_come_back(flaky: Flaky) -> None:
    environment = WorkerEnvironment(flaky, Workers(1, step_timeout_s=30))
    session, task = environment.open(), flaky.tasks("train")[0]
    opening = session.reset(task)
    fork_server = environment._fork_server
    assert fork_server is not None
    os.kill(fork_server._process.pid, signal.SIGKILL)
    wait_until_gone(session.process_id)
    with pytest.raises(SessionLostError, match="died: step"):
        session.step("left")
    session.close()
    assert environment.open().reset(task) == opening
    environment.close()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (Unpicklable(), r"Unpicklable cannot be sent to a worker process: .*lock.*num_processes=0"),
        (Unbuildable(), r"(?s)cannot be built in a worker process: Traceback.*no licence"),
    ],
)
def test_an_environment_that_cannot_be_where_workers_are_is_refused_at_the_start(
    environment: Environment, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        WorkerEnvironment(environment, Workers(2)).start()


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("exit", ValueError, r"Flaky cannot be opened .*: died: open\(\).* exit code 3"),
        ("fail", LookupError, "no such room"),
    ],
)
def test_what_keeps_a_session_from_opening_is_said_at_the_start(
    workers: WorkerEnvironment, flaky: Flaky, fault: str, error: type[Exception], message: str
) -> None:
    flaky.plan(fault, "open")
    with pytest.raises(error, match=message):
        workers.start()


def test_a_task_that_cannot_be_sent_is_named(workers: WorkerEnvironment) -> None:
    session = workers.open()
    with pytest.raises(ValueError, match=r"reset\(cellar\) cannot be sent .* payload of a task"):
        session.reset(Task("cellar", "room", threading.Lock()))
    session.close()


TRAINER = """
import sys
from pathlib import Path
from opid_lightning.envs.workers import WorkerEnvironment, Workers
from tests.envs.flaky import Flaky

folder = Path(sys.argv[1])
flaky = Flaky(folder=str(folder))
task = flaky.tasks("train")[0]
environment = WorkerEnvironment(flaky, Workers(3))
idle, computing, waiting = (environment.open() for _ in range(3))
for session in (idle, computing, waiting):
    session.reset(task)
flaky.plan("compute", "step", task)
computing._connection.send((2, "step", ("left",)))
while (folder / f"{task.id}.step").exists():
    pass
(folder / "workers").write_text(f"{idle.process_id} {computing.process_id}")
flaky.plan("wait", "step", task)
waiting.step("left")
"""


def test_a_trainer_that_is_killed_leaves_no_workers(tmp_path: Path) -> None:
    """One is idle, one is busy without ever looking up, and one has started a process."""
    trainer = subprocess.Popen([sys.executable, "-c", TRAINER, str(tmp_path)])
    both = wait_for(tmp_path / "processes") + " " + (tmp_path / "workers").read_text()
    processes = [int(word) for word in both.split()]
    assert len(processes) == 4 and all(map(is_alive, processes))
    trainer.kill()
    trainer.wait()
    wait_until_gone(*processes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_processes": -1}, "workers.num_processes is -1; expected at least 0"),
        ({"num_processes": 2, "step_timeout_s": 0}, "workers.step_timeout_s is 0; expected more"),
        ({"step_timeout_s": 5.0}, "step_timeout_s is 5.0, but only .* set workers.num_processes"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Workers(**settings)  # type: ignore[arg-type]
