"""The servers that a sampler starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opid_lightning.sampling.vllm import settings
from opid_lightning.sampling.vllm.description import description_of
from opid_lightning.servers.process import ServerProcess, free_port
from opid_lightning.servers.vllm import HOST, check_installed, server_process
from opid_lightning.types import Policy

ARGUMENTS: Mapping[str, Any] = {
    **settings.ARGUMENTS,
    "enable_scale_out": True,  # the endpoint at which token ids go in and come out
    "disable_uvicorn_access_log": True,
}
VARIABLES = {"VLLM_SERVER_DEV_MODE": "1"}  # pausing, syncing, and asking workers


def own_processes(
    policy: Policy, count: int, arguments: Mapping[str, Any], gpus: tuple[str, ...], folder: Path
) -> dict[str, ServerProcess]:
    """By their URLs; with logs in `folder`."""
    check_installed("sampler=vllm_server", "sampler.urls")
    given = {**ARGUMENTS, **arguments, "model": str(description_of(policy))}
    processes: dict[str, ServerProcess] = {}
    while len(processes) < count:
        port, log = free_port(), folder / f"server_{len(processes)}.log"
        own_gpus = gpus[len(processes)] if gpus else None
        processes[f"http://{HOST}:{port}"] = server_process(given, port, log, own_gpus, VARIABLES)
    return processes
