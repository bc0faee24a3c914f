"""What a model card says of a policy: where it comes from, and what it wins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opid_lightning.protocols import Environment
from opid_lightning.training.success import Success
from opid_lightning.types import Policy

if TYPE_CHECKING:
    from opid_lightning.warm_start.training import WarmStart

Results = Mapping[str, Mapping[float, Success]]  # by where tasks come from, and temperature


def write_card(
    settings: WarmStart,
    policy: Policy,
    environments: Mapping[str, Environment],
    results: Results,
    minutes: float,
) -> None:
    """README.md in the policy's folder, where Hugging Face looks for it."""
    text = f"{describe(settings, policy, environments, minutes)}\n\n{tabulate(results)}\n"
    (settings.out / "README.md").write_text(text, encoding="utf-8")
    print(text)


def describe(
    settings: WarmStart, policy: Policy, environments: Mapping[str, Environment], minutes: float
) -> str:
    """The card in Markdown: how the policy was made, and what it wins on held-out tasks."""
    size = sum(parameter.numel() for parameter in policy.model.parameters())
    imitation = settings.imitation
    rows = {
        "demonstrations": f"{imitation.num_episodes:,} episodes",
        **settings.source.facts(environments),
        "learning rate": f"{imitation.learning_rate:g}",
        "tokens a batch": f"{imitation.batch_tokens:,}",
        "seed": f"{settings.seed}",
        "time": f"{minutes:.0f} minutes, {settings.threads} threads",
    }
    return "\n".join(
        (
            f"# A small policy for {settings.source.title}\n",
            f"A Llama of {size:,} weights ({settings.layers} layers, width {settings.hidden}) and "
            f"{len(policy.tokenizer):,} words, made by `python -m opid_lightning.warm_start`.\n",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows.items()),
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
