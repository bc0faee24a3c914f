"""Runs whose processes are started one by one."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from opid_lightning.cli.errors import UsageError
from opid_lightning.cli.launch import check_folder_is_named
from opid_lightning.cli.verbs.table import main

TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "0"}
SRUN = {
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "1",
    "SLURM_JOB_NAME": "opid",
}


@pytest.fixture(autouse=True)
def _started_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {*TORCHRUN, *SRUN}:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("launched", [TORCHRUN, SRUN])
def test_processes_started_one_by_one_need_the_folder_named(
    launched: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="name it by trainer"):
        check_folder_is_named(None, num_nodes=1)
    check_folder_is_named("runs/mine", num_nodes=1)


def test_tasks_that_slurm_may_put_anywhere_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(UsageError, match="--ntasks-per-node=2"):
        check_folder_is_named("runs/mine", num_nodes=1)


def test_nodes_started_by_hand_need_the_folder_named() -> None:
    with pytest.raises(UsageError, match="name it by trainer"):
        check_folder_is_named(None, num_nodes=2)


@pytest.mark.parametrize("launched", [{}, TORCHRUN | {"WORLD_SIZE": "1"}, {"SLURM_NTASKS": "1"}])
def test_a_single_process_names_its_folder_itself(
    launched: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    check_folder_is_named(None, num_nodes=1)


def settings(folder: Path) -> list[str]:
    """Two iterations of keydoor, in optimizer steps of several micro-batches."""
    return [
        *("fit", "conf=keydoor", "trainer.max_epochs=2", "trainer.accelerator=cpu"),
        *("data.tasks_per_iteration=3", "rollout.group_size=4", "trainer.limit_val_batches=0"),
        *("batching.mini_batch_rows=64", "batching.micro_batch_rows=8"),
        f"trainer.default_root_dir={folder}",
    ]


def start_node(port: int, folder: Path) -> subprocess.Popen[str]:
    """One of two nodes, each of one process."""
    launcher = ("torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", "--rdzv_id=keydoor")
    meeting = ("--rdzv_backend=c10d", f"--rdzv_endpoint=localhost:{port}")
    nodes = ("strategy=ddp", "trainer.num_nodes=2", "trainer.devices=1")
    return subprocess.Popen(
        [
            *(sys.executable, "-m", *launcher, *meeting, "-m", "opid_lightning"),
            *(*settings(folder), *nodes),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint["state_dict"]


def test_two_nodes_of_torchrun_train_as_one_process_does(tmp_path: Path) -> None:
    port = free_port()
    nodes = [start_node(port, tmp_path / "two") for _ in range(2)]
    assert main([*settings(tmp_path / "one"), "~callbacks.progress_bar"]) == 0
    said = [node.communicate(timeout=200)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert sorted("iteration 2/2" in words for words in said) == [False, True]  # rank 0's alone
    for name, weight in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], weight, rtol=0, atol=2e-6)
