"""Where what was made or generated is kept from run to run."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str, given: str | None = None) -> Path:
    """The folder that was given, else one of that name in the user's cache folder."""
    if given:
        return Path(given).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "opid_lightning" / name
