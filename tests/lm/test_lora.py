"""Adapters: what trains, what they are switched off, and what they are merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from opid_lightning.lm.forward.layouts import merge_sequences, pad_sequences
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.lm.loading.export import export_adapter, export_policy
from opid_lightning.lm.lora import LoRA, Unadapted, adapt, is_of_adapter
from opid_lightning.lm.merged_weights import merged, merged_tensors
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.sampling.weights import manifest_of, weights_of
from opid_lightning.types import Policy
from tests.lm.brought import drawn, experts

PATHS = ("keydoor", "small")  # a head of its own, and one tied to the embedding
BOTH = pytest.mark.parametrize("path", PATHS)
PROMPTS, RESPONSES = ((1, 2, 3, 4), (1, 2, 5)), ((6, 7), (8, 9, 3))


def adapted(path: str, **settings: Any) -> Policy:
    """With a B that is not zero, as after some training."""
    policy = load_policy(PolicySource(path, lora=LoRA(**{"rank": 4, **settings})))
    generator = torch.Generator().manual_seed(3)
    for name, weight in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1, generator=generator)
    return policy


def logprobs(model: torch.nn.Module, layout: Any = pad_sequences) -> torch.Tensor:
    """Of all response tokens, and of no padding."""
    found, _ = response_logprobs(model, layout(PROMPTS, RESPONSES, 0), 1.0)
    return torch.cat([found[0, :2], found[1]])


def gradients(policy: Policy, layout: Any = pad_sequences) -> dict[str, torch.Tensor]:
    policy.model.zero_grad()
    logprobs(policy.model, layout).sum().backward()  # type: ignore[no-untyped-call]
    return {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None}


# ------------------------------------------------------------------ what trains


@BOTH
def test_nothing_but_the_adapter_trains(path: str) -> None:
    policy = adapted(path)
    trained = {name for name, weight in policy.model.named_parameters() if weight.requires_grad}
    assert trained == {name for name in policy.model.state_dict() if is_of_adapter(name)}
    assert gradients(policy).keys() == trained


def test_every_linear_layer_but_the_head_is_adapted() -> None:
    plain, policy = (load_policy(PolicySource("keydoor", lora=lora)) for lora in (None, LoRA(4)))
    added = sum(w.numel() for w in policy.model.parameters()) - sum(
        w.numel() for w in plain.model.parameters()
    )
    # Two layers: queries, keys, values and output of 64 x 64, gate, up and down of 64 x 128.
    assert added == 2 * 4 * (4 * (64 + 64) + 3 * (64 + 128))


def test_layers_are_chosen_by_how_their_names_end() -> None:
    names = adapted("keydoor", target_modules=("q_proj", "mlp.up_proj")).model.state_dict()
    layers = {name.split(".lora_A")[0] for name in names if ".lora_A." in name}
    assert layers == {
        f"model.layers.{i}.{name}" for i in range(2) for name in ("self_attn.q_proj", "mlp.up_proj")
    }


@pytest.mark.parametrize("wanted", ["lm_head", "mlp", "query"])
def test_what_is_no_linear_layer_within_is_refused(wanted: str) -> None:
    source = PolicySource("keydoor", lora=LoRA(target_modules=("q_proj", wanted)))
    with pytest.raises(ValueError, match=rf"target_modules holds {wanted}.*There are: down_proj"):
        load_policy(source)


def test_an_architecture_without_linear_layers_is_refused() -> None:
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=9))
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel has none but its head"):
        adapt(model, LoRA(), seed=0)


@pytest.mark.parametrize(
    ("settings", "named"), [({"rank": 0}, "rank is 0"), ({"alpha": 0.0}, "alpha is 0.0")]
)
def test_an_adapter_that_would_do_nothing_is_refused(settings: Any, named: str) -> None:
    with pytest.raises(ValueError, match=rf"policy\.lora\.{named}; expected"):
        LoRA(**settings)


def test_an_adapter_is_drawn_by_its_seed_and_moves_no_other_numbers() -> None:
    state = torch.get_rng_state()
    first = load_policy(PolicySource("small", lora=LoRA())).model.state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(77)
    again = load_policy(PolicySource("small", lora=LoRA())).model.state_dict()
    other = load_policy(PolicySource("small", lora=LoRA(), init_seed=1)).model.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(
        torch.equal(first[n], other[n]) is not n.endswith("lora_A.default.weight") for n in first
    )


@BOTH
def test_checkpointed_and_merged_rows_have_the_same_gradients(path: str) -> None:
    policy = adapted(path)
    expected = gradients(policy)
    for name, gradient in gradients(policy, merge_sequences).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-4)
    for name, gradient in gradients(checkpointed(policy)).items():
        assert torch.equal(gradient, expected[name])


def checkpointed(policy: Policy) -> Policy:
    model: Any = policy.model.train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return policy


def test_under_autocast_layers_keep_one_input_for_all_and_not_each_its_own() -> None:
    kept: list[torch.Tensor] = []
    policy, given = adapted("keydoor"), torch.ones(3, 64, dtype=torch.bfloat16)
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ):
        for name in ("q_proj", "k_proj", "v_proj"):
            policy.model.get_submodule(f"model.layers.0.self_attn.{name}")(given)
    inputs = [tensor for tensor in kept if tensor.shape == given.shape]
    assert len(inputs) == 3
    assert {tensor.data_ptr() for tensor in inputs} == {given.data_ptr()}


# ------------------------------------------------------------------ switched off


@BOTH
def test_switched_off_it_is_the_model_that_was_adapted_bit_for_bit(path: str) -> None:
    plain, policy = load_policy(PolicySource(path)), adapted(path)
    off = Unadapted(policy.model)
    with torch.no_grad():
        assert torch.equal(logprobs(off), logprobs(plain.model))
        assert not torch.equal(logprobs(policy.model), logprobs(plain.model))
    gradients(policy)  # on again, and training


def test_a_forward_that_fails_leaves_it_switched_on() -> None:
    policy = adapted("keydoor")
    with torch.no_grad():
        expected = logprobs(policy.model)
        with pytest.raises(IndexError):
            Unadapted(policy.model)(input_ids=torch.tensor([[10_000]]))
        assert torch.equal(logprobs(policy.model), expected)


# ------------------------------------------------------------------ merged


def test_merged_by_hand() -> None:
    weight, a, b = torch.eye(2), torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [5.0]])
    assert merged(weight, a, b, scale=0.5).tolist() == [[2.5, 3.0], [2.5, 6.0]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert merged(weight, a, b, scale=0.5).dtype == torch.float32
    assert torch.equal(weight, torch.eye(2))


@BOTH
def test_merged_weights_are_all_of_the_plain_models_and_answer_as_the_adapted_one(
    path: str,
) -> None:
    plain, policy = load_policy(PolicySource(path)), adapted(path)
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    sent = manifest_of(weights_of(policy))
    assert list(sent) == list(plain.model.state_dict())
    assert sent == manifest_of(weights_of(policy))
    plain.model.load_state_dict(dict(merged_tensors(policy.model)))
    with torch.no_grad():
        torch.testing.assert_close(logprobs(plain.model), logprobs(policy.model), rtol=0, atol=1e-4)
    assert all(torch.equal(before[n], tensor) for n, tensor in policy.model.state_dict().items())


@BOTH
def test_what_is_exported_is_what_transformers_and_peft_load(path: str, tmp_path: Path) -> None:
    from peft import PeftModel

    policy = adapted(path)
    export_policy(policy, tmp_path / "policy")
    export_adapter(policy, path, tmp_path / "adapter")
    merged_policy = load_policy(PolicySource(str(tmp_path / "policy")))
    assert manifest_of(weights_of(merged_policy)) == manifest_of(weights_of(policy))
    plain: Any = load_policy(PolicySource(path)).model
    loaded = PeftModel.from_pretrained(plain, str(tmp_path / "adapter"))
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, policy.model(input_ids=ids).logits)


def test_a_policy_without_an_adapter_exports_none(tmp_path: Path) -> None:
    export_adapter(load_policy(PolicySource("keydoor")), "keydoor", tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


# ------------------------------------------------------------------ experts


@pytest.mark.parametrize("kind", ["mixtral", "phimoe"])
def test_experts_stay_as_they_are_which_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    folder = drawn(tmp_path / "model", experts(kind))
    policy = load_policy(PolicySource(str(folder), lora=LoRA(rank=2)))
    assert "2 modules of" in caplog.text and "these stay as they are" in caplog.text
    # A router that is no plain linear layer is left alone too: adapted, it would not answer.
    assert logprobs(policy.model).isfinite().all()
