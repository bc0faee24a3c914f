"""Real processes: started, watched, stopped, and none left whichever way their parent ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from opid_lightning.sampling.vllm_server.client import ServerClient
from opid_lightning.sampling.vllm_server.fleet import Fleet, Server, ServersLostError
from opid_lightning.servers.process import ServerProcess, free_port
from tests.servers.process_list import group_of, is_gone

# As vLLM does, it starts a process that knows nothing of its parent.
FAMILY = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]).wait()"
SLEEP = "import time; print('asleep', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


def wait_for(log: Path, word: str) -> None:
    deadline = time.monotonic() + 30
    while not log.exists() or word not in log.read_text():
        assert time.monotonic() < deadline, f"{word!r} never came"
        time.sleep(0.02)


ProcessOf = Callable[[str], ServerProcess]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@pytest.fixture
def process_of(log: Path) -> Iterator[ProcessOf]:
    made: list[ServerProcess] = []

    def process(script: str) -> ServerProcess:
        made.append(ServerProcess([sys.executable, "-c", script], dict(os.environ), log))
        return made[-1]

    yield process
    for each in made:
        each.stop()


def test_stopping_ends_what_the_server_started_too(process_of: ProcessOf, log: Path) -> None:
    process = process_of(FAMILY.format(child=SLEEP))
    process.start()
    wait_for(log, "asleep")
    leader = process.leader
    assert leader is not None and len(group_of(leader)) == 3  # watch, server, child
    assert os.getpgid(leader) == leader != os.getpgid(0)  # Ctrl-C does not reach it
    assert process.is_running
    process.stop()
    assert not group_of(leader) and not process.is_running


def test_a_server_that_is_deaf_is_killed(process_of: ProcessOf, log: Path) -> None:
    process = process_of(FAMILY.format(child=DEAF))
    process.start()
    wait_for(log, "asleep")
    leader = process.leader
    process.stop()
    assert leader is not None and not group_of(leader)


def test_what_a_dead_server_started_does_not_outlive_it(process_of: ProcessOf, log: Path) -> None:
    process = process_of(FAMILY.format(child=DEAF))
    process.start()
    wait_for(log, "asleep")
    leader = process.leader
    assert leader is not None
    (server,) = (
        pid for pid, line in group_of(leader).items() if "Popen" in line and "-I" not in line
    )
    os.kill(server, signal.SIGKILL)
    assert is_gone(leader)
    assert not process.is_running
    assert "the server ended with code -9" in process.log_tail()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_ends_with_a_trainer_that_is_killed(log: Path, end: signal.Signals) -> None:
    trainer = (
        "import os, sys, time, pathlib\n"
        "from opid_lightning.servers.process import ServerProcess\n"
        f"command = [sys.executable, '-c', {FAMILY.format(child=SLEEP)!r}]\n"
        f"process = ServerProcess(command, dict(os.environ), pathlib.Path({str(log)!r}))\n"
        "process.start()\n"
        "print(process.leader, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", trainer], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        leader = int(running.stdout.readline())
        wait_for(log, "asleep")
        assert len(group_of(leader)) == 3
        running.send_signal(end)
        running.wait()
    assert is_gone(leader)


def test_a_server_can_be_started_again_and_keeps_its_log(process_of: ProcessOf, log: Path) -> None:
    process = process_of("print('once')")
    for _ in range(2):
        process.start()
        leader = process.leader
        assert leader is not None and is_gone(leader)
        assert not process.is_running
        process.stop()
    assert log.read_text().count("once\n") == 2


def test_a_server_that_does_not_come_up_is_shown_with_what_its_log_says(
    process_of: ProcessOf, log: Path
) -> None:
    script = (
        "print('first\\n(EngineCore) ERROR RuntimeError: the cause'); "
        "[print(i) for i in range(30)]; raise SystemExit('no such argument')"
    )
    process = process_of(script)
    client = ServerClient(f"http://127.0.0.1:{free_port()}", httpx.Client())
    fleet = Fleet([Server(client, process, start_timeout_s=30)], max_losses=3)
    with pytest.raises(ServersLostError, match="did not start: it ended before") as caught:
        fleet.start()
    assert "no such argument" in str(caught.value) and str(log) in str(caught.value)
    assert "  RuntimeError: the cause" in str(caught.value)
    assert "first" not in str(caught.value)


def test_a_server_that_takes_too_long_is_stopped(process_of: ProcessOf) -> None:
    process = process_of(SLEEP)
    client = ServerClient(f"http://127.0.0.1:{free_port()}", httpx.Client())
    fleet = Fleet([Server(client, process, start_timeout_s=0.3)], max_losses=3)
    with pytest.raises(ServersLostError, match=r"did not start: no answer for 0\.3 s"):
        fleet.start()
    assert not process.is_running and process.leader is None
