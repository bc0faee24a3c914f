"""The cache of the Hugging Face hub, holding models of which nothing but the names matters."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from opid_lightning.lm.loading import hub


def cached_on(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As on a machine that is offline, and fetched these models before."""
    for name in names:
        stored = folder / f"models--{name.replace('/', '--')}"
        (stored / "snapshots" / "1").mkdir(parents=True)
        (stored / "snapshots" / "1" / "config.json").write_text("{}")
        (stored / "refs").mkdir()
        (stored / "refs" / "main").write_text("1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.only_cached.cache_clear()
