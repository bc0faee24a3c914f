"""`python benchmarks/advantage.py`: speed of the advantage, and of scoring.

1. Advantage and returns of an iteration's rows, on one thread, which must grow linearly.
2. Log-probs of a batch under a policy of SmolLM2-135M's shape (or the one at `--model PATH`), with
   logits at response positions only against logits at all positions.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from opid_lightning.lm.forward.layouts import pad_sequences
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.method.advantage import Advantage, discounted_returns
from opid_lightning.method.method import Method
from opid_lightning.method.rules.additive import Additive
from opid_lightning.types import (
    Action,
    Completion,
    ModelInputs,
    Observation,
    Prompt,
    PromptText,
    Route,
    RoutedStep,
    Sample,
    ScoredStep,
    SkillLevel,
    Step,
    Task,
    Trajectory,
)

NUM_TOKENS = 512
NUM_ATTEMPTS = 8
NUM_STEPS = 20
# The public reference code on the same kind of machine (2-core CPU): quadratic in rows.
REFERENCE_SECONDS = {2560: 0.11, 10000: 1.0}
NUM_PROMPT, NUM_RESPONSE, NUM_ROWS = 448, 64, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="folder of a causal language model; else random weights")
    parser.add_argument("--skip-scoring", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    time_advantage(arguments.repeats)
    if not arguments.skip_scoring:
        time_scoring(arguments.model, arguments.repeats)


def time_advantage(repeats: int) -> None:
    torch.set_num_threads(1)
    print(f"Advantage and returns, {NUM_TOKENS} tokens a row, one thread, best of {repeats}")
    print(f"{'rows':>8} {'returns s':>10} {'OPID s':>10} {'+GiGPO s':>10} {'reference s':>12}")
    taken = {}
    for num_rows, reference in REFERENCE_SECONDS.items():
        steps = scored_steps(num_rows)
        rewards = torch.tensor([step.routed.step.reward for step in steps])
        ids = [step.routed.trajectory.id for step in steps]
        taken[num_rows] = [
            best_of(repeats, partial(discounted_returns, rewards, ids, 0.95)),
            best_of(repeats, partial(credited, Advantage(), steps)),
            best_of(repeats, partial(credited, Advantage(state_weight=1.0), steps)),
        ]
        columns = " ".join(f"{seconds:10.4f}" for seconds in taken[num_rows])
        print(f"{num_rows:8d} {columns} {reference:12.2f}")
    few, many = taken
    growth = [b / a for a, b in zip(taken[few], taken[many], strict=True)]
    columns = " ".join(f"{x:9.1f}x" for x in growth)
    reference_growth = REFERENCE_SECONDS[many] / REFERENCE_SECONDS[few]
    print(f"{f'{many / few:.1f}x':>8} {columns} {reference_growth:11.1f}x")


def credited(advantage: Advantage, steps: list[ScoredStep]) -> tuple[Sample, ...]:
    return Method(Additive())(steps, advantage(steps), 0)


def scored_steps(num_rows: int) -> list[ScoredStep]:
    """Trajectories of about 20 steps, 8 to a task; every fourth step has a step skill."""
    steps: list[ScoredStep] = []
    number = 0
    while len(steps) < num_rows:
        num_steps = min(NUM_STEPS - 5 + number % 11, num_rows - len(steps))
        trajectory = trajectory_of(number, num_steps)
        steps.extend(scored_step(trajectory, step) for step in trajectory.steps)
        number += 1
    return steps


def trajectory_of(number: int, num_steps: int) -> Trajectory:
    task = Task(f"task{number // NUM_ATTEMPTS}", "kind")
    is_won = number % 3 == 0
    steps = tuple(
        Step(
            index=index,
            observation=Observation(f"You arrive at place {index * number % 7}."),
            prompt=Prompt(PromptText("", "", ""), (), 0),
            completion=Completion("", (), (), "", is_cut=False),
            action=Action("look", is_valid=index % 9 > 0),
            reward=10.0 * (is_won and index == num_steps - 1),
        )
        for index in range(num_steps)
    )
    return Trajectory(task, number % NUM_ATTEMPTS, "goal", steps, is_won)


def scored_step(trajectory: Trajectory, step: Step) -> ScoredStep:
    old = -torch.rand(NUM_TOKENS)
    level: SkillLevel = "step" if step.index % 4 == 0 else "episode"
    skill = {level: old + 0.1 * torch.randn(NUM_TOKENS)}
    return ScoredStep(RoutedStep(trajectory, step, Route(), {}), old, skill)


def time_scoring(path: str | None, repeats: int) -> None:
    width = NUM_PROMPT + NUM_RESPONSE
    print(
        f"\nScoring {NUM_ROWS} rows of {NUM_PROMPT} + {NUM_RESPONSE} tokens, "
        f"{torch.get_num_threads()} thread(s), best of {repeats}"
    )
    print(f"{'dtype':>10} {'logits at':>12} {'s':>8} {'tokens/s':>10}")
    for dtype in (torch.float32, torch.bfloat16):
        model, vocabulary = language_model(path, dtype)
        rows = [tuple(ids) for ids in torch.randint(0, vocabulary, (NUM_ROWS, width)).tolist()]
        prompts, responses = zip(
            *((ids[:NUM_PROMPT], ids[NUM_PROMPT:]) for ids in rows), strict=True
        )
        inputs = pad_sequences(prompts, responses, pad_id=0)
        for name, score in scorers(model, inputs):
            seconds = best_of(repeats, score)
            rate = NUM_ROWS * width / seconds
            print(f"{str(dtype)[6:]:>10} {name:>12} {seconds:8.2f} {rate:10.0f}", flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def language_model(path: str | None, dtype: torch.dtype) -> tuple[torch.nn.Module, int]:
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    if path:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
        return model.eval(), model.config.vocab_size
    config = LlamaConfig(
        num_hidden_layers=30,
        hidden_size=576,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        vocab_size=49152,
        tie_word_embeddings=True,
        max_position_embeddings=2048,
    )
    return LlamaForCausalLM(config).to(dtype).eval(), config.vocab_size


def scorers(
    model: torch.nn.Module, inputs: ModelInputs
) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    @torch.no_grad()
    def at_responses() -> Tensor:
        return response_logprobs(model, inputs, 1.0)[0]

    @torch.no_grad()
    def everywhere() -> Tensor:
        ids, mask, positions = inputs.input_ids, inputs.attention_mask, inputs.position_ids
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
        logprobs = logits[:, :-1].float().log_softmax(-1)
        return logprobs.gather(-1, ids[:, 1:, None]).squeeze(-1)[:, -NUM_RESPONSE:]

    difference = (at_responses() - everywhere()).abs().max().item()
    assert difference < 0.1, f"both ways must give the same log-probs, they differ by {difference}"
    yield "responses", at_responses
    yield "everywhere", everywhere


def best_of(repeats: int, call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
