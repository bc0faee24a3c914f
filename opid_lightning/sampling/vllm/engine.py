"""A vLLM engine inside the trainer's process: built once, then given new weights."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from opid_lightning.sampling.vllm.description import description_of
from opid_lightning.sampling.vllm.settings import ARGUMENTS
from opid_lightning.sampling.weights import (
    Manifest,
    Parity,
    WeightSyncError,
    check_parity,
    check_received,
    from_json,
    manifest_of,
    probe_ids,
    trainer_logprobs,
    weights_of,
)
from opid_lightning.servers.vllm import INSTALL
from opid_lightning.types import Policy, TokenIds

# Read once, when vLLM is imported. Its worker must live in this process, where the weights are;
# it would bind this process's threads to cores, the trainer's among them; and it reports home.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
DEVICE = "VLLM_DP_RANK_LOCAL"  # read when an engine's settings are made
_ALIVE: list[Any] = []  # an engine that is dropped takes torch's process groups along


def import_vllm() -> None:
    """Raises ValueError, with the line that installs it, where vLLM is not there."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import vllm  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"sampler=vllm needs vLLM, which cannot be imported ({error}): {INSTALL}, or take "
            "sampler=hf. `python -m opid_lightning doctor` says more"
        ) from error


@contextmanager
def own_random_state() -> Iterator[None]:
    """vLLM seeds torch's generator and draws from it; the trainer's numbers must not move."""
    with torch.random.fork_rng():
        yield


@contextmanager
def on_device(index: int | None) -> Iterator[None]:
    """Has an engine that is built meanwhile take that GPU; none: there is no GPU.

    By the source of vLLM 0.32, an engine in the process takes the first one otherwise. Servers
    that this process starts count their GPUs by themselves, and must not hear of it.
    """
    if index is None or DEVICE in os.environ:
        yield
        return
    os.environ[DEVICE] = str(index)
    try:
        yield
    finally:
        del os.environ[DEVICE]


def own_device() -> int | None:
    """The number of this process's GPU; None without CUDA."""
    return torch.cuda.current_device() if torch.cuda.is_available() else None


@dataclass
class Engine:
    """vLLM's LLMEngine, the weights that it has, and the proof of them."""

    llm: Any
    version: int = 0
    patience_s: float = 120.0  # with a probe, between two steps of the engine

    @classmethod
    def build(cls, policy: Policy, arguments: Mapping[str, Any]) -> Engine:
        """With dummy weights, so that nothing but a sync can make it answer rightly."""
        import_vllm()
        threads, set_threads = torch.get_num_threads(), torch.set_num_threads
        folder = description_of(policy)
        with own_random_state(), on_device(own_device()):
            engine = cls(start(str(folder), arguments))
            engine.try_out(policy)
        # On CPU it replaces the function by one that does nothing, for the whole process.
        torch.set_num_threads = set_threads
        torch.set_num_threads(threads)
        return engine

    def try_out(self, policy: Policy) -> None:
        """Some models are refused by a kernel, not when the engine is built."""
        with refusals():
            self.logprobs(probe_ids(policy.model.config.vocab_size, 2))  # type: ignore[union-attr,arg-type]

    def take(self, policy: Policy) -> None:
        """Hands the policy's weights over, which may be while its cache sleeps.

        Raises WeightSyncError where tensors are missing, of another kind or stale.
        """
        sent = manifest_of(weights_of(policy))
        for received in self.send(weights_of(policy)):
            check_received(sent, received, "vLLM")
        assert self.llm.reset_prefix_cache(), "vLLM kept keys and values of older weights"
        self.version += 1
        self.llm.set_weight_version(str(self.version))

    def prove(self, policy: Policy, bound: float) -> Parity:
        """Proves that the weights are at work. Everything has to be awake.

        Raises WeightSyncError where the engine's log-probs of a probe are further than `bound`
        from the policy's.
        """
        ids = probe_ids(self.llm.model_config.get_vocab_size())
        return check_parity(trainer_logprobs(policy, ids), self.logprobs(ids), bound, "vLLM")

    def send(self, weights: Iterator[tuple[str, Tensor]]) -> list[Manifest]:
        """What each worker received."""
        answers = self.llm.collective_rpc("receive_weights", args=(weights,))
        return [from_json(answer) for answer in answers]

    def logprobs(self, ids: TokenIds) -> Float[Tensor, " L"]:
        """Log-probs of all ids but the first, each after those before it."""
        from vllm import SamplingParams

        settings = SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
        self.llm.add_request("probe", {"prompt_token_ids": list(ids)}, settings)
        outputs: list[Any] = []
        end = time.monotonic() + self.patience_s
        while self.llm.has_unfinished_requests():
            outputs += self.llm.step()
            if not outputs and time.monotonic() > end:
                self.llm.abort_request(["probe"])
                raise WeightSyncError(self._silence(len(ids)))
        (output,) = (o for o in outputs if o.finished)
        pairs = zip(output.prompt_logprobs[1:], ids[1:], strict=True)
        return torch.tensor([found[token].logprob for found, token in pairs])

    def _silence(self, num_tokens: int) -> str:
        sleeps = self.llm.is_sleeping()
        return (
            f"vLLM did not answer a probe of {num_tokens} tokens within {self.patience_s:g} s: its "
            f"scheduler is {'paused, as a part of the engine sleeps' if sleeps else 'awake'}. Set "
            "sampler.sleeps=false to rule sleeping out, or take sampler=hf"
        )


def start(folder: str, arguments: Mapping[str, Any]) -> Any:
    """The engine of the model in a folder; raises ValueError where vLLM does not take it.

    Made as vLLM's own LLM makes it, by which it takes as many tokens at once as suit the device:
    16,384 on an H100. An engine by itself would take 2,048.
    """
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.llm_engine import LLMEngine

    settings = engine_arguments(EngineArgs, folder, arguments)
    with refusals():
        _ALIVE.append(LLMEngine.from_engine_args(settings, UsageContext.LLM_CLASS))
    return _ALIVE[-1]


@contextmanager
def refusals() -> Iterator[None]:
    """Turns what vLLM raises about a model or a setting into an error for the user."""
    try:
        yield
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"vLLM cannot serve this policy with these settings: {error}. Other settings go "
            "through sampler.engine; sampler=hf serves whatever transformers loads"
        ) from error


def engine_arguments(arguments_of: Any, folder: str, given: Mapping[str, Any]) -> Any:
    """EngineArgs; raises ValueError for an argument that vLLM does not have."""
    known = set(arguments_of.__dataclass_fields__)
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(
            f"sampler.engine holds {', '.join(unknown)}, which vLLM's EngineArgs does not have; "
            "its documentation lists the engine arguments"
        )
    return arguments_of(
        **{
            "model": folder,
            **ARGUMENTS,
            "distributed_executor_backend": "uni",  # weights are handed over in this process
            "disable_log_stats": True,
            **given,
        }
    )
