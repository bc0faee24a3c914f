"""What the small policy imitates."""

import random
from dataclasses import replace

import pytest

from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.envs.alfworld.expert import count_placements
from opid_lightning.types import Turn
from opid_lightning.warm_start.alfworld.demonstrations import Demonstrator


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("games")
    return ALFWorld(
        prompt_style="brief",
        history_length=30,
        num_train_games=12,
        num_valid_games=6,
        games_cache=str(folder),
    )


@pytest.fixture(scope="module")
def plain(environment):
    """Without noise, skills or onlookers."""
    placements = count_placements(environment.tasks("train"))
    return Demonstrator(
        environment, placements, noise=0, num_onlookers=0, episode_skill_share=0, step_skill_share=0
    )


def show(demonstrator, task, seed=0):
    return demonstrator(demonstrator.environment.open(), task, random.Random(seed))


def replay(environment, task, examples):
    """Plays the responses; yields the prompt that the environment shows before each."""
    session, turns = environment.open(), []
    opening = session.reset(task)
    observation = opening.observation
    for example in examples:
        yield environment.prompt(opening.goal, turns, observation).text
        action = environment.action(example.response, observation)
        turns.append(Turn(observation, action))
        observation = session.step(action.text)


def test_responses_are_valid_actions_on_the_prompts_that_a_rollout_would_show(plain):
    for task in plain.environment.tasks("train"):
        shown = show(plain, task)
        prompts = list(replay(plain.environment, task, shown.examples))
        assert [example.prompt.text for example in shown.examples] == prompts
        for example in shown.examples:
            assert plain.environment.action(example.response, None).is_valid


def test_noise_is_played_but_not_learned(plain):
    """Prompts show the random command, the response before it the expert's."""
    noisy = replace(plain, noise=1.0)
    task = plain.environment.tasks("train")[0]
    examples = show(noisy, task).examples
    said = [noisy.environment.action(example.response, None).text for example in examples]
    last = examples[-1].prompt.text
    played = [line[2:] for line in last.splitlines() if line.startswith("> ")]
    assert len(played) == len(said) - 1
    assert played != said[:-1]


def test_an_episode_skill_is_in_every_prompt_and_names_what_was_done(plain):
    skilled = replace(plain, episode_skill_share=1.0)
    shown = show(skilled, plain.environment.tasks("train")[0])
    assert shown.won
    for example in shown.examples:
        action = skilled.environment.action(example.response, None).text
        assert "This way of working solved the task." in example.prompt.task
        assert f'"{action}"' in example.prompt.task


def test_a_step_skill_asks_for_the_response_that_follows(plain):
    skilled = replace(plain, step_skill_share=1.0)
    examples = show(skilled, plain.environment.tasks("train")[0]).examples
    with_skill = [e for e in examples if "Advice for this very moment" in e.prompt.request]
    assert len(with_skill) == len(examples) / 2
    for example in with_skill:
        action = skilled.environment.action(example.response, None).text
        advice = example.prompt.request.splitlines()[1]
        assert f'Choose "{action}" now' in advice or f'try "{action}"' in advice
        assert f'not choose "{action}"' not in advice


def test_onlookers_say_what_they_would_do_in_the_same_place(plain):
    """They take only what was seen, and find only what was not."""
    asking = replace(plain, num_onlookers=3, wishes={})
    tasks = plain.environment.tasks("train")
    examples = [e for _ in range(3) for task in tasks for e in show(asking, task).examples]
    by_situation = {}
    for example in examples:
        by_situation.setdefault(example.prompt.situation, set()).add(example.prompt.request)
    assert max(map(len, by_situation.values())) >= 3
    taken = [e for e in examples if ": take</think><action>take" in e.response]
    assert taken
    for example in taken:
        thing = example.response.removeprefix("<think>the ").partition(":")[0]
        assert f"a {thing}" in example.prompt.situation
        assert thing.split()[0] in example.prompt.request
