"""Sampling with transformers' `generate`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from opid_lightning.lm.padding import pad_sequences
from opid_lightning.lm.policy import stop_ids
from opid_lightning.protocols import Generation
from opid_lightning.types import Completion, Policy, SampleRequest


@dataclass(frozen=True)
class HuggingFace:
    """Samples with transformers' `generate`, in batches that end together."""

    max_batch: int = 64

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise ValueError(f"sampler.max_batch is {self.max_batch}, expected at least 1")

    @contextmanager
    def serving(self, policy: Policy) -> Iterator[Generation]:
        """Samples from the policy itself, so its newest weights need no taking over."""
        from transformers import GenerationConfig

        model: Any = policy.model
        was_training = {module: module.training for module in model.modules()}
        own_settings = model.generation_config
        # What a model's own settings add, such as a repetition penalty, would change the
        # distribution that log-probs are reported of.
        model.generation_config = GenerationConfig(
            do_sample=False,
            use_cache=True,
            eos_token_id=list(stop_ids(policy)),
            pad_token_id=policy.tokenizer.pad_token_id,
        )
        model.eval()  # which turns gradient checkpointing off, so that the cache is used
        try:
            yield _Batches(policy, stop_ids(policy), self.max_batch)
        finally:
            model.generation_config = own_settings
            for module, training in was_training.items():
                module.training = training


@dataclass
class _Batches:
    """Answers waiting requests a batch at a time, first come first served."""

    policy: Policy
    stop_ids: tuple[int, ...]
    max_batch: int
    waiting: deque[SampleRequest] = field(default_factory=deque)

    def submit(self, request: SampleRequest) -> None:
        given = getattr(getattr(self.policy.model, "config", None), "max_position_embeddings", None)
        needed = len(request.prompt_ids) + request.max_tokens
        if given is not None and needed > given:
            raise ValueError(
                f"request {request.id!r} may need {needed} positions ({len(request.prompt_ids)} of "
                f"its prompt, {request.max_tokens} of its response), but the model has {given}: "
                "lower rollout.max_prompt_tokens or rollout.max_response_tokens"
            )
        self.waiting.append(request)

    def collect(self) -> Sequence[Completion]:
        assert self.waiting, "nothing was submitted, so there is nothing to wait for"
        size = min(self.max_batch, len(self.waiting))
        return self._generate([self.waiting.popleft() for _ in range(size)])

    @torch.no_grad()
    def _generate(self, requests: list[SampleRequest]) -> list[Completion]:
        model: Any = self.policy.model
        device = next(model.parameters()).device
        draw = _Draw(requests, device)
        prompts = [request.prompt_ids for request in requests]
        padded = pad_sequences(prompts, [()] * len(prompts), self.policy.tokenizer.pad_token_id)
        width = padded.input_ids.shape[1] - 1  # less the column of the empty responses
        model.generate(
            input_ids=padded.input_ids[:, :width].to(device),
            attention_mask=padded.attention_mask[:, :width].to(device),
            max_new_tokens=max(request.max_tokens for request in requests),
            logits_processor=[draw],
            stopping_criteria=[_Limits(requests, width, device)],
        )
        # [B T], on after a row's end, where the values mean nothing
        chosen = torch.stack(draw.chosen, -1).tolist()
        logprobs = torch.stack(draw.logprobs, -1).tolist()
        return [
            self._completion(request, ids, values)
            for request, ids, values in zip(requests, chosen, logprobs, strict=True)
        ]

    def _completion(
        self, request: SampleRequest, ids: list[int], logprobs: list[float]
    ) -> Completion:
        ids = ids[: request.max_tokens]
        end = next((i for i, token in enumerate(ids) if token in self.stop_ids), None)
        ids = ids if end is None else ids[: end + 1]
        return Completion(
            request_id=request.id,
            token_ids=tuple(ids),
            logprobs=tuple(logprobs[: len(ids)]),
            text=self.policy.tokenizer.decode(ids, skip_special_tokens=True),
            is_cut=end is None,
        )


class _Draw:
    """A logits processor after which the largest score is an exact sample (the Gumbel trick).

    argmax(z / T + g) with g = -log E, E ~ Exp(1), is distributed as softmax(z / T). The noise of a
    row comes from its own seed, so that a response does not depend on its neighbours.
    """

    def __init__(self, requests: Sequence[SampleRequest], device: torch.device) -> None:
        temperatures = [request.temperature or 1.0 for request in requests]
        self.temperature = torch.tensor(temperatures, device=device)[:, None]
        self.sources = [
            torch.Generator(device).manual_seed(request.seed) if request.temperature else None
            for request in requests
        ]
        self.chosen: list[Int[Tensor, " B"]] = []
        self.logprobs: list[Float[Tensor, " B"]] = []

    def __call__(
        self, input_ids: Int[Tensor, "B S"], scores: Float[Tensor, "B V"]
    ) -> Float[Tensor, "B V"]:
        scaled = scores.float() / self.temperature
        noisy = scaled.clone()
        for row, source in zip(noisy, self.sources, strict=True):
            if source is not None:
                row -= torch.empty_like(row).exponential_(generator=source).log()
        chosen = noisy.argmax(-1)
        self.chosen.append(chosen)
        self.logprobs.append(scaled.log_softmax(-1).gather(-1, chosen[:, None]).squeeze(-1))
        return noisy


class _Limits:
    """A stopping criterion: the length limit of each row."""

    def __init__(self, requests: Sequence[SampleRequest], width: int, device: torch.device) -> None:
        limits = [width + request.max_tokens for request in requests]
        self.limits = torch.tensor(limits, device=device)

    def __call__(self, input_ids: Int[Tensor, "B S"], scores: Any, **_: Any) -> Tensor:
        return self.limits <= input_ids.shape[1]
