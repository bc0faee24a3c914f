"""One way of scoring or training, in a process of its own; prints its figures as a line of JSON.

    python -m benchmarks.training_ways WAY MODE PRECISION MODEL ROWS.json REPEATS

Started by `benchmarks.training_speed`, which says what the ways are.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.training_rows import Rows, samples_of
from opid_lightning.lm.forward.layouts import positions
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.method.batching import Batching, collate, totals_of
from opid_lightning.method.loss import Loss
from opid_lightning.method.scoring import logprobs_of
from opid_lightning.types import ModelInputs, Policy

NUM_ROWS_PADDED = 8  # of a micro-batch, of those who know no other measure


def precision_of(name: str) -> AbstractContextManager[None]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if name == "bf16" else nullcontext()


@dataclass(frozen=True)
class Ours:
    """As an iteration scores, and OPIDModule trains."""

    policy: Policy
    rows: Rows
    batching: Batching

    def micro_batches(self) -> list[tuple[int, ...]]:
        return list(self.batching.plan(self.rows.sequences, seed=0)[0])

    def score(self, precision: Callable[[], AbstractContextManager[None]]) -> None:
        with precision():
            for members in self.micro_batches():
                contexts = [(self.rows.prompts[i], self.rows.responses[i]) for i in members]
                logprobs_of(self.policy, contexts, 1.0, self.batching.layout)

    def train(self, precision: Callable[[], AbstractContextManager[None]]) -> None:
        samples, loss, parts = samples_of(self.rows), Loss(kl_weight=0), self.micro_batches()
        for members in parts:
            chosen = [samples[i] for i in members]
            longest = max(map(len, self.rows.responses))
            totals = totals_of(samples, len(parts), longest)
            batch = collate(chosen, totals, 0, 1.0, self.batching.layout)
            with precision():
                logprobs, _ = response_logprobs(self.policy.model, batch.inputs, 1.0)
                terms = loss(logprobs, None, batch)
            terms.loss.backward()  # type: ignore[no-untyped-call]

    def inputs(self) -> list[ModelInputs]:
        sides = self.rows.prompts, self.rows.responses
        return [
            self.batching.layout(*([side[i] for i in members] for side in sides), 0)
            for members in self.micro_batches()
        ]


@dataclass(frozen=True)
class Reference:
    """The shape of the reference's work: rows at the longest prompt and the longest response of
    all, logits at all positions, and the entropy in both passes."""

    policy: Policy
    rows: Rows

    def __post_init__(self) -> None:
        assert len(self.rows.prompts) % NUM_ROWS_PADDED == 0

    def parts(self) -> list[tuple[Tensor, Tensor, int]]:
        width = max(map(len, self.rows.prompts)), max(map(len, self.rows.responses))
        ids = torch.zeros(len(self.rows.prompts), sum(width), dtype=torch.long)
        mask = torch.zeros_like(ids)
        pairs = zip(self.rows.prompts, self.rows.responses, strict=True)
        for row, (prompt, response) in enumerate(pairs):
            filled = slice(width[0] - len(prompt), width[0] + len(response))
            ids[row, filled] = torch.tensor(prompt + response)
            mask[row, filled] = 1
        split = zip(ids.split(NUM_ROWS_PADDED), mask.split(NUM_ROWS_PADDED), strict=True)
        return [(part, seen, width[1]) for part, seen in split]

    def forward(self, ids: Tensor, mask: Tensor, num_response: int) -> tuple[Tensor, Tensor]:
        logits = self.policy.model(
            input_ids=ids, attention_mask=mask, position_ids=positions(mask), use_cache=False
        ).logits
        logits = logits[:, -num_response - 1 : -1].float()
        log_p = logits.log_softmax(-1)
        chosen = log_p.gather(-1, ids[:, -num_response:, None]).squeeze(-1)
        return chosen, logits.logsumexp(-1) - (logits.softmax(-1) * logits).sum(-1)

    @torch.no_grad()
    def score(self, precision: Callable[[], AbstractContextManager[None]]) -> None:
        for part in self.parts():
            with precision():
                self.forward(*part)

    def train(self, precision: Callable[[], AbstractContextManager[None]]) -> None:
        for ids, mask, num_response in self.parts():
            with precision():
                logprobs, entropy = self.forward(ids, mask, num_response)
                seen = mask[:, -num_response:]
                ratio = (logprobs - logprobs.detach()).exp()
                loss = -((ratio + 0.001 * entropy) * seen).sum() / seen.sum()
            loss.backward()  # type: ignore[no-untyped-call]


def ours(policy: Policy, rows: Rows, share_prefixes: bool) -> Ours:
    return Ours(policy, rows, Batching(None, share_prefixes=share_prefixes))


WAYS: dict[str, Callable[[Policy, Rows], Ours | Reference]] = {
    "padded": partial(ours, share_prefixes=False),
    "shared": partial(ours, share_prefixes=True),
    "reference": Reference,
}


def seconds() -> float:
    """Of the processor where one thread works, so that its neighbours' work is not counted."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def main() -> None:
    name, mode, precision, model, path, repeats = sys.argv[1:]
    policy = load_policy(PolicySource(model))
    policy.model.train()
    rows = Rows.read(Path(path))
    few = Rows([ids[:8] for ids in rows.prompts[:8]], [ids[:2] for ids in rows.responses[:8]])
    taken = []
    for part in (few, *[rows] * int(repeats)):  # a small one first, to warm up
        way = WAYS[name](policy, part)
        start = seconds()
        getattr(way, "score" if mode == "scoring" else "train")(partial(precision_of, precision))
        taken.append(seconds() - start)
        policy.model.zero_grad()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": taken[1:], "peak_gib": peak}))


if __name__ == "__main__":
    main()
