"""Models that two ranks share out compute what they compute whole."""

from __future__ import annotations

import copy
import json
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy

from opid_lightning.lm.forward.layouts import pad_sequences
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.lm.lora import LoRA, Unadapted, adapt
from opid_lightning.lm.sharding import (
    blocks_of,
    clip_gradients,
    copy_weights,
    gradient_norm,
    is_sharded,
    shard,
    whole_tensors,
)
from opid_lightning.sampling.hf.hugging_face import computing_device, unsharded
from opid_lightning.types import Policy

SIZES: dict[str, Any] = {
    "vocab_size": 31,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}
ARCHITECTURES = [(name, tied) for name in ("llama", "qwen3") for tied in (False, True)]
WAYS = ("shard", "checkpointed", "bfloat16", "adapted")
CASES = [f"{name}-{'tied' if tied else 'untied'}" for name, tied in ARCHITECTURES]
LOOSE = {"bfloat16": 3e-2}  # parameters are rounded to 8 bits where they are gathered


def model_of(name: str, tied: bool) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **SIZES, tie_word_embeddings=tied)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()


def loss_of(model: Any, rows: torch.Tensor) -> torch.Tensor:
    prompts, responses = rows[:, :3].tolist(), rows[:, 3:].tolist()
    inputs = pad_sequences([*map(tuple, prompts)], [*map(tuple, responses)], pad_id=0)
    return -response_logprobs(model, inputs, temperature=1.0)[0].mean()


def sharded(model: Any, way: str) -> Any:
    mesh = init_device_mesh("cpu", (2,))
    if way == "checkpointed" and model.training and next(model.parameters()).requires_grad:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    narrow = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    return shard(model, mesh, narrow if way == "bfloat16" else MixedPrecisionPolicy())


def largest_gap(model: Any, other: Any) -> float:
    expected = dict(model.state_dict())
    found = dict(whole_tensors(other))
    assert expected.keys() == found.keys()
    return max(float((expected[name] - found[name]).abs().max()) for name in expected)


def adapt_alike(*models: Any) -> None:
    """With a B that is not zero, as after some training."""
    for model in models:
        adapt(model, LoRA(rank=3), seed=0)
        generator = torch.Generator().manual_seed(2)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1, generator=generator)


def differences(name: str, tied: bool, way: str, rank: int) -> dict[str, float]:
    """Between a model that takes one step on all rows, and one that two ranks step together."""
    rows = torch.randint(31, (4, 7), generator=torch.Generator().manual_seed(1))
    whole, parts = model_of(name, tied), model_of(name, tied)
    plain = copy.deepcopy(whole)
    if way == "adapted":
        adapt_alike(whole, parts)
    frozen = sharded(copy.deepcopy(parts).requires_grad_(False), way)
    parts = sharded(parts, way)
    found = {"is_unsharded": float(not is_sharded(parts))}
    with torch.no_grad():
        loss_of(frozen, rows[rank::2])  # gathered once, with the weights of before
        if way == "adapted":  # before it is trained, as references are
            off = loss_of(Unadapted(parts), rows[rank::2])
            found["reference"] = float((off - loss_of(plain, rows[rank::2])).abs())
    loss_of(whole, rows).backward()
    loss_of(parts, rows[rank::2]).backward()
    norm = gradient_norm(whole)
    found["norm"] = abs(gradient_norm(parts) / norm - 1)
    for model in (whole, parts):
        clip_gradients(model, norm / 2)
        torch.optim.SGD(model.parameters(), lr=0.5).step()
    found["clipped_norm"] = abs(gradient_norm(parts) / (norm / 2) - 1)
    found["weights"] = largest_gap(whole, parts)
    copy_weights(parts, frozen)
    replica = unsharded(Policy(parts, None)).model
    with torch.no_grad():
        expected = loss_of(parts, rows[rank::2])
        found["snapshot"] = float((loss_of(frozen, rows[rank::2]) - expected).abs())
        found["replica"] = float((loss_of(replica, rows) - loss_of(whole, rows)).abs())
    return found


def measure(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    place = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    found = {
        f"{case} {way}": differences(name, tied, way, rank)
        for case, (name, tied) in zip(CASES, ARCHITECTURES, strict=True)
        for way in WAYS
    }
    if rank == 0:
        (Path(folder) / "found.json").write_text(json.dumps(found))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(measure, (str(folder),), nprocs=2)
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_step_together_as_one_does(found, case, way):
    for what, gap in found[f"{case} {way}"].items():
        assert gap <= LOOSE.get(way, 2e-6), what


def test_blocks_are_what_the_model_says_must_not_be_split():
    model = model_of("qwen3", tied=False)
    assert blocks_of(model) == list(model.model.layers)


def test_a_model_that_tells_no_blocks_is_refused():
    with pytest.raises(ValueError, match=r"Linear does not tell its transformer blocks.*ddp"):
        blocks_of(torch.nn.Linear(2, 2))


def test_a_replica_is_put_where_offloaded_parameters_are_computed_with():
    rests = types.SimpleNamespace(
        device=torch.device("cpu"), device_mesh=types.SimpleNamespace(device_type="cuda")
    )
    assert computing_device(rests) == torch.device("cuda")
    assert computing_device(torch.zeros(1)) == torch.device("cpu")
