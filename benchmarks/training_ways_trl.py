"""TRL's way of scoring and training, in an environment of its own, as `benchmarks.training_ways`.

    TRL_PYTHON benchmarks/training_ways_trl.py trl MODE PRECISION MODEL ROWS.json REPEATS

Imports nothing of opid_lightning, which need not be installed there.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

NUM_ROWS = 8


def trainer_of(model: str, precision: str, num_prompt: int, num_response: int) -> GRPOTrainer:
    arguments = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=NUM_ROWS,
        num_generations=NUM_ROWS,
        max_completion_length=num_response,
        gradient_checkpointing=False,
        bf16=precision == "bf16",
        use_cpu=True,
        beta=0.0,
        report_to="none",
    )
    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": ["a"] * NUM_ROWS}),
        processing_class=AutoTokenizer.from_pretrained(model),
    )


def filled(rows: list[list[int]], on_the_left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids, mask = torch.zeros(2, len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if on_the_left else slice(0, len(row))
        ids[index, place] = torch.tensor(row)
        mask[index, place] = 1
    return ids, mask


def batches(rows: dict[str, list[list[int]]]) -> list[dict[str, torch.Tensor]]:
    """Of eight rows, each padded to its own longest."""
    found = []
    for start in range(0, len(rows["prompts"]), NUM_ROWS):
        prompts, responses = (rows[k][start : start + NUM_ROWS] for k in ("prompts", "responses"))
        prompt_ids, prompt_mask = filled(prompts, True)
        completion_ids, completion_mask = filled(responses, False)
        signs = torch.tensor([1.0 - 2 * (index % 2) for index in range(len(prompts))])
        found.append(
            {
                "prompt_ids": prompt_ids,
                "prompt_mask": prompt_mask,
                "completion_ids": completion_ids,
                "completion_mask": completion_mask,
                "advantages": signs,
                "num_items_in_batch": completion_mask.sum(),
            }
        )
    return found


def train(trainer: GRPOTrainer, batch: dict[str, torch.Tensor]) -> None:
    with trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(trainer.model, batch)
    trainer.accelerator.backward(loss)


@torch.no_grad()
def score(trainer: GRPOTrainer, batch: dict[str, torch.Tensor]) -> None:
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, mask, batch["completion_ids"].size(1)
    )


def seconds() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def main() -> None:
    _, mode, precision, model, path, repeats = sys.argv[1:]
    rows = json.loads(Path(path).read_text())
    few = {name: [ids[:8] for ids in rows[name][:NUM_ROWS]] for name in rows}
    widths = [max(map(len, rows[name])) for name in ("prompts", "responses")]
    trainer = trainer_of(model, precision, *widths)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    taken = []
    for part in (few, *[rows] * int(repeats)):
        start = seconds()
        for batch in batches(part):
            (train if mode == "training" else score)(trainer, batch)
        taken.append(seconds() - start)
        trainer.model.zero_grad()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": taken[1:], "peak_gib": peak}))


if __name__ == "__main__":
    main()
