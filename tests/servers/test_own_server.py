"""A server that is lost is found again, once for all who miss it, and not for ever."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opid_lightning.servers.own_server import OwnServer, ServerLostError
from opid_lightning.servers.process import ServerProcess, free_port
from tests.hindsight import tiny_vllm
from tests.servers.process_list import group_of, is_gone


def own_server(log: Path, words: str = "", max_restarts: int = 1) -> OwnServer:
    port = free_port()
    command = [sys.executable, tiny_vllm.__file__, "--port", str(port), *words.split()]
    process = ServerProcess(command, dict(os.environ), log)
    return OwnServer(f"http://127.0.0.1:{port}", process, 20.0, max_restarts)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    server = own_server(tmp_path / "server.log")
    server.start()
    yield server
    server.stop()


def kill(server: OwnServer) -> None:
    """The server itself, not its watch."""
    leader = server.process.leader
    assert leader is not None
    (found,) = (pid for pid in group_of(leader) if pid != leader)
    os.kill(found, signal.SIGKILL)


def test_a_server_is_lost_to_those_who_asked_it_before_it_died(server: OwnServer) -> None:
    assert not server.is_lost(0)
    kill(server)
    assert server.is_lost(0)
    server.revive(0)
    assert server.is_lost(0) and not server.is_lost(1)


def test_many_who_miss_it_bring_it_back_once(server: OwnServer) -> None:
    kill(server)
    threads = [threading.Thread(target=server.revive, args=(0,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.num_restarts == 1 and not server.is_lost(1)


def test_lost_once_too_often_it_is_given_up_with_the_end_of_its_log(server: OwnServer) -> None:
    kill(server)
    server.revive(0)
    kill(server)
    while server.process.is_running:
        time.sleep(0.05)
    with pytest.raises(ServerLostError, match="was lost, after 1 restarts") as caught:
        server.revive(1)
    assert "ended with code -9" in str(caught.value) and server.url in str(caught.value)


def test_what_does_not_start_is_shown_with_what_it_said_and_is_gone(tmp_path: Path) -> None:
    server = own_server(tmp_path / "server.log", "--end-with disagreeable")
    with pytest.raises(ServerLostError, match=r"did not start: it ended(.|\n)*disagreeable"):
        server.start()
    assert server.process.leader is None


def test_a_server_that_was_stopped_does_not_come_back(server: OwnServer) -> None:
    leader = server.process.leader
    server.stop()
    assert leader is not None and is_gone(leader, within_s=0)
    with pytest.raises(ServerLostError, match="it was stopped"):
        server.revive(0)
    assert not server.process.is_running
