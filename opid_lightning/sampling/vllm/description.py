"""The folder that describes a policy to vLLM: all but its weights, under a name that stays.

vLLM's cache of compiled graphs is found by the path of the model, among others: a folder of
another name in every run would have every run compile again.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from opid_lightning.files.atomic import folder_made_once, folder_written_whole
from opid_lightning.files.user_cache import cache_folder
from opid_lightning.types import Policy


def description_of(policy: Policy) -> Path:
    """The folder, named by what it holds; written where it is not there, or damaged.

    Its tokenizer is for schemas; token ids go in and out. Raises ValueError where the user's cache
    folder cannot be written.
    """
    with TemporaryDirectory() as made:
        describe(policy, Path(made))
        name = digest(Path(made))
        folder = cache_folder("vllm") / name
        if folder.is_dir() and digest(folder) == name:
            return folder
        write = folder_written_whole if folder.is_dir() else folder_made_once
        try:
            with write(folder) as draft:
                shutil.copytree(made, draft, dirs_exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"what vLLM reads of the policy cannot be written to {folder} ({error}): set "
                "XDG_CACHE_HOME to a folder that can be written"
            ) from error
    return folder


def describe(policy: Policy, folder: Path) -> None:
    """Writes what vLLM reads of a policy."""
    policy.model.config.save_pretrained(folder)  # type: ignore[operator,union-attr]
    policy.tokenizer.save_pretrained(folder)


def digest(folder: Path) -> str:
    """Of the names and bytes of all files in it."""
    found = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        found.update(f"{file.relative_to(folder)} {len(content)} ".encode())
        found.update(content)
    return found.hexdigest()[:16]
