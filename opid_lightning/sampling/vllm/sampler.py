"""Sampling by vLLM in the trainer's process: colocated on a GPU, or on CPU."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from opid_lightning.lm.policy import stop_ids
from opid_lightning.lm.text.vocabulary import Vocabulary
from opid_lightning.protocols import Generation
from opid_lightning.sampling.requests import check_positions, said
from opid_lightning.sampling.vllm.engine import Engine, own_random_state
from opid_lightning.sampling.vllm.settings import (
    PARITY_BOUNDS,
    check_one_device,
    check_ranges,
    one_version,
    unsaid,
)
from opid_lightning.servers.vllm import DType, dtype_here, memory_arguments
from opid_lightning.types import Completion, Policy, SampleRequest

_ENGINES: dict[str, Engine] = {}  # for the life of the process


@dataclass(frozen=True)
class VLLM:
    """An engine that is built once, sleeps while the policy trains, and takes its newest weights.

    `engine` holds further arguments of vLLM's EngineArgs, `gpu_memory_utilization` for example.
    The engine lives in this process, so it has one device: what spans several is refused.
    """

    dtype: DType = "auto"  # precision of the engine; auto: bfloat16 on a GPU, float32 on a CPU
    max_batch: int = 256  # requests that run at the same time
    # longest prompt and response together; null: the model's own limit
    max_positions: int | None = None
    memory_share: float = 0.4  # GPU: share of the device's memory for weights and cache
    cache_gib: float = 1.0  # CPU: size of the cache of keys and values
    # largest gap to the trainer's log-probs; null: 0.01 in float32, else 0.5
    parity_bound: float | None = None
    sleeps: bool | None = None  # free the engine's memory while the policy trains; null: on a GPU
    engine: dict[str, Any] = field(default_factory=dict)  # further arguments of vLLM's EngineArgs

    def __post_init__(self) -> None:
        check_one_device(self.engine)
        check_ranges(
            self.max_batch, self.memory_share, self.cache_gib, self.parity_bound, self.max_positions
        )

    @contextmanager
    def serving(self, policy: Policy) -> Iterator[Generation]:
        """Raises WeightSyncError where the engine does not have the policy's weights."""
        engine = self._engine(policy)
        start = time.perf_counter()
        with own_random_state():
            if self._sleeps:
                engine.llm.wake_up(["weights"])
            engine.take(policy)
            if self._sleeps:
                engine.llm.wake_up(["kv_cache"])  # asleep in part, it answers no probe
            parity = engine.prove(
                policy, self.parity_bound or PARITY_BOUNDS[dtype_here(self.dtype)]
            )
            proof = {"sync_s": time.perf_counter() - start, "parity_gap_mean": parity.mean}
            generation = InProcess(engine, policy, stop_ids(policy), proof)
            try:
                yield generation
            finally:
                generation.drop_unfinished()
                if self._sleeps:
                    engine.llm.sleep(level=1)  # level 2 would lose the weights' memory as well

    @property
    def _sleeps(self) -> bool:
        return torch.cuda.is_available() if self.sleeps is None else self.sleeps

    def _engine(self, policy: Policy) -> Engine:
        config = policy.model.config.to_json_string()  # type: ignore[operator,union-attr]
        key = f"{self} {config}"
        if key not in _ENGINES:
            _ENGINES[key] = Engine.build(policy, self._arguments())
        return _ENGINES[key]

    def _arguments(self) -> Mapping[str, Any]:
        return {
            "dtype": dtype_here(self.dtype),
            "max_num_seqs": self.max_batch,
            "max_model_len": self.max_positions,
            **memory_arguments(self.memory_share, self.cache_gib),
            # On CPU vLLM goes through the motions of sleeping, but has no such mode.
            "enable_sleep_mode": self._sleeps and torch.cuda.is_available(),
            **self.engine,
        }


@dataclass
class InProcess:
    """Requests join the running batch at once, and leave it as they end."""

    engine: Engine
    policy: Policy
    stop_ids: tuple[int, ...]
    proof: Mapping[str, float]  # of the sync
    num_steps: int = 0
    num_running: int = 0  # summed over steps
    asked: dict[str, SampleRequest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.vocabulary = Vocabulary(self.policy.tokenizer)
        self.logit_bias = unsaid(self.policy)

    @property
    def weight_version(self) -> int:
        """The version of the weights that the engine holds."""
        return self.engine.version

    @property
    def metrics(self) -> Mapping[str, float]:
        """The proof of the weights, and the mean number of responses sampled at once."""
        return {**self.proof, "batch_mean": self.num_running / max(self.num_steps, 1)}

    def submit(self, request: SampleRequest) -> None:
        """Queues a request; raises RequestTooLongError where the engine has too few positions."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        check_positions(request, self.engine.llm.model_config.max_model_len, "the engine")
        settings = SamplingParams(
            structured_outputs=StructuredOutputsParams(json=request.schema)
            if request.schema
            else None,
            temperature=request.temperature,
            seed=request.seed,
            max_tokens=request.max_tokens,
            stop_token_ids=list(self.stop_ids),
            logit_bias=self.logit_bias,
            logprobs=0,  # of the sampled token alone
            stop=list(request.stop),
            include_stop_str_in_output=True,  # or it would take tokens back
            detokenize=bool(request.stop),
            skip_special_tokens=False,  # among which a text that ends a response may be
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self.asked[request.id] = request
        prompt = {"prompt_token_ids": list(request.prompt_ids)}
        self.engine.llm.add_request(request.id, prompt, settings)

    def collect(self, patience_s: float = math.inf) -> Sequence[Completion]:
        """Steps the engine until a response is finished, or `patience_s` seconds are over."""
        assert self.asked, "nothing was submitted, so there is nothing to wait for"
        end = time.monotonic() + patience_s
        finished: list[Any] = []
        while not finished and time.monotonic() <= end:
            self.num_steps += 1
            self.num_running += len(self.asked)
            finished = [output for output in self.engine.llm.step() if output.finished]
        return [self._completion(output) for output in finished]

    def _completion(self, output: Any) -> Completion:
        request = self.asked.pop(output.request_id)
        (answer,) = output.outputs
        ids = tuple(answer.token_ids)
        pairs = zip(answer.logprobs, ids, strict=True)
        return Completion(
            request_id=output.request_id,
            token_ids=ids,
            logprobs=tuple(found[token].logprob for found, token in pairs),
            text=said(self.vocabulary, request, ids),
            is_cut=answer.finish_reason == "length",
            weight_version=one_version(span.version for span in answer.weight_versions),
        )

    def drop_unfinished(self) -> None:
        """After an error in the rollout, so that the next one begins with an empty engine."""
        if self.asked:
            self.engine.llm.abort_request(list(self.asked))
            self.asked.clear()
