"""Sampling with Hugging Face models in the trainer's process."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from opid_lightning.lm.forward.modes import evaluating
from opid_lightning.lm.forward.padded_words import mark, num_words
from opid_lightning.lm.policy import stop_ids
from opid_lightning.lm.sharding import is_sharded
from opid_lightning.lm.text.vocabulary import Vocabulary
from opid_lightning.protocols import Generation
from opid_lightning.sampling.hf.whole_prompts import Drawn, WholePrompts
from opid_lightning.sampling.requests import check_is_free, check_positions, said, stopped_at
from opid_lightning.sampling.weights import weights_of
from opid_lightning.types import Completion, Policy, SampleRequest
from opid_lightning.value_checks import check_range


def unsharded(policy: Policy) -> Policy:
    """The policy itself; of a sharded one, a copy that answers without the other ranks.

    It has the weights of now, gathered one after another, for which all ranks have to call this.
    """
    if not is_sharded(policy.model):
        return policy
    model = blank(policy.model)
    missing = model.state_dict()
    with torch.no_grad():
        for name, tensor in weights_of(policy):
            missing.pop(name).copy_(tensor)
    assert not missing, f"the policy has no {', '.join(missing)}"
    return Policy(model, policy.tokenizer)


def blank(model: Any) -> torch.nn.Module:
    """The same architecture with any weights, on the device that computes.

    Parameters that are offloaded rest on the CPU, and are not computed with there.
    """
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    first = next(model.parameters())
    with computing_device(first), no_init_weights():
        made = AutoModelForCausalLM.from_config(
            model.config, dtype=first.dtype, attn_implementation=model.config._attn_implementation
        )
    made.generation_config = model.generation_config
    mark(made, num_words(model))
    return made.requires_grad_(False).eval()


def computing_device(parameter: Any) -> torch.device:
    """Of this rank, by the mesh where the parameter is sharded."""
    mesh = getattr(parameter, "device_mesh", None)
    return torch.device(mesh.device_type) if mesh else parameter.device


@dataclass(frozen=True)
class HuggingFace:
    """Samples with the policy's own forward, in batches that end together.

    Keys and values of earlier prompts are kept, and a prompt that begins as one of them is read
    only from where it differs. In bytes, a token takes 2 * layers * key-value heads * numbers a
    head * bytes a number: 4 KiB of the policy that ships, 45 KiB of SmolLM2-135M, 224 KiB of
    Qwen3-1.7B, all in float32. The batch itself takes the same for each of its tokens.
    """

    max_batch: int = 64  # prompts of a forward pass
    cache_tokens: int = 64_000  # prompt tokens whose keys and values are kept; 0: none

    def __post_init__(self) -> None:
        check_range("sampler.max_batch", self.max_batch, at_least=1)
        check_range("sampler.cache_tokens", self.cache_tokens, at_least=0, hint="0 keeps none")

    @contextmanager
    def serving(self, policy: Policy) -> Iterator[Generation]:
        """Samples from the policy itself, so its newest weights need no taking over.

        Of a sharded policy each rank takes a whole copy, with which it plays at its own pace.
        """
        from transformers import GenerationConfig

        policy = unsharded(policy)
        model: Any = policy.model
        own_settings = model.generation_config
        # What a model's own settings add, such as a repetition penalty, would change the
        # distribution that log-probs are reported of.
        model.generation_config = GenerationConfig(
            do_sample=False,
            use_cache=True,
            eos_token_id=list(stop_ids(policy)),
            pad_token_id=policy.tokenizer.pad_token_id,
        )
        try:
            with evaluating(model):  # gradient checkpointing would keep the cache from use
                yield _Batches(policy, stop_ids(policy), self.max_batch, self._answer(policy))
        finally:
            model.generation_config = own_settings

    def _answer(self, policy: Policy) -> Callable[[Sequence[SampleRequest]], list[Drawn]]:
        """With a cache of its own, as the next weights make other keys and values."""
        if not self.cache_tokens:
            return WholePrompts(policy)
        from opid_lightning.sampling.hf.shared_prefixes import SharedPrefixes

        return SharedPrefixes(policy, stop_ids(policy), self.cache_tokens)


@dataclass
class _Batches:
    """Answers waiting requests a batch at a time, first come first served."""

    policy: Policy
    stop_ids: tuple[int, ...]
    max_batch: int
    answer: Callable[[Sequence[SampleRequest]], list[Drawn]]
    waiting: deque[SampleRequest] = field(default_factory=deque)
    num_batches: int = 0
    num_answered: int = 0

    def __post_init__(self) -> None:
        self.vocabulary = Vocabulary(self.policy.tokenizer)

    @property
    def weight_version(self) -> int:
        """Always 0: there is one copy of the weights."""
        return 0

    @property
    def metrics(self) -> Mapping[str, float]:
        return {"batch_mean": self.num_answered / max(self.num_batches, 1)}

    def submit(self, request: SampleRequest) -> None:
        check_is_free(request, "hf")
        config = getattr(self.policy.model, "config", None)
        check_positions(request, getattr(config, "max_position_embeddings", None))
        self.waiting.append(request)

    def collect(self, patience_s: float = math.inf) -> Sequence[Completion]:
        """A batch cannot be left before it ends, however short patience is."""
        assert self.waiting, "nothing was submitted, so there is nothing to wait for"
        size = min(self.max_batch, len(self.waiting))
        requests = [self.waiting.popleft() for _ in range(size)]
        self.num_batches += 1
        self.num_answered += size
        return [
            self._completion(request, ids, logprobs)
            for request, (ids, logprobs) in zip(requests, self.answer(requests), strict=True)
        ]

    def _completion(
        self, request: SampleRequest, ids: list[int], logprobs: list[float]
    ) -> Completion:
        ids = ids[: request.max_tokens]
        end = next((i for i, token in enumerate(ids) if token in self.stop_ids), None)
        ids = ids if end is None else ids[: end + 1]
        stopped = stopped_at(ids, request.stop, self.vocabulary.text)
        ids = ids[:stopped]
        return Completion(
            request_id=request.id,
            token_ids=tuple(ids),
            logprobs=tuple(logprobs[: len(ids)]),
            text=said(self.vocabulary, request, ids),
            is_cut=end is None and stopped is None,
        )
