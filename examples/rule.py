"""A rule of your own: how delta, the shift of log-probs in hindsight, becomes credit for tokens.

    cd examples
    python rule.py                                                          # trains with it
    python -m opid_lightning fit conf=keydoor method.rule.class_path=rule.Fading \\
        method.rule.half_life=5
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from opid_lightning import Rule


@dataclass(frozen=True)
class Fading(Rule):
    """`A = A_outcome + weight_0 * 0.5 ** (iteration / half_life) * delta`.

    Hindsight guides the first iterations, outcomes alone the last. The fields are settings.
    """

    initial_weight: float = 0.1
    half_life: float = 10.0  # iterations until the weight is half of what it was

    def __post_init__(self) -> None:
        if not self.half_life > 0:
            raise ValueError(f"method.rule.half_life is {self.half_life}; expected more than 0")

    def advantages(
        self,
        outcome: Float[Tensor, "B 1"],
        delta: Float[Tensor, "B R"],
        mask: Float[Tensor, "B R"],
        iteration: int,
    ) -> Float[Tensor, "B R"]:
        """A row per step and a column per response token; the first iteration is 0."""
        weight = self.initial_weight * 0.5 ** (iteration / self.half_life)
        return outcome + weight * delta


if __name__ == "__main__":
    from train import train

    train(rule=Fading(half_life=5.0))
