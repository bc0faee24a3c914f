"""The command lines of vLLM servers that a run starts."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from opid_lightning.sampling import vllm_settings
from opid_lightning.sampling.server_process import ServerProcess, free_port
from opid_lightning.types import Policy

_log = logging.getLogger(__name__)
HOST = "127.0.0.1"  # whoever reaches a server in development mode can make it do anything

ARGUMENTS: Mapping[str, Any] = {
    **vllm_settings.ARGUMENTS,
    "enable_scale_out": True,  # the endpoint at which token ids go in and come out
    "disable_uvicorn_access_log": True,
}
ENVIRONMENT = {
    "VLLM_SERVER_DEV_MODE": "1",  # pausing, syncing, and asking workers
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "INFO",
}
CPU_ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # environments and trainer need the cores too
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # lets "uni" save a process, a third of the start-up
    "TORCH_COMPILE_DISABLE": "1",  # 20 s and a C++ compiler, to count the words above another
}


def server_process(
    model: Path, log: Path, port: int, arguments: Mapping[str, Any], gpus: str | None
) -> ServerProcess:
    """Not yet started. `gpus` is CUDA_VISIBLE_DEVICES for it, none where it sees all."""
    given = {**ARGUMENTS, **arguments, "model": str(model), "host": HOST, "port": port}
    environment = {**os.environ, **ENVIRONMENT}
    if not torch.cuda.is_available():
        environment |= CPU_ENVIRONMENT
    if gpus is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpus
    module = "vllm.entrypoints.openai.api_server"
    return ServerProcess([sys.executable, "-m", module, *flags(given)], environment, log)


def own_processes(
    policy: Policy, count: int, arguments: Mapping[str, Any], gpus: tuple[str, ...], folder: Path
) -> dict[str, ServerProcess]:
    """By their URLs; with logs in `folder`, beside the model's description."""
    check_installed()
    policy.model.config.save_pretrained(folder / "model")  # type: ignore[operator,union-attr]
    processes: dict[str, ServerProcess] = {}
    while len(processes) < count:
        port, log = free_port(), folder / f"server_{len(processes)}.log"
        own_gpus = gpus[len(processes)] if gpus else None
        processes[f"http://{HOST}:{port}"] = server_process(
            folder / "model", log, port, arguments, own_gpus
        )
    return processes


def log_folder(asked: str | None) -> Path:
    if asked is not None:
        folder = Path(asked).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix="opid_lightning-servers-"))
    _log.warning("vLLM servers are being started; their logs: %s", folder)
    return folder


def flags(arguments: Mapping[str, Any]) -> list[str]:
    """As vLLM's command line takes them: `max_num_seqs: 8` is `--max-num-seqs 8`."""
    words: list[str] = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, dict | list):
            words += [f"--{flag}", json.dumps(value)]
        elif value is not None:
            words += [f"--{flag}", str(value)]
    return words


def check_installed() -> None:
    if find_spec("vllm") is None:
        raise ValueError(
            f"sampler=vllm_server starts vLLM, which is not installed: {vllm_settings.INSTALL}; or "
            "join a server that runs elsewhere with sampler.urls. `python -m opid_lightning "
            "doctor` says more"
        )
