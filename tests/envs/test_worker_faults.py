"""Time limits that hold whatever a worker writes, and processes that try to outlive it."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opid_lightning.envs.workers import WorkerEnvironment, Workers
from opid_lightning.envs.workers.session import WorkerSession
from opid_lightning.protocols import SessionLostError
from tests.envs.flaky import Flaky
from tests.envs.test_workers import is_alive, wait_for, wait_until_gone

SLACK_S = 15.0  # of a busy machine; without a limit each would take 60 s and more
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def flaky(tmp_path: Path) -> Flaky:
    return Flaky(folder=str(tmp_path))


@pytest.fixture
def workers(flaky: Flaky) -> Iterator[WorkerEnvironment]:
    started = WorkerEnvironment(flaky, Workers(2, step_timeout_s=1.0, reset_timeout_s=30))
    yield started
    started.close()


def lost(workers: WorkerEnvironment, flaky: Flaky, fault: str) -> SessionLostError:
    """What a step says in which this happens; the next session plays as if nothing had."""
    task = flaky.tasks("train")[0]
    session = workers.open()
    opening = session.reset(task)
    flaky.plan(fault, "step", task)
    with pytest.raises(SessionLostError) as raised:
        session.step("left")
    session.close()
    other = workers.open()
    assert other.reset(task) == opening
    other.close()
    return raised.value


@pytest.mark.parametrize("fault", ["answer_half", "drip", "stop"])
def test_a_step_that_never_answers_as_a_whole_is_ended_in_time(
    workers: WorkerEnvironment, flaky: Flaky, fault: str
) -> None:
    began = time.monotonic()
    assert lost(workers, flaky, fault).reason == "step_timeout"
    assert time.monotonic() - began < SLACK_S


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("answer_garbage", "Error: "),
        ("answer_other", r"expected request 2, .* but '\(True,\)' came"),
        ("answer_class", "no_such_module"),
        ("print", r"announces \d+ bytes, expected at most"),
        ("announce", "announces -7 bytes"),
    ],
)
def test_what_is_no_answer_costs_its_attempt(
    workers: WorkerEnvironment, flaky: Flaky, fault: str, said: str
) -> None:
    error = lost(workers, flaky, fault)
    assert error.reason == "unreadable"
    assert error.detail.startswith("step(left) was answered with what is no answer: ")
    assert re.search(said, error.detail)


def test_a_second_answer_is_not_taken_for_the_next_request(
    workers: WorkerEnvironment, flaky: Flaky
) -> None:
    task = flaky.tasks("train")[0]
    session = workers.open()
    session.reset(task)
    flaky.plan("answer_twice", "step", task)
    with pytest.raises(SessionLostError, match=r"expected request 2.* but '\(True, None\)' came"):
        session.step("left")
    session.close()


def test_a_stopped_fork_server_is_woken(workers: WorkerEnvironment, flaky: Flaky) -> None:
    task = flaky.tasks("train")[0]
    session = workers.open()
    session.reset(task)
    assert workers._fork_server is not None
    fork_server = workers._fork_server.process_id
    os.kill(fork_server, signal.SIGSTOP)
    flaky.plan("sleep", "step", task)
    began = time.monotonic()
    with pytest.raises(SessionLostError, match="step_timeout"):
        session.step("left")
    assert not is_alive(session.process_id)
    os.kill(fork_server, signal.SIGSTOP)
    workers.open().reset(task)
    os.kill(fork_server, signal.SIGSTOP)
    workers.close()
    assert time.monotonic() - began < SLACK_S
    assert not is_alive(fork_server)


@LINUX
@pytest.mark.parametrize("fault", ["leave_daemon", "leave_session_and_end"])
def test_what_a_worker_started_ends_with_it_in_any_session(
    workers: WorkerEnvironment, flaky: Flaky, fault: str
) -> None:
    lost(workers, flaky, fault)
    process = int(wait_for(Path(flaky.folder) / "processes"))
    assert not is_alive(process)


def with_daemon(workers: WorkerEnvironment, flaky: Flaky) -> tuple[WorkerSession, int]:
    """A session whose game has left a daemon behind and still answers nothing; its process id."""
    task = flaky.tasks("train")[0]
    session = workers.open()
    session.reset(task)
    flaky.plan("leave_daemon", "step", task)
    session._connection.send((2, "step", ("left",)))
    return session, int(wait_for(Path(flaky.folder) / "processes"))


@LINUX
def test_a_daemon_of_one_worker_survives_the_end_of_another(
    workers: WorkerEnvironment, flaky: Flaky
) -> None:
    workers.workers = Workers(2, step_timeout_s=30)
    other = workers.open()
    other.reset(flaky.tasks("train")[0])
    session, process = with_daemon(workers, flaky)
    other.close()
    assert is_alive(process)
    session.close()
    assert not is_alive(process)


@LINUX
def test_what_workers_started_ends_with_a_fork_server_that_is_killed(
    workers: WorkerEnvironment, flaky: Flaky
) -> None:
    workers.workers = Workers(2, step_timeout_s=30)
    session, process = with_daemon(workers, flaky)
    assert workers._fork_server is not None
    os.kill(workers._fork_server.process_id, signal.SIGKILL)
    wait_until_gone(session.process_id)
    workers.close()
    wait_until_gone(process)
