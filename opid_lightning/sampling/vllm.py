"""Sampling by vLLM in the trainer's process: colocated on a GPU, or on CPU."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from opid_lightning.lm.policy import stop_ids
from opid_lightning.protocols import Generation
from opid_lightning.sampling.positions import check_positions
from opid_lightning.sampling.vllm_engine import Engine, own_random_state
from opid_lightning.sampling.weights import WeightSyncError
from opid_lightning.types import Completion, Policy, SampleRequest

PARITY_BOUNDS = {"float32": 0.01, "bfloat16": 0.5, "float16": 0.5}  # nats, mean over the probe
_ENGINES: dict[str, Engine] = {}  # for the life of the process


@dataclass(frozen=True)
class VLLM:
    """An engine that is built once, sleeps while the policy trains, and takes its newest weights.

    `engine` holds further arguments of vLLM's EngineArgs, `tensor_parallel_size` for example.
    """

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # bfloat16 on GPU
    max_batch: int = 256
    max_positions: int | None = None  # of prompt and response; null: the model's own
    memory_share: float = 0.4  # GPU: of the device, weights and cache
    cache_gib: float = 1.0  # CPU: of keys and values
    parity_bound: float | None = None  # null: 0.01 nats in float32, 0.5 in half precision
    engine: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise ValueError(f"sampler.max_batch is {self.max_batch}, expected at least 1")
        if not 0 < self.memory_share < 1:
            raise ValueError(
                f"sampler.memory_share is {self.memory_share}, expected above 0 and below 1: the "
                "policy in training needs the rest of the device"
            )
        if self.cache_gib <= 0:
            raise ValueError(f"sampler.cache_gib is {self.cache_gib}, expected above 0")
        if self.parity_bound is not None and self.parity_bound <= 0:
            raise ValueError(f"sampler.parity_bound is {self.parity_bound}, expected above 0")

    @contextmanager
    def serving(self, policy: Policy) -> Iterator[Generation]:
        """Raises WeightSyncError where the engine does not have the policy's weights."""
        engine = self._engine(policy)
        start = time.perf_counter()
        with own_random_state():
            if self._sleeps:
                engine.llm.wake_up(["weights"])
            parity = engine.sync(policy, self.parity_bound or PARITY_BOUNDS[self._dtype])
            if self._sleeps:
                engine.llm.wake_up(["kv_cache"])
            proof = {"sync_s": time.perf_counter() - start, "parity_gap_mean": parity.mean}
            generation = InProcess(engine, policy, stop_ids(policy), proof)
            try:
                yield generation
            finally:
                generation.drop_unfinished()
                if self._sleeps:
                    engine.llm.sleep(level=1)  # level 2 would lose the weights' memory as well

    @property
    def _dtype(self) -> str:
        if self.dtype != "auto":
            return self.dtype
        return "bfloat16" if torch.cuda.is_available() else "float32"

    @property
    def _sleeps(self) -> bool:
        return torch.cuda.is_available()

    def _engine(self, policy: Policy) -> Engine:
        config = policy.model.config.to_json_string()  # type: ignore[operator,union-attr]
        key = f"{self} {config}"
        if key not in _ENGINES:
            _ENGINES[key] = Engine.build(policy, self._arguments())
        return _ENGINES[key]

    def _arguments(self) -> Mapping[str, Any]:
        on_gpu = {
            "gpu_memory_utilization": self.memory_share,
            "enable_sleep_mode": True,
        }
        on_cpu = {
            "kv_cache_memory_bytes": int(self.cache_gib * 2**30),
            "enforce_eager": True,  # compiling takes minutes, and a C++ compiler
            # A prompt that is read in parts takes back the draw after each but the last, which
            # generators on CPU cannot: "CPU Generator does not use offset" (vLLM 0.32).
            "enable_chunked_prefill": False,
        }
        return {
            "dtype": self._dtype,
            "max_num_seqs": self.max_batch,
            "max_model_len": self.max_positions,
            **(on_gpu if torch.cuda.is_available() else on_cpu),
            **json.loads(json.dumps(self.engine)),
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

    @property
    def weight_version(self) -> int:
        return self.engine.version

    @property
    def metrics(self) -> Mapping[str, float]:
        return {**self.proof, "batch_mean": self.num_running / max(self.num_steps, 1)}

    def submit(self, request: SampleRequest) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        check_positions(request, self.engine.llm.model_config.max_model_len, "the engine")
        settings = SamplingParams(
            temperature=request.temperature,
            seed=request.seed,
            max_tokens=request.max_tokens,
            stop_token_ids=list(self.stop_ids),
            logprobs=0,  # of the sampled token alone
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self.asked[request.id] = request
        prompt = {"prompt_token_ids": list(request.prompt_ids)}
        self.engine.llm.add_request(request.id, prompt, settings)

    def collect(self) -> Sequence[Completion]:
        assert self.asked, "nothing was submitted, so there is nothing to wait for"
        while True:
            self.num_steps += 1
            self.num_running += len(self.asked)
            finished = [output for output in self.engine.llm.step() if output.finished]
            if finished:
                return [self._completion(output) for output in finished]

    def _completion(self, output: Any) -> Completion:
        del self.asked[output.request_id]
        (answer,) = output.outputs
        ids = tuple(answer.token_ids)
        pairs = zip(answer.logprobs, ids, strict=True)
        return Completion(
            request_id=output.request_id,
            token_ids=ids,
            logprobs=tuple(found[token].logprob for found, token in pairs),
            text=self.policy.tokenizer.decode(ids, skip_special_tokens=True),
            is_cut=answer.finish_reason == "length",
            weight_version=version_of(answer.weight_versions),
        )

    def drop_unfinished(self) -> None:
        """After an error in the rollout, so that the next one begins with an empty engine."""
        if self.asked:
            self.engine.llm.abort_request(list(self.asked))
            self.asked.clear()


def version_of(spans: Sequence[Any]) -> int:
    """The weights that all tokens of a response were sampled with."""
    versions = {span.version for span in spans}
    if len(versions) != 1:
        raise WeightSyncError(
            f"one response was sampled with the weights of versions {sorted(versions)}: the "
            "weights changed while it was written"
        )
    return int(versions.pop())
