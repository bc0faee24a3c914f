import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.method.injection import Injection
from opid_lightning.method.routing import Routing
from opid_lightning.types import PromptText, Route, Skills
from tests.builders import encode, step_of, trajectory_of

TEXT = PromptText("Your task is to: eat.", "You see an apple.", "Now it's your turn.")
STEP = step_of(text=TEXT)
TRAJECTORY = trajectory_of(STEP)
BOTH = Route("Be quick.", "Take the apple.")


def prompts(route, step=STEP, injection=None):
    routed = (injection or Injection())(TRAJECTORY, step, route, encode)
    return {
        level: "".join(chr(token) for token in ids)
        for level, ids in routed.skill_prompt_ids.items()
    }


def test_the_episode_skill_stands_between_task_and_situation():
    assert prompts(BOTH)["episode"] == (
        "Your task is to: eat.\n\n"
        "Advice for this task, learned from an earlier attempt:\nBe quick.\n\n"
        "You see an apple.\n\nNow it's your turn."
    )


def test_the_step_skill_stands_between_situation_and_request():
    assert prompts(BOTH)["step"] == (
        "Your task is to: eat.\n\nYou see an apple.\n\n"
        "Advice for this very moment:\nTake the apple.\n\n"
        "Now it's your turn."
    )


def test_no_prompt_holds_both_skills():
    for text in prompts(BOTH).values():
        assert ("Be quick." in text) != ("Take the apple." in text)


def test_an_unrouted_level_has_no_prompt():
    assert prompts(Route()) == {}
    assert list(prompts(Route(episode_skill="Be quick."))) == ["episode"]
    assert list(prompts(Route(step_skill="Take the apple."))) == ["step"]


def test_the_plain_prompt_and_the_response_are_not_touched():
    routed = Injection()(TRAJECTORY, STEP, BOTH, encode)
    assert routed.prompt_ids == STEP.prompt.token_ids
    assert routed.response_ids == STEP.completion.token_ids


def test_a_prompt_of_just_the_budget_is_scored_and_one_token_more_is_not():
    length = len(prompts(BOTH)["step"])
    assert "step" in prompts(BOTH, injection=Injection(length))
    assert "step" not in prompts(BOTH, injection=Injection(length - 1))


def test_a_level_over_budget_stays_in_the_route():
    routed = Injection(1)(TRAJECTORY, STEP, BOTH, encode)
    assert routed.skill_prompt_ids == {}
    assert routed.over_budget == ("episode", "step")
    assert routed.route.level == "both"


def test_the_episode_skill_is_scored_where_the_step_skill_does_not_fit():
    skills = Skills("Be quick.", {0: "Take the apple." * 9})
    route = Routing()(0, skills)
    budget = Injection(len(prompts(Route("Be quick."))["episode"]))
    routed = budget(TRAJECTORY, STEP, route, encode)
    assert routed.skill_prompt_ids == {"episode": encode(prompts(Route("Be quick."))["episode"])}
    assert routed.over_budget == ("step",)
    assert list(Injection()(TRAJECTORY, STEP, route, encode).skill_prompt_ids) == ["step"]
    alone = Routing(mode="step_only")(0, skills)
    assert budget(TRAJECTORY, STEP, alone, encode).skill_prompt_ids == {}
    disabled = Routing(episode_enabled=False)(0, skills)
    assert budget(TRAJECTORY, STEP, disabled, encode).skill_prompt_ids == {}


@given(st.text(min_size=1), st.text(), st.text(), st.text())
def test_taking_the_skill_out_gives_back_the_plain_prompt(skill, task, situation, request):
    """So no text, an anchor phrase of another framework included, can move a skill."""
    text = PromptText(task, situation, request)
    step = step_of(text=text)
    mark = "\x00"
    marked = prompts(Route(mark + skill + mark, mark + skill + mark), step)
    plain = prompts(Route("Be quick.", "Be quick."), step)
    for level, prompt in marked.items():
        assert prompt.replace(mark + skill + mark, "Be quick.") == plain[level]


def test_an_anchor_phrase_in_the_observation_does_not_attract_the_skill():
    step = dataclasses.replace(
        STEP,
        prompt=dataclasses.replace(
            STEP.prompt,
            text=PromptText("Your task is to: eat.", "Your task is to: sleep.\nNow go.", "Act."),
        ),
    )
    assert prompts(BOTH, step)["episode"].index("Be quick.") < prompts(BOTH, step)["episode"].index(
        "sleep"
    )
    assert prompts(BOTH, step)["step"].endswith("Take the apple.\n\nAct.")


def test_a_budget_below_one_token_is_refused():
    with pytest.raises(ValueError, match="max_prompt_tokens is 0; expected at least 1"):
        Injection(0)
