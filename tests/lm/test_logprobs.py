"""Log-probs of responses, against a longhand pass over each row alone and at every position."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from opid_lightning.lm.forward.layouts import merge_sequences, pad_sequences, positions
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.types import Layout, ModelInputs

PROMPTS = [(4, 5, 6), (7, 8, 9, 10, 11, 12), (2,), (4, 5, 6, 13, 7), (4, 5, 6)]
RESPONSES = [(13, 14, 3), (5,), (6, 6, 8, 9), (3,), (13, 2)]


@pytest.fixture(params=[pad_sequences, merge_sequences])
def inputs(request: pytest.FixtureRequest) -> ModelInputs:
    return request.param(PROMPTS, RESPONSES, 0)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    # Sharper than at the start, so that a token off by one shows.
    model = load_policy(PolicySource("keydoor")).model
    for weight in model.parameters():
        weight.data.mul_(3)
    return model


def longhand(
    model: torch.nn.Module, prompt: tuple[int, ...], response: tuple[int, ...], temperature: float
) -> tuple[Tensor, Tensor]:
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0]
    logprobs, entropies = [], []
    for index, token in enumerate(response):
        row = torch.log_softmax(logits[len(prompt) + index - 1] / temperature, -1)
        logprobs.append(row[token])
        entropies.append(-(row.exp() * row).sum())
    return torch.stack(logprobs), torch.stack(entropies)


@pytest.mark.parametrize("temperature", [1.0, 0.4, 1.7])
def test_rows_have_the_log_probs_and_entropies_of_the_rows_alone(
    model: torch.nn.Module, inputs: ModelInputs, temperature: float
) -> None:
    logprobs, entropies = response_logprobs(model, inputs, temperature, with_entropy=True)
    assert entropies is not None
    # Dividing logits by the temperature divides their rounding too: at 0.4 both ways are up to
    # 1.6e-5 away from float64.
    close = partial(torch.testing.assert_close, atol=1e-5 / min(temperature, 1), rtol=0)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        expected, entropy = longhand(model, prompt, response, temperature)
        close(logprobs[row, : len(response)], expected)
        close(entropies[row, : len(response)], entropy)
    assert logprobs.isfinite().all() and entropies.isfinite().all()


def test_gradients_are_those_of_the_rows_alone(model: torch.nn.Module, inputs: ModelInputs) -> None:
    logprobs, _ = response_logprobs(model, inputs, 0.8)
    weights = list(model.parameters())
    total = sum(row[: len(r)].sum() for row, r in zip(logprobs, RESPONSES, strict=True))
    gradients = torch.autograd.grad(total, weights)  # type: ignore[arg-type]
    alone = sum(
        longhand(model, prompt, response, 0.8)[0].sum()
        for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
    )
    expected = torch.autograd.grad(alone, weights)  # type: ignore[arg-type]
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, atol=5e-4, rtol=5e-4)


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (pad_sequences, (5, 4, 64)),
        (merge_sequences, (1, 9, 64)),
    ],  # of 11 tokens, 2 by what predicts others
)
def test_the_head_is_given_positions_where_responses_are_predicted_only(
    model: torch.nn.Module, layout: Layout, shape: tuple[int, ...]
) -> None:
    shapes: list[torch.Size] = []
    hook = model.lm_head.register_forward_pre_hook(  # type: ignore[union-attr,operator]
        lambda module, inputs: shapes.append(inputs[0].shape)
    )
    response_logprobs(model, layout(PROMPTS, RESPONSES, 0), 1.0)
    hook.remove()
    assert shapes == [shape]


def test_entropy_is_left_out_where_nobody_asks(model: torch.nn.Module, inputs: ModelInputs) -> None:
    assert response_logprobs(model, inputs, 1.0)[1] is None


def test_positions_count_real_tokens() -> None:
    #                    . . a b | x .
    mask = torch.tensor([[0, 0, 1, 1, 1, 0]])
    assert positions(mask).tolist() == [[0, 0, 0, 1, 2, 2]]


def test_temperature_must_be_positive(model: torch.nn.Module, inputs: ModelInputs) -> None:
    with pytest.raises(ValueError, match="temperature is 0, expected more than 0"):
        response_logprobs(model, inputs, 0)
