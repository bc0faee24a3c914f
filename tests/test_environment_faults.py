"""An environment that does what none should is named, with the task and the step."""

from __future__ import annotations

import dataclasses
import enum
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from opid_lightning.cli.errors import is_for_the_user
from opid_lightning.cli.verbs.table import main
from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.envs.workers import WorkerEnvironment, Workers
from opid_lightning.gate import Gate
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.method.advantage import Advantage
from opid_lightning.method.method import Method
from opid_lightning.method.rules.additive import Additive
from opid_lightning.protocols import SILENT, Environment, Session, Split
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.scripted import Scripted
from opid_lightning.types import Action, Observation, Opening, Policy, PromptText, Task, Turn
from opid_lightning.value_checks import LARGEST_REWARD
from tests.keydoor_run import fit, keydoor_data

GATE, TASK = Gate("vaults.Vault"), Task("vault 7", "vault")
ROLLOUT = Rollout(group_size=2, max_prompt_tokens=64, skill_tokens=16, max_response_tokens=2)
Change = Callable[[Any], Any]


def unchanged(answer: Any) -> Any:
    return answer


@dataclass(frozen=True)
class Faulty(Keydoor):
    """A keydoor in which each answer goes through a function of its own."""

    on_tasks: Change = unchanged
    on_open: Change = unchanged
    on_reset: Change = unchanged
    on_step: Change = unchanged
    on_prompt: Change = unchanged
    on_action: Change = unchanged
    on_close: Change = unchanged

    def tasks(self, split: Split) -> Sequence[Task]:
        return self.on_tasks(super().tasks(split))

    def open(self) -> Session:
        session = self.on_open(super().open())
        reset, step, close = session.reset, session.step, session.close
        session.reset = lambda task: self.on_reset(reset(task))
        session.step = lambda action: self.on_step(step(action))
        session.close = lambda: self.on_close(close())
        return session

    def prompt(self, goal: str, history: Sequence[Turn], observation: Observation) -> PromptText:
        return self.on_prompt(super().prompt(goal, history, observation))

    def action(self, response: str, observation: Observation) -> Action:
        return self.on_action(super().action(response, observation))


def leave(answer: Any) -> Any:
    sys.exit(0)


def interrupt(answer: Any) -> Any:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(PolicySource("keydoor"))


def play(environment: Environment, policy: Policy) -> Any:
    sessions = SessionPool(environment)
    tasks, encode = Keydoor().tasks("train")[:2], encode_chat(policy.tokenizer)
    with Scripted(["left"]).serving(policy) as generation:
        trajectories = ROLLOUT(sessions, tasks, generation, encode, 0, SILENT)
    sessions.close()
    return trajectories


def exhaust(answer: Any) -> Any:
    return next(iter(()))


CALLS = pytest.mark.parametrize(
    ("call", "named"),
    [
        ("open", r"open\(\)"),
        ("reset", r"reset\(\) to 'start"),
        ("step", r"step\(\) at step 0 of 'start"),
        ("prompt", r"prompt\(\) at step 0 of 'take the key"),
        ("action", r"action\(\) at step 0 of 'start"),
        ("close", r"close\(\)"),
    ],
)


@CALLS
def test_an_environment_that_exits_does_not_end_the_run_in_silence(
    policy: Policy, call: str, named: str
) -> None:
    environment = Faulty(**{f"on_{call}": leave})
    with pytest.raises(ValueError, match=rf"Faulty: {named}.* ended the process by sys\.exit\(0\)"):
        play(environment, policy)


@CALLS
def test_a_stop_iteration_ends_no_attempt_in_silence(policy: Policy, call: str, named: str) -> None:
    environment = Faulty(**{f"on_{call}": exhaust})
    with pytest.raises(ValueError, match=rf"Faulty: {named}.* raised StopIteration"):
        play(environment, policy)


@dataclass(frozen=True)
class Closed(Keydoor):
    def open(self) -> Session:
        return None


def test_a_session_that_is_none_is_refused_by_name(policy: Policy) -> None:
    with pytest.raises(ValueError, match=r"Closed: open\(\) returned None .*which has no reset"):
        play(Closed(), policy)


@pytest.mark.parametrize("answer", [None, 7])
def test_tasks_that_are_no_list_are_refused_by_name(answer: Any) -> None:
    with pytest.raises(ValueError, match=rf"tasks\('train'\) returned {answer} .*list of Task"):
        GATE.tasks(lambda split: answer, "train")


def test_an_exit_is_named_where_sessions_wait_in_threads(policy: Policy) -> None:
    environment = Faulty(on_step=leave)
    object.__setattr__(environment, "max_waiting", 2)
    with pytest.raises(ValueError, match=r"step\(\) at step 0 of .*sys\.exit\(0\)"):
        play(environment, policy)


def test_tasks_that_exit_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Faulty: tasks\('train'\) ended the process"):
        fit(tmp_path, env=Faulty(on_tasks=leave))


def test_an_interrupt_ends_the_run_and_says_where_it_came(
    policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        play(Faulty(on_step=interrupt), policy)
    assert "step() at step 0 of 'start" in caplog.text


EXITING = """
from __future__ import annotations

import sys
import lightning
from opid_lightning.hindsight.analysts.rules import Rules


class Impatient(lightning.Callback):
    def on_train_start(self, trainer, module):
        sys.exit(0)


class Tired(Rules):
    def start(self) -> None:
        sys.exit(0)
"""


@pytest.mark.parametrize(
    "typed", ["callbacks.mine.class_path=leaving.Impatient", "analyst.class_path=leaving.Tired"]
)
def test_other_classes_that_exit_do_not_look_like_success(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
) -> None:
    (tmp_path / "leaving.py").write_text(EXITING)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = ["data.tasks_per_iteration=2", "rollout.group_size=2", "trainer.max_epochs=1"]
    folder = f"trainer.default_root_dir={tmp_path / 'run'}"
    settings += ["trainer.accelerator=cpu", "trainer.num_sanity_val_steps=0", folder]
    assert main(["fit", "conf=keydoor", *settings, typed]) == 2
    assert "leaving.py, line " in (message := capsys.readouterr().err)
    assert "ended the process by sys.exit(0), before the verb was done" in message


@pytest.mark.parametrize("reward", [LARGEST_REWARD, -LARGEST_REWARD, 1e-310])
def test_rewards_far_above_any_real_one_are_taken(reward: float) -> None:
    assert GATE.observation(Observation("", reward=reward), TASK, 3).reward == reward


@pytest.mark.parametrize(
    "reward", [1.01e9, -1e12, 1e39, 1e300, sys.float_info.max, np.float64(1e200), 10**30]
)
def test_rewards_that_overflow_later_are_refused_by_name(reward: Any) -> None:
    expected = r"Vault: step\(\) at step 3 of 'vault 7'.*reward=.*expected a number within 1e\+09"
    with pytest.raises(ValueError, match=expected):
        GATE.observation(Observation("", reward=reward), TASK, 3)


@pytest.mark.parametrize("normalise", ["mean", "mean_std"])
def test_the_largest_reward_trains_on_finite_numbers(tmp_path: Path, normalise: Any) -> None:
    def large(seen: Observation) -> Observation:
        return dataclasses.replace(seen, reward=LARGEST_REWARD * (1 if seen.won else -1))

    settings = {
        "advantage": Advantage(normalise=normalise),
        "method": Method(Additive(episode_weight=0.1)),
    }
    run = fit(tmp_path, env=Faulty(on_step=large), iterations=1, **settings)
    assert all(map(math.isfinite, run.metrics.values()))
    assert all(bool(value.isfinite().all()) for value in run.weights.values())


class Unprintable(int):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    "reward",
    [
        10**5000,
        Unprintable(10**400),
        torch.zeros((), device="meta"),
        np.ma.masked,
        np.ma.array(1.0, mask=True),
        np.timedelta64(5, "ns"),
        np.datetime64("2026-11-28", "ns"),
    ],
    ids=range(7),
)
def test_what_cannot_even_be_shown_is_refused_by_name(reward: Any) -> None:
    for name in ("reward", "won"):
        with pytest.raises(ValueError, match=rf"vault 7' returned Observation\.{name}=.*expected"):
            GATE.observation(Observation("", **{name: reward}), TASK, 3)


class Door(str, enum.Enum):  # noqa: UP042  # which writes itself as Door.OPEN
    OPEN = "open door"


def test_a_text_of_a_class_of_its_own_becomes_what_it_holds() -> None:
    seen = GATE.observation(Observation(Door.OPEN, (Door.OPEN,)), TASK, 0)
    assert (seen.text, seen.admissible) == ("open door", ("open door",))
    assert type(seen.text) is str and type(seen.admissible[0]) is str


def test_lone_surrogates_in_texts_are_replaced() -> None:
    broken, whole = "caf\udce9 \ud83d\ude00", "caf\ufffd \U0001f600"
    opening = GATE.opening(Opening(broken, Observation(broken, (broken,))), TASK)
    assert opening == Opening(whole, Observation(whole, (whole,)))
    assert GATE.action(Action(broken, True), TASK, 0).text == whole
    prompt = PromptText(broken, broken, broken)
    assert GATE.prompt(prompt, "goal", 0) == PromptText(whole, whole, whole)


@pytest.mark.parametrize("task", [Task("a\ud800", "vault"), Task("a", "vault\udfff")])
def test_lone_surrogates_in_names_are_refused(task: Task) -> None:
    with pytest.raises(ValueError, match=r"Vault: tasks\('train'\).*without lone surrogates"):
        GATE.task(task, "train")


def test_a_run_with_lone_surrogates_plays_on(policy: Policy) -> None:
    def broken(seen: Observation) -> Observation:
        return dataclasses.replace(seen, text=f"{seen.text} \udce9", admissible=("\ud800",))

    def spoken(action: Action) -> Action:
        return dataclasses.replace(action, text=f"{action.text}\udce9")

    (first, *_) = play(Faulty(on_step=broken, on_action=spoken), policy)
    assert first.steps[1].observation.text.endswith("\ufffd")
    assert first.steps[0].action.text.endswith("\ufffd")


@pytest.mark.parametrize("answer", [None, "look", ("task", "situation", "request")])
def test_a_prompt_that_is_none_is_refused_by_name(policy: Policy, answer: Any) -> None:
    with pytest.raises(ValueError, match=r"Faulty: prompt\(\) at step 0 of .*expected PromptText"):
        play(Faulty(on_prompt=lambda _: answer), policy)


@pytest.mark.parametrize("max_steps", [0, -1, None, math.inf, math.nan, 2.5, "4", True])
def test_games_without_a_step_are_refused_at_the_start(max_steps: Any) -> None:
    environment = Keydoor()
    object.__setattr__(environment, "max_steps", max_steps)
    with pytest.raises(ValueError, match=r"env\.max_steps, of .*Keydoor, is .*expected"):
        keydoor_data(env=environment)


def over(opening: Opening) -> Opening:
    return dataclasses.replace(
        opening, observation=dataclasses.replace(opening.observation, done=True)
    )


def test_games_that_are_over_when_they_start_are_named(tmp_path: Path) -> None:
    said = r"Faulty: reset\(\) returned done=True for all 16 games"
    with pytest.raises(ValueError, match=said):
        fit(tmp_path, env=Faulty(on_reset=over))
    with pytest.raises(ValueError, match=said.replace("16", "8")):
        fit(tmp_path, env=Faulty(on_reset=over), limit_val_batches=1.0, evaluate_at_start=True)


def generated(seen: Observation) -> Observation:
    return dataclasses.replace(seen, admissible=(each for each in ("left", "right")))  # type: ignore[arg-type]


def test_workers_name_what_cannot_be_sent(policy: Policy) -> None:
    workers = WorkerEnvironment(Faulty(on_step=generated), Workers(2))
    try:
        with pytest.raises(ValueError, match=r"step\(\) at step 0 of .*admissible=<generator"):
            play(workers, policy)
    finally:
        workers.close()


def confuse(answer: Any) -> Any:
    raise ValueError("invalid literal in the vault")


@pytest.mark.parametrize(
    ("change", "is_message"), [({"on_step": confuse}, False), ({"on_step": generated}, True)]
)
def test_a_bug_of_an_environment_keeps_its_traceback_in_workers_as_without(
    policy: Policy, change: dict[str, Any], is_message: bool
) -> None:
    workers = WorkerEnvironment(Faulty(**change), Workers(2))
    try:
        for environment in (Faulty(**change), workers):
            with pytest.raises(ValueError) as raised:
                play(environment, policy)
            assert is_for_the_user(raised.value) == is_message
    finally:
        workers.close()


def test_workers_refuse_a_session_that_is_none_by_name(policy: Policy) -> None:
    workers = WorkerEnvironment(Closed(), Workers(2))
    try:
        with pytest.raises(ValueError, match=r"Closed: open\(\) returned None .*no reset"):
            play(workers, policy)
    finally:
        workers.close()
