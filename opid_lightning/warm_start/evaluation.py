"""How often a policy solves the held-out tasks, played as rollouts play them."""

from __future__ import annotations

from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.protocols import Environment
from opid_lightning.rollout.rollout import Rollout, group_by_task
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.hf.hugging_face import HuggingFace
from opid_lightning.training.success import Success, success_of
from opid_lightning.types import Policy

TEMPERATURES = (0.4, 1.0)  # of evaluations, and of rollouts


def evaluate(
    policy: Policy, environment: Environment, max_response_tokens: int
) -> dict[float, Success]:
    """On all of valid_unseen, by temperature."""
    tasks = environment.tasks("valid_unseen")
    encode = encode_chat(policy.tokenizer)
    found = {}
    for temperature in TEMPERATURES:
        rollout = Rollout(
            group_size=1, max_response_tokens=max_response_tokens, temperature=temperature
        )
        sessions = SessionPool(environment)
        with HuggingFace(max_batch=64).serving(policy) as generation:
            played = rollout(sessions, tasks, generation, encode, 0)
        sessions.close()
        found[temperature] = success_of(group_by_task(played).values())
    return found
