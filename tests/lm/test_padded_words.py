"""What no word stands for is neither sampled nor part of a log-prob."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma2Config, LlamaConfig

from opid_lightning.lm.forward.layouts import pad_sequences
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.lm.forward.padded_words import num_words, padded_ids
from opid_lightning.lm.policy import PolicySource, frozen_copy, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.method.scoring import logprobs_of
from opid_lightning.sampling.hf.hugging_face import HuggingFace, blank
from opid_lightning.types import Policy, SampleRequest
from tests.lm.brought import TINY, drawn

ROWS = {**TINY, "vocab_size": 1792}  # a round number for 1,772 words
INPUTS = pad_sequences([(5, 6, 7), (8,)], [(9, 10), (11, 12, 1)], 0)


def padded(folder: Path, kind: str = "plain head") -> Policy:
    """With logits of padded rows that are the largest by far."""
    config: Any = LlamaConfig(**ROWS, tie_word_embeddings=False)
    if kind == "capped head":
        sizes = {**ROWS, "tie_word_embeddings": False, "attn_logit_softcapping": None}
        config = Gemma2Config(**sizes, final_logit_softcapping=30.0, sliding_window=4096)
    policy = load_policy(PolicySource(str(drawn(folder / "model", config))))
    head: Any = policy.model.get_output_embeddings()  # type: ignore[operator]
    with torch.no_grad():
        head.weight[1772:] = 100 * head.weight[:20]
    return policy


@pytest.mark.parametrize("kind", ["plain head", "capped head"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probs_and_gradients_are_those_of_a_head_without_them(
    tmp_path: Path, kind: str, temperature: float
) -> None:
    policy = padded(tmp_path, kind)
    shorter = copy.deepcopy(policy.model)
    head: Any = shorter.get_output_embeddings()  # type: ignore[operator]
    head.weight = torch.nn.Parameter(head.weight[:1772].detach().clone())
    del head.num_words
    found = []
    for model in (policy.model, shorter):
        logprobs, entropy = response_logprobs(model, INPUTS, temperature, with_entropy=True)
        assert entropy is not None
        (logprobs.sum() + entropy.sum()).backward()
        found.append((logprobs, entropy, model.get_output_embeddings().weight.grad))  # type: ignore[operator]
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one[:1772], other[:1772], atol=1e-5)
    assert not found[0][2][1772:].any()


@pytest.mark.parametrize("cache_tokens", [0, 64_000])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_they_are_never_sampled(tmp_path: Path, cache_tokens: int, temperature: float) -> None:
    policy = padded(tmp_path)
    prompt = encode_chat(policy.tokenizer)("You see a mug 1.")
    with HuggingFace(cache_tokens=cache_tokens).serving(policy) as generation:
        generation.submit(SampleRequest("r", prompt, 30, temperature, 3))
        (completion,) = generation.collect()
    assert max(completion.token_ids) < 1772
    (expected,) = logprobs_of(policy, [(prompt, completion.token_ids)], 1.0)
    assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-4)


def test_copies_of_a_policy_know_them_too(tmp_path: Path) -> None:
    model: Any = padded(tmp_path).model
    assert (num_words(model), list(padded_ids(model))) == (1772, [*range(1772, 1792)])
    assert num_words(frozen_copy(model)) == 1772
    assert num_words(blank(model)) == 1772
    small = load_policy(PolicySource("small")).model
    assert num_words(small) is None and not padded_ids(small)
