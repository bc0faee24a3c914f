"""Checks of the update: what is not finite stops the run before it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from opid_lightning.types import Batch


def check_logprobs_finite(logprobs: Float[Tensor, "B R"], batch: Batch) -> None:
    """Raises before a step on nonsense is taken; the last checkpoint stays as it is."""
    bad_rows = (~logprobs.isfinite() & batch.response_mask.bool()).any(dim=1).nonzero().flatten()
    if len(bad_rows):
        raise ValueError(not_finite("log-probs", f" of {batch.names[int(bad_rows[0])]}", "are"))


def check_finite(name: str, value: Tensor, rows: Sequence[str] = ()) -> None:
    if not value.isfinite():
        raise ValueError(
            not_finite(f"{name} ({value.item()})", f" of {rows[0]} ..." if rows else "", "is")
        )


def not_finite(what: str, where: str, verb: Literal["is", "are"]) -> str:
    return (
        f"The {what}{where} {verb} not finite; expected finite numbers. Nothing of it was kept: "
        "ckpt_path=last resumes from the last finite checkpoint. Lower the learning rate "
        "(optimizer.lr), or use a wider trainer.precision if bf16-mixed or 16-mixed overflows."
    )
