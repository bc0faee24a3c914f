"""Log-probs out of a head in chunks, against all logits at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.distributed import HashStore, destroy_process_group, init_process_group
from torch.distributed.fsdp import fully_shard
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    PhiConfig,
    PretrainedConfig,
)

from opid_lightning.lm.forward.layouts import merge_sequences, pad_sequences
from opid_lightning.lm.forward.logprobs import (
    ChunkedLogProbs,
    Targets,
    forward,
    from_logits,
    response_logprobs,
)

NUM_POSITIONS, NUM_HIDDEN, NUM_WORDS = 7, 5, 11
POSITIONS = torch.tensor([0, 1, 1, 6, 3, 2, 6])  # two have two successors, two have none
TOKENS = torch.tensor([3, 3, 10, 0, 7, 1, 2])


def weights(with_bias: bool) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    bias = draw(NUM_WORDS) if with_bias else None
    return [draw(NUM_POSITIONS, NUM_HIDDEN), draw(NUM_WORDS, NUM_HIDDEN), bias]


@pytest.mark.parametrize("num_at_once", [1, 3, 7, 100])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_chunks_have_the_values_and_gradients_of_the_whole(
    num_at_once: int, with_bias: bool, temperature: float
) -> None:
    tensors = weights(with_bias)
    targets = Targets(POSITIONS, TOKENS, temperature, num_at_once * NUM_WORDS)
    logprobs, entropy = ChunkedLogProbs.apply(*tensors, targets, True)
    hidden, weight, bias = tensors
    log_p = (torch.nn.functional.linear(hidden, weight, bias) / temperature).log_softmax(-1)
    expected = log_p[POSITIONS, TOKENS], -(log_p.exp() * log_p).sum(-1)
    torch.testing.assert_close((logprobs, entropy), expected)
    # Each term weighs differently, so that none can stand in for another.
    of_logprobs, of_entropy = torch.linspace(-1, 2, 7), torch.linspace(1, -3, 7)
    given = [tensor for tensor in tensors if tensor is not None]
    found = torch.autograd.grad((logprobs, entropy), given, (of_logprobs, of_entropy))
    wanted = torch.autograd.grad(expected, given, (of_logprobs, of_entropy))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_the_gradient_of_a_frozen_head_is_left_out() -> None:
    hidden, weight, _ = weights(False)
    assert weight is not None
    targets = Targets(POSITIONS, TOKENS, 1.0)
    logprobs, _ = ChunkedLogProbs.apply(hidden, weight.detach(), None, targets, False)
    logprobs.sum().backward()
    assert hidden is not None and hidden.grad is not None and weight.grad is None


def test_log_probs_of_a_head_in_bfloat16_are_not_rounded_to_it() -> None:
    tensors = [None if t is None else t.detach().bfloat16() for t in weights(False)]
    logprobs, _ = ChunkedLogProbs.apply(*tensors, Targets(POSITIONS, TOKENS, 1.0), False)
    assert logprobs.dtype == torch.float32
    assert not torch.equal(logprobs, logprobs.bfloat16().float())


def test_gradients_of_a_head_in_bfloat16_are_summed_in_float32() -> None:
    """Each chunk adds less than bfloat16 can add to the sum of those before it."""
    num = 2_000
    hidden = torch.ones(num, 1, dtype=torch.bfloat16)
    weight = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    pairs = torch.arange(num), torch.zeros(num, dtype=torch.long)
    logprobs, _ = ChunkedLogProbs.apply(hidden, weight, None, Targets(*pairs, 1.0, 2), False)
    logprobs.sum().backward()
    assert weight.grad is not None
    assert weight.grad.flatten().tolist() == pytest.approx([num / 2, -num / 2], rel=1e-2)


PROMPTS = [(4, 5, 6), (7, 8, 9, 10, 11, 12), (4, 5, 6, 13)]
RESPONSES = [(13, 14, 3), (5,), (6, 6, 8, 9)]
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 3,
}


def model_of(config: PretrainedConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for name, weight in model.named_parameters():
        weight.data.mul_(3)
        if name == "lm_head.bias":
            weight.data.normal_()
    return model.train()


CONFIGS = [
    LlamaConfig(vocab_size=50, tie_word_embeddings=True, **SIZES),
    PhiConfig(vocab_size=50, **SIZES),  # a head with a bias
    GraniteConfig(vocab_size=50, logits_scaling=3.0, **SIZES),
    Gemma2Config(vocab_size=50, final_logit_softcapping=2.0, head_dim=16, **SIZES),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
@pytest.mark.parametrize("layout", [pad_sequences, merge_sequences])
def test_every_kind_of_head_answers_as_its_logits_do(
    config: PretrainedConfig, layout: type
) -> None:
    model = model_of(config)
    inputs = layout(PROMPTS, RESPONSES, 0)
    is_real = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
    expected = from_logits(forward(model, inputs), inputs, 0.7, True)
    answers = response_logprobs(model, inputs, 0.7, with_entropy=True)
    gradients = []
    for logprobs, entropy in (answers, expected):
        assert entropy is not None
        loss = (logprobs * is_real).sum() + 3 * (entropy * is_real).sum()
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for found, wanted in zip(answers, expected, strict=True):
        torch.testing.assert_close(found[is_real], wanted[is_real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-3)


def test_the_head_is_left_as_it_was() -> None:
    model = model_of(CONFIGS[0])
    response_logprobs(model, pad_sequences(PROMPTS, RESPONSES, 0), 1.0)
    assert forward(model, pad_sequences(PROMPTS, RESPONSES, 0)).shape == (3, 4, 50)


class LargestTensor(TorchDispatchMode):
    """How many numbers the largest tensor has that is made while it is on."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.size = max(self.size, result.numel())
        return result


def test_no_tensor_holds_all_logits() -> None:
    num_words = 2**20
    model = model_of(LlamaConfig(vocab_size=num_words, **(SIZES | {"hidden_size": 4})))
    inputs = pad_sequences([(1, 2)] * 4, [(3,) * 16] * 4, 0)
    with LargestTensor() as largest:
        response_logprobs(model, inputs, 1.0)[0].sum().backward()
    assert largest.size == 16 * num_words  # of 64 positions


def test_only_positions_that_predict_are_computed() -> None:
    model = model_of(LlamaConfig(vocab_size=500, **SIZES))
    inputs = pad_sequences([(1, 2)] * 2, [(3,) * 40, (4,)], 0)
    with LargestTensor() as largest, torch.no_grad():
        response_logprobs(model, inputs, 1.0)
    assert largest.size == 41 * 500
    with LargestTensor() as largest, torch.no_grad():
        forward(model, inputs)
    assert largest.size == 80 * 500


@pytest.fixture
def process_group() -> Iterator[None]:
    init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("is_tied", [True, False])
def test_a_sharded_model_gives_the_same_numbers(is_tied: bool) -> None:
    config = LlamaConfig(vocab_size=50, tie_word_embeddings=is_tied, **SIZES)
    whole, sharded = model_of(config), model_of(config)
    mesh = torch.distributed.init_device_mesh("cpu", (1,))
    for layer in sharded.model.layers:  # type: ignore[union-attr]
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh, reshard_after_forward=True)
    inputs = pad_sequences(PROMPTS, RESPONSES, 0)
    answers = []
    for model in (whole, sharded):
        logprobs, _ = response_logprobs(model, inputs, 1.0)
        logprobs.sum().backward()
        answers.append(logprobs)
    torch.testing.assert_close(*answers)
    for one, other in zip(whole.parameters(), sharded.parameters(), strict=True):
        torch.testing.assert_close(other.grad.full_tensor(), one.grad)  # type: ignore[union-attr]
