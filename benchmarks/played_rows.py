"""Rows of ALFWorld games that were played, for benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.training_rows import Rows
from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.lm.policy import PolicySource, load_policy, stop_ids
from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.protocols import SilentObserver
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.types import Policy, Trajectory, Turn


def played_games(
    policy: Policy, environment: ALFWorld, num_games: int, num_attempts: int
) -> tuple[Trajectory, ...]:
    """The small policy's attempts at training games, in the given prompts' words for `policy`."""
    small = load_policy(PolicySource("small"))
    brief = ALFWorld(prompt_style="brief", history_length=30)
    sessions = SessionPool(brief)
    play = Rollout(group_size=num_attempts, max_response_tokens=24)
    try:
        with HuggingFace().serving(small) as generation:
            tasks = brief.tasks("train")[:num_games]
            encode = encode_chat(small.tokenizer)
            played = play(sessions, tasks, generation, encode, 0, SilentObserver())
    finally:
        sessions.close()
    return tuple(retold(trajectory, policy, environment) for trajectory in played)


def retold(trajectory: Trajectory, policy: Policy, environment: ALFWorld) -> Trajectory:
    """The same episode in another environment's prompts and another tokenizer's ids."""
    encode, steps = encode_chat(policy.tokenizer), []
    turns: list[Turn] = []
    for step in trajectory.steps:
        text = environment.prompt(trajectory.goal, turns, step.observation)
        said = policy.tokenizer.encode(step.completion.text, add_special_tokens=False)
        ids = (*said, stop_ids(policy)[0])
        completion = replace(step.completion, token_ids=ids, logprobs=(0.0,) * len(ids))
        prompt = replace(step.prompt, text=text, token_ids=encode(text.text))
        steps.append(replace(step, prompt=prompt, completion=completion))
        turns.append(Turn(step.observation, step.action))
    return replace(trajectory, steps=tuple(steps))


def rows_of(trajectories: Sequence[Trajectory], num_rows: int) -> Rows:
    """Whole episodes, of one game after another, until there are so many."""
    ordered = sorted(trajectories, key=lambda trajectory: trajectory.attempt)
    steps = [step for trajectory in ordered for step in trajectory.steps][:num_rows]
    return Rows(
        [step.prompt.token_ids for step in steps], [step.completion.token_ids for step in steps]
    )
