"""What a model card says of a policy: where it comes from, and what it wins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opid_lightning.envs.alfworld.environment import ALFWorld
from opid_lightning.success import Success
from opid_lightning.types import Policy

if TYPE_CHECKING:
    from opid_lightning.warm_start.training import WarmStart

Results = Mapping[str, Mapping[float, Success]]  # by where games come from, and temperature


def write_card(
    settings: WarmStart,
    policy: Policy,
    environments: Mapping[str, ALFWorld],
    results: Results,
    minutes: float,
) -> None:
    """README.md in the policy's folder, where Hugging Face looks for it."""
    text = f"{describe(settings, policy, environments, minutes)}\n\n{tabulate(results)}\n"
    (settings.out / "README.md").write_text(text, encoding="utf-8")
    print(text)


def describe(
    settings: WarmStart, policy: Policy, environments: Mapping[str, ALFWorld], minutes: float
) -> str:
    size = sum(parameter.numel() for parameter in policy.model.parameters())
    imitation = settings.imitation
    games = ", ".join(f"{len(e.tasks('train')):,} {name}" for name, e in environments.items())
    return "\n".join(
        (
            "# A small policy for ALFWorld\n",
            f"A Llama of {size:,} weights ({settings.layers} layers, width {settings.hidden}) and "
            f"{len(policy.tokenizer):,} words, made by `python -m opid_lightning.warm_start`.\n",
            "| | |",
            "|---|---|",
            f"| demonstrations | {imitation.num_episodes:,} episodes of an expert that searches |",
            f"| training games | {games} |",
            f"| random commands | {settings.noise:.0%}, shown but not imitated |",
            f"| sharpness of the search | {settings.sharpness:g} |",
            f"| learning rate | {imitation.learning_rate:g} |",
            f"| tokens a batch | {imitation.batch_tokens:,} |",
            f"| seed | {settings.seed} |",
            f"| time | {minutes:.0f} minutes, {settings.threads} threads |",
        )
    )


def tabulate(results: Results) -> str:
    """Won on valid_unseen, with 95% intervals (Wilson)."""
    columns = [
        (f"{name}, temperature {temperature:g}", success)
        for name, by_temperature in results.items()
        for temperature, success in by_temperature.items()
    ]
    kinds = sorted({kind for _, success in columns for kind in success.kinds})
    lines = [
        "| valid_unseen | " + " | ".join(name for name, _ in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
        "| all | " + " | ".join(str(success.overall.rate) for _, success in columns) + " |",
        "| macro | " + " | ".join(str(success.macro) for _, success in columns) + " |",
    ]
    for kind in kinds:
        tallies = [success.kinds.get(kind) for _, success in columns]
        cells = [f"{tally.won}/{tally.played}" if tally else "" for tally in tallies]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
