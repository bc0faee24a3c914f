"""Whether W&B has a key on this machine."""

from __future__ import annotations

import netrc
import os


def has_wandb_key() -> bool:
    """Whether the environment or ~/.netrc, where `wandb login` writes it, holds a key."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    try:
        return netrc.netrc().authenticators(host) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
