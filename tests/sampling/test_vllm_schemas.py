"""Responses of a real engine that follow a JSON schema, those of the policy's own hindsight too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opid_lightning.callbacks import SkillExtraction
from opid_lightning.hindsight.analysts.self_hindsight import SelfHindsight
from opid_lightning.hindsight.prompt import reply_schema
from opid_lightning.hindsight.reply import keep_valid, parse_reply
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.types import Policy, SampleRequest
from tests.keydoor_run import KeepExperience, fit
from tests.sampling.test_vllm import SAMPLER, answers, pytestmark, requests  # noqa: F401

SCHEMA = json.dumps(reply_schema([0, 3], 2, 20))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(PolicySource("small"))


def held(policy: Policy, count: int) -> list[SampleRequest]:
    (prompt_ids,) = {request.prompt_ids for request in requests(policy, 1)}
    return [SampleRequest(f"h{i}", prompt_ids, 300, 1.0, i, SCHEMA) for i in range(count)]


def test_held_responses_follow_their_schema_and_seed_and_move_no_free_one(policy: Policy) -> None:
    free = requests(policy, 8)
    alone, mixed = answers(SAMPLER, policy, free), answers(SAMPLER, policy, free + held(policy, 6))
    assert {name: mixed[name] for name in alone}.keys() == alone.keys()
    for name, completion in alone.items():
        assert mixed[name].token_ids == completion.token_ids
        assert mixed[name].logprobs == pytest.approx(completion.logprobs, abs=1e-5)
    again = answers(SAMPLER, policy, held(policy, 6)[::-1], at_once=2)
    texts = [mixed[name].text for name in again]
    assert texts == [completion.text for completion in again.values()]
    assert len(set(texts)) == 6
    for text in texts:
        kept = keep_valid(parse_reply(text), [0, 3], 2)
        assert not kept.left_out and max(map(len, kept.skills.step_skills.values()), default=0) < 21


def test_a_policy_writes_its_own_hindsight_while_it_plays(tmp_path: Path) -> None:
    keep = KeepExperience()
    analyst = SelfHindsight(max_tokens=256, max_characters=40, max_step_skills=2)
    fit(
        tmp_path,
        [SkillExtraction(analyst, deadline_s=None), keep],
        policy="small",
        sampler=SAMPLER,
        rollout=Rollout(2, max_prompt_tokens=1024, skill_tokens=512, max_response_tokens=4),
        tasks_per_iteration=2,
        iterations=1,
    )
    hindsight = keep.experience.hindsight
    assert (len(hindsight.skills), hindsight.failures) == (4, {})
    assert any(sample.skill_advantage.any() for sample in keep.experience.samples)
