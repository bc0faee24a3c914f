"""`doctor`: what a configuration needs and this machine lacks, with a command to fix it."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from opid_lightning.cli.config.arguments import Arguments
from opid_lightning.cli.doctor.configured import configured
from opid_lightning.cli.doctor.findings import Finding, examine
from opid_lightning.cli.doctor.parts import Parts
from opid_lightning.cli.errors import UsageError

USAGE = """\
usage: python -m opid_lightning doctor [conf=NAME] [GROUP=CHOICE] [SETTING=VALUE] [~SETTING]
                                       [--trust]

Checks everything that the configuration needs, or without one everything there is, and prints a
line for each:

  ok                what was found
  optional-missing  something works without it; the next line would add it
  missing, broken   it is required; the next line fixes it

A configuration file may name classes of other packages. They are imported only where they were
typed, or with --trust.

Exits with status 0, or with 1 if something required is missing.
"""


def run(arguments: Arguments) -> int:
    """The exit code; raises UsageError for what cannot be run as typed."""
    if arguments.wants_help:
        print(USAGE)
        return 0
    if arguments.flags:
        raise UsageError(f"doctor does not take {arguments.flags[0]}.")
    num_ill = 0
    for finding in findings(arguments):
        print(finding, flush=True)  # those that take long come last
        num_ill += not finding.is_fine
    print(f"\n{num_ill} to fix" if num_ill else "\nEverything required is there.")
    return min(num_ill, 1)


def findings(arguments: Arguments) -> Iterator[Finding]:
    """Quick ones first. A check is imported when its turn comes, as that may fail as well."""
    parts, read = configured(arguments)
    yield from read
    for subject, entry, *inputs in checks(parts):
        yield from examine(subject, partial(look, f"{__name__}.{entry}", *inputs))


def look(entry: str, *inputs: Any) -> Iterable[Finding]:
    """Imports one check by its path and runs it, so that a broken package fails alone."""
    found: Iterable[Finding] = pkgutil.resolve_name(entry)(*inputs)
    return found


def checks(parts: Parts) -> Iterator[tuple[Any, ...]]:
    """Subject, `module:function` and its arguments."""
    is_for_all = parts.tree is None
    yield "Python", "requirements:check_python"
    yield "packages", "requirements:check_packages"
    yield "companions", "machine:check_companions"
    yield "devices", "machine:check_devices", parts.accelerator
    yield "cores", "machine:check_cores"
    yield "disk", "machine:check_disk"
    yield "data", "data:check_data", parts
    yield "policy", "policy:check_policy", parts.policy_path
    if not is_for_all:
        yield "prompt", "prompt:check_prompt", parts
    if parts.has_analyst:
        yield "analyst", "analyst:check_analyst", parts
    if is_for_all or parts.logs_to_wandb:
        yield "W&B", "wandb:check_wandb"
    if parts.joined_servers:
        yield "server", "servers:check_servers", parts.joined_servers
    if is_for_all or parts.runs_vllm:
        yield "vLLM", "vllm:check_vllm", not is_for_all
