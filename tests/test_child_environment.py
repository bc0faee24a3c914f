"""Keys are in the environment of the trainer alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from opid_lightning.cli.doctor.processes import try_python
from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.envs.workers import WorkerEnvironment, Workers
from opid_lightning.hindsight.analysts.openai import OpenAI
from opid_lightning.servers.child_environment import child_environment
from opid_lightning.servers.vllm import server_process

SECRET = "planted-7Qw0eXr9TzLm42"
KEYS = ("OPENAI_API_KEY", "WANDB_API_KEY", "VLLM_API_KEY", "OPENAI_ADMIN_KEY", "GLM_KEY")
KEPT = {"MY_JUDGE_KEY": "for an environment", "WANDB_MODE": "offline", "OPENAI_BASE_URL": "u"}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, SECRET)
    for name, value in KEPT.items():
        monkeypatch.setenv(name, value)
    OpenAI("glm", "http://127.0.0.1:1/v1", key_variable="GLM_KEY")


def test_what_is_no_key_of_the_analyst_or_wandb_is_kept() -> None:
    given = child_environment()
    assert not {*KEYS} & given.keys()
    assert KEPT.items() <= given.items()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_fork_server_and_workers_see_no_key() -> None:
    environment = WorkerEnvironment(Keydoor(), Workers(1))
    session = environment.open()
    assert environment._fork_server is not None
    for process in (session.process_id, environment._fork_server.process_id):
        environ = Path(f"/proc/{process}/environ").read_text()
        assert SECRET not in environ and "MY_JUDGE_KEY" in environ
    environment.close()


def test_vllm_servers_see_no_key_but_the_one_that_they_ask_for() -> None:
    plain = server_process({}, 1, Path("log"))
    assert SECRET not in plain.environment.values()
    guarded = server_process({}, 1, Path("log"), variables={"VLLM_API_KEY": SECRET})
    assert [n for n, value in guarded.environment.items() if value == SECRET] == ["VLLM_API_KEY"]


def test_what_doctor_tries_sees_no_key() -> None:
    program = f"import os; assert {SECRET!r} not in os.environ.values(), 'a key'"
    assert try_python(program, timeout_s=60).problem == ""
