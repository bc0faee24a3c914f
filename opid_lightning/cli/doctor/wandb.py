"""Whether W&B can be written to."""

from __future__ import annotations

import os
from collections.abc import Iterator

from opid_lightning.cli.doctor.findings import Finding, State, python
from opid_lightning.cli.doctor.requirements import installed
from opid_lightning.training.wandb_key import has_wandb_key


def check_wandb() -> Iterator[Finding]:
    """Reports whether W&B has a key, and what WANDB_MODE makes of a run without one."""
    mode = os.environ.get("WANDB_MODE")
    chosen = f"WANDB_MODE is {mode}" if mode else "WANDB_MODE is not set"
    if has_wandb_key():
        yield Finding("W&B", State.OK, f"{installed('wandb')}, with a key; {chosen}")
    elif mode in ("offline", "disabled", "dryrun"):
        yield Finding("W&B", State.OK, f"{installed('wandb')}, without a key; {chosen}")
    elif mode:
        yield Finding("W&B", State.MISSING, f"no key, and {chosen}", f"{python()} -m wandb login")
    else:
        found = "no key: logger=wandb writes into the run's folder, for `wandb sync`"
        yield Finding("W&B", State.OPTIONAL, found, f"{python()} -m wandb login")
