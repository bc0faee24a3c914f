"""What torch can compute on, and the room there is."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from opid_lightning.cli.doctor.findings import Finding, State, pip
from opid_lightning.cli.doctor.processes import try_python
from opid_lightning.cli.doctor.requirements import installed

COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
IMPORT_TIMEOUT_S = 120.0
LEAST_DISK_GIB = 1.0  # a checkpoint of a model of 135 million weights is larger
GIB = 2**30
MEMORY = re.compile(r"(\w+):\s+(\d+) kB")


def check_devices(accelerator: str) -> Iterator[Finding]:
    """`accelerator` as Lightning's Trainer takes it: gpu and cuda cannot do without a GPU."""
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        is_usable = torch.cuda.is_available()
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for CPUs"
    if is_usable:
        devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        held = ", ".join(f"{d.name} with {d.total_memory / GIB:.0f} GiB" for d in devices)
        yield Finding("devices", State.OK, f"torch is {build}: {held}")
        return
    is_asked_for = accelerator in ("gpu", "cuda")
    if not has_nvidia_driver():
        found = f"torch is {build}; there is no GPU of NVIDIA's"
        fix = "repeat it with trainer.accelerator=auto" if is_asked_for else ""
        yield Finding("devices", State.MISSING if is_asked_for else State.OK, found, fix)
    elif torch.version.cuda:
        reason = f": {said[0].message}" if said else ""
        found = f"torch is {build} and cannot use the GPU that is here{reason}"
        fix = f"nvidia-smi  # update the driver to one for CUDA {torch.version.cuda}"
        yield Finding("devices", State.BROKEN, found, fix)
    else:
        found = f"torch is {build}, so that the GPU which is here is left alone"
        state = State.MISSING if is_asked_for else State.OPTIONAL
        yield Finding("devices", state, found, "rm -r .venv; make setup VLLM=vllm")


def has_nvidia_driver() -> bool:
    """Whether an NVIDIA driver is installed, whatever torch was built for."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def check_companions() -> Iterator[Finding]:
    """Registries' torchvision is built for their CUDA torch; beside another, transformers, which
    imports it if it is there, cannot load a model.
    """
    here = {name: version for name in COMPANIONS if (version := installed(name))}
    if not here:
        yield Finding("companions", State.OK, f"no {', '.join(COMPANIONS)}; nothing needs them")
        return
    for name, version in here.items():
        tried = try_python(f"import {name}", IMPORT_TIMEOUT_S)
        if tried.problem:
            found = f"{version} does not fit the torch that is here: {tried.problem}"
            yield Finding(name, State.BROKEN, found, pip("uninstall", "-y", *here))
        else:
            yield Finding(name, State.OK, f"{version} fits torch")


def check_cores() -> Iterator[Finding]:
    """Reports usable cores, torch's threads and memory. Always ok."""
    import torch

    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{num_cores} cores, {torch.get_num_threads()} threads of torch{memory()}"
    yield Finding("cores", State.OK, found)


def check_disk() -> Iterator[Finding]:
    """Reports free space where runs are written; missing below `LEAST_DISK_GIB`."""
    here = Path.cwd()
    free = shutil.disk_usage(here).free / GIB
    found = f"{free:.1f} GiB free in {here}, where runs are written"
    if free >= LEAST_DISK_GIB:
        yield Finding("disk", State.OK, found)
    else:
        fix = "make room, or write elsewhere: trainer.default_root_dir=FOLDER"
        yield Finding("disk", State.MISSING, found, fix)


def memory() -> str:
    """As Linux says it; elsewhere nothing is said."""
    file = Path("/proc/meminfo")
    if not file.exists():
        return ""
    kib = {key: int(amount) for key, amount in MEMORY.findall(file.read_text())}
    free, total = (kib[key] * 1024 / GIB for key in ("MemAvailable", "MemTotal"))
    return f", {free:.1f} of {total:.1f} GiB of memory free"
