"""The policy as its own analyst, asked through a client that says what a test wants to hear."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest

from opid_lightning.hindsight.analysts.self_hindsight import SelfHindsight
from opid_lightning.protocols import (
    Analyst,
    AnalystUnavailableError,
    AsksPolicy,
    PolicyClient,
    PolicyClientEndedError,
    RequestTooLongError,
)
from opid_lightning.types import Completion, Exchange, SampleRequest, Usage
from tests.builders import encode, step_of, trajectory_of

TRAJECTORY = trajectory_of(step_of(0, "go west"), step_of(1, "wait"), goal="open the door")
GOOD = '{"episode_summary": "It waited.", "episode_skill": "Hurry.", "step_skills": {"1": "Go."}}'


@dataclass
class Speaker:
    """A client that gives one answer to everything, a token a character."""

    says: str | Exception = GOOD
    identity: str = "weights of today"
    is_cut: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)

    def ask(
        self, message: str, *, max_tokens: int, temperature: float, seed: int, schema: str = ""
    ) -> Future[Exchange]:
        self.asked.append({"message": message, "seed": seed, "schema": schema})
        answer = Future[Exchange]()
        if isinstance(self.says, Exception):
            answer.set_exception(self.says)
            return answer
        request = SampleRequest("r", encode(message), max_tokens, temperature, seed, schema)
        ids = encode(self.says)
        completion = Completion("r", ids, (0.0,) * len(ids), self.says, self.is_cut)
        answer.set_result(Exchange(request, completion))
        return answer

    def advance(self) -> None: ...


def listening(client: Speaker, **settings: Any) -> SelfHindsight:
    analyst = SelfHindsight(**settings)
    analyst.listen(client)
    return analyst


def asked(candidates: Sequence[int] = (0, 1), **settings: Any) -> dict[str, Any]:
    client = Speaker()
    listening(client, **settings)(TRAJECTORY, candidates)
    (question,) = client.asked
    return question


def test_it_is_an_analyst_that_asks_the_policy() -> None:
    assert isinstance(SelfHindsight(), Analyst) and isinstance(SelfHindsight(), AsksPolicy)
    assert isinstance(Speaker(), PolicyClient)


def test_a_reply_becomes_skills_and_its_tokens_usage() -> None:
    client = Speaker()
    analysis = listening(client)(TRAJECTORY, [0, 1])
    assert analysis.skills is not None and not analysis.failure
    assert analysis.skills.episode_skill == "Hurry." and analysis.skills.step_skills == {1: "Go."}
    assert analysis.usage == Usage(
        requests=1,
        prompt_tokens=len(client.asked[0]["message"]),
        completion_tokens=len(GOOD),
    )


def test_one_message_holds_the_instructions_and_the_record() -> None:
    message = asked()["message"]
    assert "episode_skill" in message and "<action>go west</action>" in message
    assert message.index("episode_skill") < message.index("go west")


def test_the_schema_allows_candidates_and_ends_every_text() -> None:
    schema = json.loads(asked([1], max_characters=9)["schema"])
    assert schema["properties"]["episode_skill"]["maxLength"] == 9
    steps = schema["properties"]["step_skills"]
    assert steps["propertyNames"] == {"enum": ["1"]}
    assert steps["additionalProperties"] == {"type": "string", "minLength": 1, "maxLength": 9}


def test_the_seed_is_of_what_is_asked() -> None:
    assert asked()["seed"] == asked()["seed"] != asked([1])["seed"]


@pytest.mark.parametrize(
    ("says", "failure"),
    [
        ('{"episode_summary": "It wai', "truncated"),
        ('{"episode_skill": " ", "step_skills": {}}', "blank_skill"),
        ("", "empty"),
    ],
)
def test_a_reply_that_cannot_be_used_is_a_failure_that_was_paid_for(
    says: str, failure: str
) -> None:
    analysis = listening(Speaker(says, is_cut=True))(TRAJECTORY, [0, 1])
    assert (analysis.skills, analysis.failure) == (None, failure)
    assert "cut at max_tokens=1024" in analysis.detail
    assert analysis.usage.completion_tokens == len(says)


def test_a_record_that_does_not_fit_is_a_failure_that_says_what_helps() -> None:
    client = Speaker(RequestTooLongError("too long", needed=900, given=512))
    analysis = listening(client)(TRAJECTORY, [0, 1])
    assert (analysis.skills, analysis.failure) == (None, "context_too_long")
    assert "need 900 positions, but the policy is served with 512" in analysis.detail
    assert "analyst.max_record_characters" in analysis.detail
    assert analysis.usage == Usage()  # so that it is not kept for an answer


def test_a_policy_that_is_not_served_any_more_is_late() -> None:
    analysis = listening(Speaker(PolicyClientEndedError("over")))(TRAJECTORY, [0, 1])
    assert (analysis.failure, analysis.usage) == ("late", Usage())


def test_a_sampler_that_follows_no_schema_ends_the_run() -> None:
    refusal = ValueError("sampler=hf cannot: set sampler=vllm")
    with pytest.raises(AnalystUnavailableError, match="analyst=self cannot work: sampler=hf"):
        listening(Speaker(refusal))(TRAJECTORY, [0, 1])


def test_without_a_rollout_nobody_can_be_asked() -> None:
    closed = listening(Speaker())
    closed.close()
    for analyst in (SelfHindsight(), closed):
        with pytest.raises(AnalystUnavailableError, match="none has begun"):
            analyst(TRAJECTORY, [0, 1])


def test_identity_holds_the_weights_and_the_settings() -> None:
    today = listening(Speaker()).identity
    assert today != SelfHindsight().identity
    assert today == listening(Speaker()).identity
    assert today != listening(Speaker(identity="weights of tomorrow")).identity
    assert today != listening(Speaker(), max_tokens=99).identity


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_tokens": 0}, "analyst.max_tokens is 0"),
        ({"max_characters": 0}, "analyst.max_characters is 0"),
        ({"max_step_skills": -1}, "analyst.max_step_skills is -1"),
        ({"temperature": -0.1}, "analyst.temperature is -0.1"),
        ({"gamma": 1.1}, "analyst.gamma is 1.1"),
        ({"max_record_characters": 0}, "analyst.max_record_characters is 0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        SelfHindsight(**settings)
