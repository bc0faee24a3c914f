"""A generation that a rollout drives, and that other threads may ask as well."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property

from opid_lightning.gate import check_generation, completions_of
from opid_lightning.protocols import Generation, PolicyClientEndedError
from opid_lightning.sampling.weights import fingerprint_of, weights_of
from opid_lightning.types import Completion, Exchange, Policy, SampleRequest, TokenIds

PATIENCE_S = 0.05  # how soon a new question joins those that the engine works on


@dataclass(frozen=True)
class _Question:
    message: str
    max_tokens: int
    temperature: float
    seed: int
    schema: str
    answer: Future[Exchange] = field(default_factory=Future)

    def request(self, name: str, encode: Callable[[str], TokenIds]) -> SampleRequest:
        prompt_ids = encode(self.message)
        return SampleRequest(
            name, prompt_ids, self.max_tokens, self.temperature, self.seed, self.schema
        )

    def fail(self) -> None:
        if self.answer.running() or self.answer.set_running_or_notify_cancel():
            self.answer.set_exception(
                PolicyClientEndedError("the policy was not served long enough to answer")
            )


class SharedGeneration:
    """The rollout's Generation, and everybody else's PolicyClient.

    One thread drives the engine: that of the rollout, in `collect`, and later in `advance`. What
    others ask waits until it comes by, and their answers never show among the rollout's. It also
    encodes their messages, as a tokenizer is not made for several threads.
    """

    def __init__(
        self, generation: Generation, policy: Policy, encode: Callable[[str], TokenIds]
    ) -> None:
        check_generation(generation)
        self.generation = generation
        self.policy = policy
        self.encode = encode
        self._lock = threading.Lock()  # a question is either refused or seen by `close`
        self._has_ended = False
        self._coming: queue.SimpleQueue[_Question] = queue.SimpleQueue()
        self._asked: dict[str, tuple[_Question, SampleRequest]] = {}
        self._num_asked = 0
        self._finished: deque[Completion] = deque()  # the rollout's

    def __enter__(self) -> SharedGeneration:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def weight_version(self) -> int:
        """The version of the generation that is shared."""
        return self.generation.weight_version

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the generation that is shared."""
        return self.generation.metrics

    @cached_property
    def identity(self) -> str:
        """Made only where it is asked for: it reads all weights."""
        return fingerprint_of(weights_of(self.policy))

    def submit(self, request: SampleRequest) -> None:
        """Passes a request of the rollout on."""
        self.generation.submit(request)

    def collect(self, patience_s: float = math.inf) -> Sequence[Completion]:
        """Finished requests of the rollout alone; answers to others go to their futures."""
        end = time.monotonic() + patience_s
        while not self._finished and time.monotonic() <= end:
            self._hand_over()
            self._sort(self.generation.collect(patience_s))
        completions = list(self._finished)
        self._finished.clear()
        return completions

    def ask(
        self, message: str, *, max_tokens: int, temperature: float, seed: int, schema: str = ""
    ) -> Future[Exchange]:
        """Queues a question from any thread; fails at once after the serving has ended."""
        question = _Question(message, max_tokens, temperature, seed, schema)
        with self._lock:
            if self._has_ended:
                question.fail()
            else:
                self._coming.put(question)
        return question.answer

    def advance(self) -> None:
        """Hands questions to the engine and collects what is finished, for a moment."""
        self._hand_over()
        if self._asked:
            self._sort(self.generation.collect(PATIENCE_S))

    def close(self) -> None:
        """Every question that is open fails."""
        with self._lock:
            self._has_ended = True
        for question in [*(question for question, _ in self._asked.values()), *self._arrived()]:
            question.fail()
        self._asked.clear()

    def _hand_over(self) -> None:
        for question in self._arrived():
            if question.answer.set_running_or_notify_cancel():
                self._submit(question)

    def _arrived(self) -> list[_Question]:
        questions = []
        while not self._coming.empty():
            questions.append(self._coming.get())
        return questions

    def _submit(self, question: _Question) -> None:
        self._num_asked += 1
        # No id of a rollout: those name a task, an attempt and a step.
        request = question.request(f"question {self._num_asked}", self.encode)
        self._asked[request.id] = question, request
        try:
            self.generation.submit(request)
        except ValueError as refusal:  # concerns whoever asked, not the rollout
            del self._asked[request.id]
            question.answer.set_exception(refusal)

    def _sort(self, answer: object) -> None:
        for completion in completions_of(answer, self.generation):
            if completion.request_id in self._asked:
                question, request = self._asked.pop(completion.request_id)
                question.answer.set_result(Exchange(request, completion))
            else:
                self._finished.append(completion)
