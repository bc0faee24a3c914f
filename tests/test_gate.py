"""What environments return is checked where it enters: accepted, converted, or refused by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.gate import Gate
from opid_lightning.protocols import Session
from opid_lightning.types import Action, Observation, Opening, PromptText, Task
from tests.keydoor_run import assert_same_weights, fit

GATE, TASK = Gate("vaults.Vault"), Task("vault 7", "vault")


def observed(**fields: Any) -> Observation:
    return GATE.observation(Observation(**{"text": "A dial."} | fields), TASK, 3)


@pytest.mark.parametrize(
    ("reward", "plain"),
    [
        (0.5, 0.5),
        (2, 2.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(-3), -3.0),
        (np.array(0.25), 0.25),
        (torch.tensor(0.25), 0.25),
        (np.bool_(True), 1.0),
    ],
)
def test_a_reward_becomes_a_plain_float(reward: Any, plain: float) -> None:
    found = observed(reward=reward).reward
    assert (found, type(found)) == (plain, float)


@pytest.mark.parametrize(
    "reward",
    [
        None, "1", math.nan, math.inf, -math.inf, np.float32("nan"), np.array([1.0]), 10**400,
        torch.tensor(math.inf), 1j, Fraction(1, 2), [1.0],
    ],
)  # fmt: skip
def test_a_reward_that_is_no_finite_number_is_refused_by_name(reward: Any) -> None:
    with pytest.raises(ValueError, match=r"Observation\.reward=") as refused:
        observed(reward=reward)
    message = str(refused.value)
    assert "vaults.Vault" in message and "step 3 of 'vault 7'" in message
    assert "expected a finite number" in message


@pytest.mark.parametrize("name", ["done", "won"])
@pytest.mark.parametrize("value", [True, 1, np.bool_(True), np.int8(1), 1.0])
def test_flags_become_plain_booleans(name: str, value: Any) -> None:
    assert getattr(observed(**{name: value}), name) is True


@pytest.mark.parametrize("value", [None, "False", 2, 0.5, np.array([True]), math.nan, ()])
def test_a_flag_that_may_mean_anything_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"Observation\.won=.*expected True or False"):
        observed(won=value)


@pytest.mark.parametrize("value", ["open door", None, [1, 2], {"a"}, 3])
def test_admissible_actions_are_a_tuple_of_texts(value: Any) -> None:
    assert observed(admissible=["a", np.str_("b")]).admissible == ("a", "b")
    with pytest.raises(ValueError, match=r"Observation\.admissible=.*expected .*texts"):
        observed(admissible=value)


@pytest.mark.parametrize(
    ("answer", "check"),
    [
        (("text", 1.0, True, {}), lambda answer: GATE.observation(answer, TASK, 0)),
        (None, lambda answer: GATE.observation(answer, TASK, 0)),
        (Observation("text"), lambda answer: GATE.opening(answer, TASK)),
        (Opening("goal", ("text", {})), lambda answer: GATE.opening(answer, TASK)),  # type: ignore[arg-type]
        (Opening(None, Observation("")), lambda answer: GATE.opening(answer, TASK)),  # type: ignore[arg-type]
        ("open door", lambda answer: GATE.action(answer, TASK, 0)),
        (Action("open", is_valid=None), lambda answer: GATE.action(answer, TASK, 0)),  # type: ignore[arg-type]
        (Action(b"open", is_valid=True), lambda answer: GATE.action(answer, TASK, 0)),  # type: ignore[arg-type]
        ("a prompt", lambda answer: GATE.prompt(answer, "goal", 0)),
        (PromptText("task", None, ""), lambda answer: GATE.prompt(answer, "goal", 0)),  # type: ignore[arg-type]
        (Task(7, "vault"), lambda answer: GATE.task(answer, "train")),  # type: ignore[arg-type]
        ("vault 7", lambda answer: GATE.task(answer, "train")),
    ],
)
def test_other_answers_are_refused_by_name(answer: Any, check: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match=r"vaults\.Vault: .*expected"):
        check(answer)


@dataclass(frozen=True)
class Odd(Keydoor):
    """A keydoor whose observations go through `change` from its third step on."""

    change: Callable[[Observation], Any] = lambda seen: seen

    def open(self) -> Session:
        session = super().open()
        step, count = session.step, iter(range(10**6))
        session.step = (  # type: ignore[method-assign]
            lambda action: self.change(step(action)) if next(count) > 1 else step(action)
        )
        return session


def in_numpy(seen: Observation) -> Observation:
    return dataclasses.replace(
        seen,
        admissible=list(seen.admissible),  # type: ignore[arg-type]
        reward=np.float64(seen.reward),
        done=int(seen.done),  # type: ignore[arg-type]
        won=np.bool_(seen.won),  # type: ignore[arg-type]
    )


def test_a_run_with_numpy_scalars_is_the_run_with_plain_ones(tmp_path: Path) -> None:
    odd = fit(tmp_path / "odd", env=Odd(change=in_numpy))
    assert_same_weights(odd, fit(tmp_path / "plain"))


@pytest.mark.parametrize("reward", [math.nan, math.inf, None])
def test_a_run_stops_at_the_first_reward_that_is_no_number(tmp_path: Path, reward: Any) -> None:
    fit(tmp_path, iterations=1)
    last = tmp_path / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    odd = Odd(change=lambda seen: dataclasses.replace(seen, reward=reward))
    with pytest.raises(ValueError, match=r"test_gate\.Odd: step\(\) at step \d+ of .*reward="):
        fit(tmp_path, iterations=2, env=odd, resume_from=last)
    assert last.read_bytes() == before
