"""Lessons in reading hindsight: the policy's own attempts, with an expert's answers."""

import random

import pytest

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.expert import count_placements
from opid_lightning.lm.chat import encode_chat
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.rollout import Rollout, SessionPool
from opid_lightning.sampling.scripted import Scripted
from opid_lightning.skills.routing import Routing
from opid_lightning.skills.rules import Rules
from opid_lightning.types import Route
from opid_lightning.warm_start.evaluation import Silent
from opid_lightning.warm_start.hindsight import HindsightLessons, advised

LOOP = "<think>hm</think><action>look</action>"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return ALFWorld(
        prompt_style="brief",
        history_length=30,
        max_steps=6,
        num_train_games=12,
        num_valid_games=6,
        games_cache=str(tmp_path_factory.mktemp("games")),
    )


@pytest.fixture(scope="module")
def policy():
    return load_policy(PolicySource("small"))


@pytest.fixture(scope="module")
def read(environment):
    return HindsightLessons(environment, count_placements(environment.tasks("train")))


@pytest.fixture(scope="module")
def idle(environment, policy):
    """An attempt that only ever looks around."""
    sessions = SessionPool(environment)
    with Scripted([LOOP]).serving(policy) as generation:
        (played,) = Rollout(group_size=1)(
            sessions,
            environment.tasks("train")[:1],
            generation,
            encode_chat(policy.tokenizer),
            0,
            Silent(),
        )
    sessions.close()
    return played


def test_each_step_is_asked_with_the_skill_that_it_is_scored_with(read, idle):
    skills, lesson = Rules()(idle), read.correct(idle, random.Random(0))
    assert len(lesson.examples) == len(idle.steps) == 6
    for step, example in zip(idle.steps, lesson.examples, strict=True):
        route = Routing()(step.index, skills)
        (skill,) = filter(None, (route.episode_skill, route.step_skill))
        assert skill in example.prompt.text and skill not in step.prompt.text.text
        without = example.prompt.text.replace(skill, "")
        assert step.prompt.text.situation in without


def test_the_expert_answers_for_itself_and_not_as_was_played(read, idle):
    for example in read.correct(idle, random.Random(0)).examples:
        action = read.environment.action(example.response, None)
        assert action.is_valid and action.text != "look"
        assert action.text.split()[0] in ("go", "open", "take")


def test_an_attempt_is_corrected_only_while_the_expert_has_an_answer(read, idle, policy):
    tasks = read.environment.tasks("train")[:4]
    lessons = list(read(policy, tasks, encode_chat(policy.tokenizer), random.Random(0)))
    assert 0 < len(lessons) <= 4
    assert all(1 <= len(lesson.examples) <= 6 for lesson in lessons)


def test_without_a_skill_nothing_is_advised(idle):
    prompt = idle.steps[0].prompt.text
    assert advised(prompt, Route()) == prompt
