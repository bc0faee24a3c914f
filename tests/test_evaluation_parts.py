"""An evaluation of many parts serves its weights once, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from opid_lightning.protocols import Generation
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.training.evaluation import Evaluation, EvaluationSet, Played
from opid_lightning.training.evaluation_parts import Part, ServedOnce, cost_of, loader_of
from opid_lightning.types import Policy, Task
from tests.keydoor_run import fit

PARTS: list[Part] = [("valid_seen", (Task(str(i), "kind"),)) for i in range(1500)]


class Counting:
    """A sampler that notes what is opened and closed."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @contextmanager
    def serving(self, policy: Policy | None = None) -> Iterator[Any]:
        self.events.append("open")
        try:
            with HuggingFace().serving(policy) if policy else ExitStack() as generation:
                yield generation
        except RuntimeError:
            self.events.append("error")
            raise
        finally:
            self.events.append("close")


def played(part: Part, generation: Generation) -> Played:
    return Played(part[0], ())


def test_all_parts_are_played_with_one_serving_and_the_next_evaluation_with_another() -> None:
    sampler = Counting()
    loader = loader_of(ServedOnce(PARTS, played, sampler.serving, ExitStack()))
    assert len(list(loader)) == len(loader) == 1500
    assert sampler.events == ["open", "close"]
    list(loader)
    assert sampler.events == ["open", "close"] * 2


def test_an_error_in_a_part_ends_the_serving_which_hears_of_it() -> None:
    sampler = Counting()

    def fails_in_the_second(part: Part, generation: Generation) -> Played:
        if part == PARTS[1]:
            raise RuntimeError("lost")
        return played(part, generation)

    served = ServedOnce(PARTS[:3], fails_in_the_second, sampler.serving, ExitStack())
    with pytest.raises(RuntimeError, match="lost"):
        list(loader_of(served))
    assert sampler.events == ["open", "error", "close"]


def test_what_is_broken_off_outside_is_closed_by_whoever_holds_the_stack() -> None:
    sampler, opened = Counting(), ExitStack()
    served = ServedOnce(PARTS[:3], played, sampler.serving, opened)
    served(0)
    assert sampler.events == ["open"]
    opened.close()
    assert sampler.events == ["open", "close"]


def test_an_evaluation_that_starts_again_takes_the_weights_of_then() -> None:
    sampler = Counting()
    served = ServedOnce(PARTS[:3], played, sampler.serving, ExitStack())
    served(0)
    served(0)
    assert sampler.events == ["open", "close", "open"]


def test_a_run_syncs_once_an_iteration_and_once_an_evaluation(tmp_path: Path) -> None:
    sampler = Counting()
    fit(
        tmp_path,
        sampler=sampler,
        evaluation=Evaluation(num_tasks=5, tasks_per_batch=2),
        limit_val_batches=1.0,
        evaluate_at_start=True,
        iterations=1,
    )
    # Before the first update, the iteration, and after it.
    assert sampler.events == ["open", "close"] * 3


def test_the_cost_of_an_evaluation_is_said_by_hand() -> None:
    numbers = [tuple(Task(str(i), "kind") for i in range(count)) for count in (1_000, 700)]
    sets = [EvaluationSet("valid_seen", tasks, 5_000) for tasks in numbers]
    assert cost_of(sets, 2, 512) == (
        "Each evaluation plays 3,400 attempts (1,700 tasks, evaluation.attempts=2), with "
        "responses of at most 512 tokens a step."
    )
