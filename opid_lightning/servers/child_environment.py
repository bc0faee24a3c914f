"""The environment of the processes that a run starts: its own, without the keys of other services.

Environments and model servers run code of others, and need neither the analyst's key nor W&B's.
"""

from __future__ import annotations

import os
import re

KEYS = re.compile(r"(OPENAI|VLLM|WANDB)_(\w+_)?(KEY|TOKEN|SECRET)(_\w+)?")
_withheld: set[str] = set()


def withhold(variable: str) -> None:
    """Leaves another variable out as well, from now on, because a key was read from it."""
    _withheld.add(variable)


def child_environment() -> dict[str, str]:
    """This process's variables without keys of other services."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _withheld and not KEYS.fullmatch(name)
    }
