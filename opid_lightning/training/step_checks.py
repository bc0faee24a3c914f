"""What must hold before an optimizer step is kept."""

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
    """Raises ValueError, naming the first row, where a scalar is NaN or infinite."""
    if not value.isfinite():
        raise ValueError(
            not_finite(f"{name} ({value.item()})", f" of {rows[0]} ..." if rows else "", "is")
        )


def not_finite(what: str, where: str, verb: Literal["is", "are"]) -> str:
    """The message about numbers that are not finite, with what to do."""
    return (
        f"The {what}{where} {verb} not finite; expected finite numbers. None of it was kept: "
        "ckpt_path=last resumes from the last finite checkpoint. Lower the learning rate "
        "(optimizer.lr), or use a wider trainer.precision if bf16-mixed or 16-mixed overflows."
    )


def check_first_ratio(logprobs: Float[Tensor, "B R"], batch: Batch, bound: float) -> None:
    """Raises before a step is taken where the policy is not the one that scored the batch.

    Nothing was updated in between, and both go through the same kernels. So what differs is noise
    of the model itself, which a policy must not have, or weights that were changed meanwhile.
    """
    ratio = (logprobs.detach() - batch.old_logprobs).exp()
    errors = ((ratio - 1).abs() * batch.response_mask).amax(dim=1)
    if not len(errors) or float(worst := errors.max()) <= bound:
        return
    raise ValueError(
        f"The importance ratio of {batch.names[int(errors.argmax())]} is off by {float(worst):.3g} "
        "before the first optimizer step of the iteration; expected 1, within "
        f"model.max_first_ratio_error={bound:g}. The model gives one response two log-probs: it "
        "has noise (dropout, jitter of a router) that its config.json does not name so, or kernels "
        "that do not repeat themselves. None of it was kept. Switch the noise off in "
        "config.json; for kernels alone, raise model.max_first_ratio_error."
    )
