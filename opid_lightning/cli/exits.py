"""What ends the process from within a class that the user brought, as if the run were over."""

from __future__ import annotations

import traceback
from pathlib import Path

from opid_lightning.cli.errors import PACKAGE, is_of_a_library


def own_exit(error: SystemExit) -> str:
    """What to say of a sys.exit in the user's own code; empty where a library or we exit."""
    frames = traceback.extract_tb(error.__traceback__)
    real = [frame for frame in frames if Path(frame.filename).is_file()]
    if not real or not is_users(Path(real[-1].filename)):
        return ""
    return (
        f"{real[-1].filename}, line {real[-1].lineno}, ended the process by "
        f"sys.exit({error.code!r}), before the verb was done. Raise an error there, or set "
        "trainer.should_stop in a callback to end a run early."
    )


def is_users(file: Path) -> bool:
    """Whether a file is neither of this package nor of a library."""
    file = file.absolute()
    return PACKAGE not in file.parents and not is_of_a_library(file)
