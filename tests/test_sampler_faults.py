"""What a sampler of the user's own returns is checked where it comes in, and named."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from opid_lightning.sampling.scripted import Scripted
from opid_lightning.types import Policy
from tests.keydoor_run import fit

WEST = Scripted(["west"] * 10_000)


@dataclasses.dataclass(frozen=True)
class Faulty:
    """Samples from a script, and changes what is returned."""

    change: Callable[[Any], Any]

    @contextmanager
    def serving(self, policy: Policy) -> Iterator[Any]:
        with WEST.serving(policy) as generation:
            yield Changed(generation, self.change)


@dataclasses.dataclass
class Changed:
    generation: Any
    change: Callable[[Any], Any]
    metrics: Any = dataclasses.field(default_factory=dict)
    weight_version: int = 0

    def submit(self, request: Any) -> None:
        self.generation.submit(request)

    def collect(self, patience_s: float = math.inf) -> Any:
        return self.change(self.generation.collect(patience_s))


@dataclasses.dataclass(frozen=True)
class Serving:
    given: Any

    @contextmanager
    def serving(self, policy: Policy) -> Iterator[Any]:
        yield self.given


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda completions: None, "Changed.collect returned None .*expected a list of Completion"),
        (lambda completions: "west", r"Changed.collect returned 'west' \(str\)"),
        (lambda completions: [*completions, "west"], r"Changed.collect returned 'west' \(str\)"),
        (
            lambda completions: [dataclasses.replace(completions[0], request_id="x")],
            "a response to 'x', which was not submitted or has been answered",
        ),
        (lambda completions: [*completions, *completions], "not submitted or has been answered"),
    ],
)
def test_completions_that_are_none_are_named(
    tmp_path: Path, change: Callable[[Any], Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        fit(tmp_path, sampler=Faulty(change), iterations=1)


@pytest.mark.parametrize("given", [None, "policy", object()])
def test_a_generation_that_cannot_be_asked_is_named(tmp_path: Path, given: Any) -> None:
    with pytest.raises(ValueError, match=r"serving\(\) gave .*has no submit and no collect"):
        fit(tmp_path, sampler=Serving(given), iterations=1)
