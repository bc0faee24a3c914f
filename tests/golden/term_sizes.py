"""How large the terms of the advantage are beside one another."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float, Shaped
from torch import Tensor


def term_sizes(
    terms: Mapping[str, Float[Tensor, "B R"]], mask: Shaped[Tensor, "B R"], epsilon: float = 1e-6
) -> dict[str, float]:
    """Mean, mean size and share of each term, over response tokens."""
    valid = mask.bool()
    means = {name: _mean(term[valid]) for name, term in terms.items()}
    sizes = {name: _mean(term[valid].abs()) for name, term in terms.items()}
    total = sum(sizes.values())
    return {
        **{f"{name}_mean": mean for name, mean in means.items()},
        **{f"{name}_abs_mean": size for name, size in sizes.items()},
        **{f"{name}_share": size / (total + epsilon) for name, size in sizes.items()},
        "total_abs_mean": total,
    }


def _mean(values: Float[Tensor, " N"]) -> float:
    return values.mean().item() if len(values) else 0.0
