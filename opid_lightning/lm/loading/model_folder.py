"""Models as folders in Hugging Face format, which is all that servers read."""

from __future__ import annotations

import hashlib
from pathlib import Path

from opid_lightning.files.atomic import folder_made_once
from opid_lightning.files.user_cache import cache_folder
from opid_lightning.lm.loading.model_loading import GGUF
from opid_lightning.lm.policy import PolicySource, load_policy, locate


def model_folder(path: str) -> str:
    """The folder of a model that `PolicySource.path` may name; of one on the hub, its name there.

    `smollm2` is packaged in a form of its own. It is written, 0.5 GB, to the user's cache folder
    the first time.
    """
    location, options = locate(path)
    if GGUF not in options:
        return location
    folder = cache_folder("models") / f"{path}-{model_version(path)[:12]}"
    if not folder.is_dir():
        _write(path, folder)
    return str(folder)


def model_version(path: str) -> str:
    """Another after the files of a model have changed; blank for one on the hub."""
    location, options = locate(path)
    files = sorted(file for file in Path(location).glob(options.get(GGUF, "*")))
    marks = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(marks).encode()).hexdigest() if marks else ""


def _write(path: str, folder: Path) -> None:
    policy = load_policy(PolicySource(path))
    with folder_made_once(folder) as draft:
        policy.model.save_pretrained(draft)  # type: ignore[operator]
        policy.tokenizer.save_pretrained(draft)
