"""VLLMServer: a language model on a vLLM server, this run's own or another's, as analyst."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from opid_lightning.hindsight.analysts.openai import OpenAI
from opid_lightning.lm.loading.model_folder import model_folder, model_version
from opid_lightning.protocols import AnalystUnavailableError
from opid_lightning.servers.own_server import OwnServer, ServerLostError
from opid_lightning.servers.vllm import (
    DType,
    check_installed,
    dtype_here,
    log_folder,
    memory_arguments,
)
from opid_lightning.types import Analysis, Trajectory
from opid_lightning.value_checks import LONGEST_S, check_range

SERVERS_KEY = "VLLM_API_KEY"  # the variable that vLLM's servers read
# What a weak model needs: where JSON allows whitespace, it would write nothing else.
STRUCTURED = {"backend": "xgrammar", "disable_any_whitespace": True}
# Failures that a server's end may be behind.
LOSSES = ("connection_lost", "connection_refused", "server_error")
ASKING = (
    *("model", "temperature", "max_tokens", "timeout_s", "analysis_timeout_s", "max_step_skills"),
    *("max_characters", "max_record_characters", "gamma", "repairs", "retries"),
    *("key_variable", "extra_body"),
)


@dataclass
class VLLMServer:
    """Starts a vLLM server of `model`, or joins the one at `base_url`, and asks it as OpenAI does.

    `model` is what `policy.path` may be: `smollm2`, a folder in Hugging Face format, a name on the
    hub; of a server that is joined, the name by which it serves it. Replies are held to their JSON
    schema while they are written, so that a small model's can be read.

    The server ends with the run, however that ends. Lost in mid-run it is started again, and what
    was asked is asked again; after `max_restarts` the next loss ends the run.

    `engine` holds further arguments of vLLM's server, `tensor_parallel_size` for example.
    """

    model: str  # smollm2, a folder, or a name on the Hugging Face hub
    # a server to join, http://HOST:PORT/v1; null: the run starts its own
    base_url: str | None = None
    gpus: str | None = None  # CUDA_VISIBLE_DEVICES of the server; null: it shares the trainer's
    dtype: DType = "auto"  # precision of the engine; auto: bfloat16 on a GPU, float32 on a CPU
    max_batch: int = 64  # requests that run at the same time
    # longest record and reply together; null: the model's own limit
    max_positions: int | None = None
    memory_share: float = 0.4  # GPU: share of the device's memory; 0.9 on a GPU of its own
    cache_gib: float = 1.0  # CPU: size of the cache of keys and values
    log_folder: str | None = None  # where the server logs; null: a new temporary folder
    start_timeout_s: float = 600.0  # time limit of the server's start
    max_restarts: int = 1  # times a lost server is restarted
    engine: dict[str, Any] = field(default_factory=dict)  # further arguments of vLLM's server
    temperature: float = 0.4  # sampling temperature (paper)
    max_tokens: int = 2048  # longest reply
    max_characters: int | None = 600  # longest text in a reply, as weak models do not find an end
    timeout_s: float = 300.0  # time limit of a request, queueing included
    analysis_timeout_s: float = 600.0  # time limit of an analysis, retries and repairs included
    max_step_skills: int = 5  # step skills of a trajectory at most
    # longer records have old observations cut; null: no limit
    max_record_characters: int | None = None
    # discount of the returns that the prompt shows; null: advantage.gamma
    gamma: float | None = None
    repairs: int = 1  # times an unusable reply is sent back with its error
    retries: int = 4  # retries of a request
    # environment variable that holds the key, which the run's own server asks for
    key_variable: str = SERVERS_KEY
    extra_body: Mapping[str, Any] | None = None  # further sampling settings, such as `top_k`
    openai: OpenAI = field(init=False, repr=False, compare=False)
    _server: OwnServer | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_range("analyst.max_batch", self.max_batch, at_least=1)
        check_range("analyst.memory_share", self.memory_share, above=0, below=1)
        check_range("analyst.cache_gib", self.cache_gib, above=0)
        check_range("analyst.start_timeout_s", self.start_timeout_s, above=0, at_most=LONGEST_S)
        check_range("analyst.max_positions", self.max_positions, at_least=1, or_null=True)
        check_range("analyst.max_restarts", self.max_restarts, at_least=0)
        mine = ("gpus", "log_folder", "max_positions", "engine")
        given = [f"analyst.{name}" for name in mine if getattr(self, name)]
        if self.base_url is not None and given:
            raise ValueError(
                f"analyst.base_url names a server that runs already, but {', '.join(given)} is for "
                "a server that the run starts: leave one or the other out"
            )
        asking = {name: getattr(self, name) for name in ASKING}
        # Of a server that is not started yet, any address stands for its own.
        url = self.base_url or "http://127.0.0.1:1/v1"
        self.openai = OpenAI(base_url=url, structured="on", **asking)

    @property
    def identity(self) -> str:
        """An own server's is the model's, wherever it listens; another's that of its address."""
        if self.base_url is not None:
            return self.openai.identity
        version, engine = model_version(self.model), {"dtype": dtype_here(self.dtype)} | self.engine
        own = {"base_url": None, "analyst": "VLLMServer", "version": version, "engine": engine}
        return json.dumps({**json.loads(self.openai.identity), **own}, sort_keys=True)

    def start(self) -> None:
        """Takes as long as vLLM takes to load the model, and a first request."""
        if self.base_url is None and self._server is None:
            self._server = self._started()
            self.openai = replace(self.openai, base_url=f"{self._server.url}/v1")
        try:
            self.openai.start()
        except BaseException as error:
            tail = f" {self._server.process.log_tail()}" if self._server else ""
            self.close()
            if isinstance(error, AnalystUnavailableError):
                raise AnalystUnavailableError(f"{error}{tail}") from error
            raise

    def close(self) -> None:
        """Closes the connections and stops the server, if this run started it."""
        self.openai.close()
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        """Asks as OpenAI does; a server that was lost is started again and asked again."""
        server = self._server
        while True:
            restart_count = server.num_restarts if server else 0
            analysis = self._ask(trajectory, candidates)
            is_answer = isinstance(analysis, Analysis) and analysis.failure not in LOSSES
            if server is None or is_answer or not server.is_lost(restart_count):
                break
            revive(server, restart_count)
        if isinstance(analysis, AnalystUnavailableError):
            raise analysis
        return analysis

    def _ask(
        self, trajectory: Trajectory, candidates: Sequence[int]
    ) -> Analysis | AnalystUnavailableError:
        try:
            return self.openai(trajectory, candidates)
        except AnalystUnavailableError as error:
            return error

    def _started(self) -> OwnServer:
        check_installed("analyst=vllm_server", "analyst.base_url")
        arguments = {
            "model": model_folder(self.model),
            "served_model_name": self.model,
            "structured_outputs_config": STRUCTURED,
            "dtype": dtype_here(self.dtype),
            "max_num_seqs": self.max_batch,
            "max_model_len": self.max_positions,
            **memory_arguments(self.memory_share, self.cache_gib),
            **self.engine,
        }
        log = log_folder(self.log_folder) / "analyst.log"
        server = OwnServer.of(
            arguments,
            log,
            self.gpus,
            self.start_timeout_s,
            self.max_restarts,
            # Its own key, and no other: the server then answers nobody else.
            {SERVERS_KEY: key} if (key := os.environ.get(self.key_variable)) else {},
        )
        try:
            server.start()
        except ServerLostError as lost:
            raise unavailable(lost) from lost
        return server


def revive(server: OwnServer, restart_count: int) -> None:
    """Starts a lost server again; raises AnalystUnavailableError where that fails."""
    try:
        server.revive(restart_count)
    except ServerLostError as lost:
        raise unavailable(lost) from lost


def unavailable(lost: ServerLostError) -> AnalystUnavailableError:
    """The error that ends the run when its server cannot be brought back."""
    return AnalystUnavailableError(
        f"{lost}\nFix it, or join a server that runs elsewhere with analyst.base_url. A run that "
        "has begun resumes with ckpt_path=last."
    )
