"""Rollout: order, pace, seeds and prompts of tasks x attempts, on keydoor."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.protocols import Generation, PolicyClient, Session
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.sampling.scripted import Scripted
from opid_lightning.types import (
    Completion,
    Observation,
    Policy,
    SampleRequest,
    TokenIds,
    Trajectory,
)

ROLLOUT = Rollout(group_size=2, max_prompt_tokens=64, skill_tokens=16, max_response_tokens=2)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(PolicySource("keydoor"))


@dataclass
class Heard:
    """A listener that writes down what it hears."""

    events: list[tuple[object, ...]] = field(default_factory=list)

    def on_stage_start(self, stage: str, total: int) -> None:
        self.events.append(("start", stage, total))

    def on_stage_progress(self, stage: str, done: int) -> None:
        self.events.append(("progress", stage, done))

    def on_stage_end(self, stage: str, num_tokens: int) -> None:
        self.events.append(("end", stage, num_tokens))

    def on_rollout_start(self, client: PolicyClient) -> None:
        raise AssertionError("the rollout does not say that it starts")

    def on_trajectory_end(self, trajectory: Trajectory) -> None:
        self.events.append(("trajectory", trajectory.id))

    def on_rollout_end(self, trajectories: Sequence[Trajectory]) -> None:
        raise AssertionError("the iteration says it, once hindsight may be collected")


@dataclass
class NewestFirst:
    """A generation that answers the newest request first, one at a time."""

    reply_to: Callable[[SampleRequest], str]
    waiting: list[SampleRequest] = field(default_factory=list)
    requests: list[SampleRequest] = field(default_factory=list)
    most_waiting: int = 0
    weight_version: int = 0
    weights_of_answers: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    def submit(self, request: SampleRequest) -> None:
        self.waiting.append(request)
        self.requests.append(request)
        self.most_waiting = max(self.most_waiting, len(self.waiting))

    def collect(self, patience_s: float = math.inf) -> Sequence[Completion]:
        request = self.waiting.pop()
        answer = self.reply_to(request)
        version = self.weights_of_answers
        return [Completion(request.id, (4, 3), (0.0, 0.0), answer, False, version)]


class CountedKeydoor(Keydoor):
    """Counts its sessions."""

    opened = 0
    closed = 0

    def open(self) -> Session:
        CountedKeydoor.opened += 1
        session = super().open()
        close = session.close

        def count() -> None:
            CountedKeydoor.closed += 1
            close()

        session.close = count  # type: ignore[method-assign]
        return session


def solve(prompt: str) -> str:
    """Reads keydoor's prompt as a person would."""
    thing, direction = prompt.split()[-5], prompt.split()[-3]
    return {"key": "take", "door": "open"}[thing] if direction == "here" else direction


def characters(text: str) -> TokenIds:
    """One id a character, so that a budget is counted by eye."""
    return tuple(ord(character) for character in text)


def roll(
    policy: Policy,
    rollout: Rollout = ROLLOUT,
    env: Keydoor = Keydoor(),
    num_tasks: int = 3,
    generation: Generation | None = None,
    encode: Callable[[str], TokenIds] | None = None,
    observer: Heard | None = None,
    seed: int = 0,
) -> tuple[Trajectory, ...]:
    with serving(policy, generation) as served:
        return rollout(
            SessionPool(env),
            env.tasks("train")[:num_tasks],
            served,
            encode or encode_chat(policy.tokenizer),
            seed,
            observer or Heard(),
        )


@contextmanager
def serving(policy: Policy, generation: Generation | None) -> Iterator[Generation]:
    if generation is not None:
        yield generation
    else:
        with HuggingFace().serving(policy) as served:
            yield served


def test_a_solver_wins_and_its_steps_are_kept_as_they_were(policy: Policy) -> None:
    env = Keydoor()
    with Scripted(reply_to=solve).serving(policy) as generation:
        trajectories = roll(policy, env=env, num_tasks=39, generation=generation)
    assert len(trajectories) == 78
    for trajectory in trajectories:
        assert trajectory.won and trajectory.reward == 10
        assert [step.reward for step in trajectory.steps[:-1]] == [0] * (len(trajectory.steps) - 1)
        assert [step.index for step in trajectory.steps] == list(range(len(trajectory.steps)))
        session = env.open()
        observation = session.reset(trajectory.task).observation
        for step in trajectory.steps:
            assert step.observation == observation
            assert observation.text in step.prompt.text.text
            observation = session.step(step.action.text)


def test_trajectories_keep_the_order_of_tasks_and_attempts_whichever_ended_first(
    policy: Policy,
) -> None:
    heard = Heard()
    trajectories = roll(policy, generation=NewestFirst(lambda request: "left"), observer=heard)
    tasks = [task.id for task in Keydoor().tasks("train")[:3]]
    expected = [f"{task}#{attempt}" for task in tasks for attempt in range(2)]
    assert [trajectory.id for trajectory in trajectories] == expected
    ended = [event[1] for event in heard.events if event[0] == "trajectory"]
    assert ended == expected[::-1]


def test_one_environment_plays_to_its_end_while_others_wait_for_their_first_answer(
    policy: Policy,
) -> None:
    generation = NewestFirst(lambda request: "left")
    roll(policy, generation=generation)
    last = generation.requests[5].id.split("@")[0]
    # After all six have asked, the newest asks on alone, for each of its 15 steps.
    asked = [request.id for request in generation.requests[5:20]]
    assert asked == [f"{last}@{step}" for step in range(15)]


def test_no_more_sessions_live_than_allowed_and_they_are_reused() -> None:
    policy = load_policy(PolicySource("keydoor"))
    CountedKeydoor.opened = CountedKeydoor.closed = 0
    generation = NewestFirst(lambda request: "left")
    sessions = SessionPool(CountedKeydoor())
    rollout = dataclasses.replace(ROLLOUT, max_concurrent=4)
    tasks = Keydoor().tasks("train")[:5]
    for _ in range(2):
        rollout(sessions, tasks, generation, encode_chat(policy.tokenizer), 0, Heard())
    assert generation.most_waiting == CountedKeydoor.opened == 4
    sessions.close()
    assert CountedKeydoor.closed == 4


def test_a_pool_closes_also_sessions_that_were_never_given_back() -> None:
    CountedKeydoor.opened = CountedKeydoor.closed = 0
    sessions = SessionPool(CountedKeydoor())
    sessions.take()
    sessions.give_back(sessions.take())
    sessions.close()
    assert CountedKeydoor.closed == CountedKeydoor.opened == 2


def test_how_many_play_at_once_changes_no_trajectory(policy: Policy) -> None:
    def texts(max_concurrent: int) -> list[list[TokenIds]]:
        rollout = dataclasses.replace(ROLLOUT, max_concurrent=max_concurrent)
        return [[s.completion.token_ids for s in t.steps] for t in roll(policy, rollout, seed=5)]

    assert texts(1) == texts(4) == texts(64)


def test_requests_have_seeds_of_their_own_which_the_rollout_seed_moves(policy: Policy) -> None:
    def seeds(seed: int) -> dict[str, int]:
        generation = NewestFirst(lambda request: "left")
        roll(policy, generation=generation, seed=seed)
        return {request.id: request.seed for request in generation.requests}

    first = seeds(1)
    assert len(set(first.values())) == len(first) == 3 * 2 * 15
    assert first == seeds(1)
    assert set(first.values()).isdisjoint(seeds(2).values())
    # Pinned: the same in every process and on every machine.
    assert first["start0-held-door1#0@0"] == 6589702537524066644


def test_requests_ask_for_what_the_settings_say(policy: Policy) -> None:
    generation = NewestFirst(lambda request: "left")
    rollout = dataclasses.replace(ROLLOUT, temperature=0.4, max_response_tokens=7, stop=("left",))
    roll(policy, rollout, num_tasks=1, generation=generation)
    asked = {(r.temperature, r.max_tokens, r.stop) for r in generation.requests}
    assert asked == {(0.4, 7, ("left",))}


class Losing(Keydoor):
    """Ends every game with its second step, and says that it is lost."""

    def open(self) -> Session:
        session = super().open()
        step, num_steps = session.step, iter(range(99))

        def lose(action: str) -> Observation:
            return dataclasses.replace(step(action), done=next(num_steps) % 2 == 1, won=False)

        session.step = lose  # type: ignore[method-assign]
        return session


def test_a_game_that_ends_lost_is_not_won(policy: Policy) -> None:
    with Scripted(reply_to=solve).serving(policy) as generation:
        trajectories = roll(policy, env=Losing(), generation=generation)
    assert [(len(t.steps), t.won) for t in trajectories] == [(2, False)] * 6


def test_the_step_limit_ends_an_episode_unwon(policy: Policy) -> None:
    env = Keydoor(max_steps=4)
    generation = NewestFirst(lambda request: "dance")
    for trajectory in roll(policy, env=env, generation=generation):
        assert len(trajectory.steps) == 4
        assert not trajectory.won and trajectory.reward == 0
        assert not any(step.action.is_valid for step in trajectory.steps)


def test_the_listener_hears_each_end_at_once_and_the_tokens_sampled(policy: Policy) -> None:
    heard = Heard()
    env = Keydoor(max_steps=2)
    rollout = dataclasses.replace(ROLLOUT, max_concurrent=1)
    generation = NewestFirst(lambda request: "dance")
    roll(policy, rollout, env, 1, generation, observer=heard)
    task = env.tasks("train")[0].id
    assert heard.events == [
        ("start", "rollout", 2),
        ("trajectory", f"{task}#0"),
        ("progress", "rollout", 1),
        ("trajectory", f"{task}#1"),
        ("progress", "rollout", 2),
        ("end", "rollout", 2 * 2 * 2),  # attempts x steps x tokens of a response
    ]


def history_shown(budget: int, history_length: int = 99) -> list[tuple[int, int, int]]:
    """(turns shown, turns dropped, length of the prompt) at each of four steps."""
    generation = NewestFirst(lambda request: "dance")
    rollout = Rollout(1, max_prompt_tokens=budget + 16, skill_tokens=16)
    env = Keydoor(max_steps=4, history_length=history_length)
    policy = load_policy(PolicySource("keydoor"))
    (trajectory,) = roll(policy, rollout, env, 1, generation, encode=characters)
    return [
        (
            step.prompt.text.situation.count("Then"),
            step.prompt.num_dropped_turns,
            len(step.prompt.token_ids),
        )
        for step in trajectory.steps
    ]


def test_history_that_does_not_fit_is_dropped_oldest_first_and_counted() -> None:
    whole = history_shown(budget=1000)
    assert [turns for turns, _, _ in whole] == [0, 1, 2, 3]
    assert [dropped for _, dropped, _ in whole] == [0, 0, 0, 0]
    # Room for two turns to the character, then for one character less.
    assert [row[:2] for row in history_shown(whole[2][2])][:3] == [(0, 0), (1, 0), (2, 0)]
    assert [row[:2] for row in history_shown(whole[2][2] - 1)][:3] == [(0, 0), (1, 0), (1, 1)]
    assert all(length <= whole[1][2] for _, _, length in history_shown(whole[1][2]))


def test_turns_that_the_environment_never_shows_are_not_counted_as_dropped() -> None:
    assert [row[:2] for row in history_shown(1000, history_length=1)] == [
        (0, 0),
        (1, 0),
        (1, 0),
        (1, 0),
    ]
    needed = history_shown(1000, history_length=1)[3][2]
    assert history_shown(needed - 1, history_length=1)[3][:2] == (0, 1)


def test_a_budget_too_small_for_the_goal_says_what_is_needed() -> None:
    with pytest.raises(
        ValueError,
        match=r"step 0 of '.*' needs a prompt of \d\d tokens without any history or observation, "
        r"but 8 are given: rollout.max_prompt_tokens=24 less rollout.skill_tokens=16",
    ):
        history_shown(8)


def test_repeated_tasks_are_refused(policy: Policy) -> None:
    tasks = Keydoor().tasks("train")[:2]
    with pytest.raises(ValueError, match=rf"\['{tasks[0].id}'\] repeat.*rollout.group_size"):
        ROLLOUT(
            SessionPool(Keydoor()),
            [*tasks, tasks[0]],
            NewestFirst(lambda request: "left"),
            encode_chat(policy.tokenizer),
            0,
            Heard(),
        )


def test_an_untrained_policy_wins_by_chance_but_seldom(policy: Policy) -> None:
    trajectories = roll(policy, dataclasses.replace(ROLLOUT, group_size=4), num_tasks=39)
    won = Counter(trajectory.won for trajectory in trajectories)
    assert 0.02 < won[True] / len(trajectories) < 0.25


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group_size": 0}, "rollout.group_size is 0; expected at least 1"),
        ({"max_response_tokens": 0}, "rollout.max_response_tokens is 0; expected at least 1"),
        ({"max_concurrent": 0}, "rollout.max_concurrent is 0; expected at least 1"),
        ({"skill_tokens": 2048}, "rollout.skill_tokens is 2048.*which is 2048"),
        ({"skill_tokens": -1}, "rollout.skill_tokens is -1; expected at least 0"),
        ({"temperature": -0.1}, "rollout.temperature is -0.1; expected at least 0"),
        ({"temperature": 1e-300}, "rollout.temperature is 1e-300; expected 0, which is greedy, or"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rollout(**settings)  # type: ignore[arg-type]


def test_a_response_from_older_weights_is_refused(policy: Policy) -> None:
    generation = NewestFirst(lambda request: "left", weight_version=7, weights_of_answers=6)
    with pytest.raises(ValueError, match="weights of version 6, but version 7 is served"):
        roll(policy, generation=generation)
