"""The ratio of an iteration's first optimizer step: 1, or training is not of what was scored."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from opid_lightning.types import Batch


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
        "that do not repeat themselves. Nothing of it was kept. Switch the noise off in "
        "config.json; for kernels alone, raise model.max_first_ratio_error."
    )
