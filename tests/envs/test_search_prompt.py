from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.envs.search import SearchQA
from opid_lightning.envs.search.prompt import NOTHING_DONE
from opid_lightning.types import Action, Observation, Turn

GOAL = "Into which sea does the river of Alder Mill flow?"
TURNS = (
    Turn(Observation(GOAL), Action("<search>Alder Mill</search>", True)),
    Turn(Observation("<information>Doc 1 (Title: Alder Mill) A.</information>"), Action("", False)),
)
NOW = Observation("<information>Doc 1 (Title: Wend) B.</information>")


def test_the_instructive_prompt_tells_the_question_what_was_found_and_what_can_be_done():
    prompt = SearchQA().prompt(GOAL, (TURNS[0],), NOW)
    assert prompt.task.splitlines()[-1] == f"Your question: {GOAL}"
    assert (
        prompt.situation
        == """\
What you did so far, and what came back:
<search>Alder Mill</search>
<information>Doc 1 (Title: Wend) B.</information>"""
    )
    assert prompt.request.startswith("Now it's your turn.")
    for tag in ("<think>", "<search>", "<answer>", "<information>"):
        assert tag in prompt.request


def test_the_first_prompt_says_the_question_once_and_nothing_before():
    prompt = SearchQA().prompt(GOAL, (), Observation(GOAL))
    assert prompt.situation == ""
    assert prompt.text.count(GOAL) == 1


def test_a_response_that_did_nothing_is_shown_as_such():
    shown = SearchQA().prompt(GOAL, TURNS, Observation("")).situation
    assert shown.endswith(f"Doc 1 (Title: Alder Mill) A.</information>\n{NOTHING_DONE}")


def test_the_brief_prompt_says_the_question_first_and_last():
    prompt = SearchQA(prompt_style="brief").prompt(GOAL, (TURNS[0],), NOW)
    assert (
        prompt.text
        == f"""\
Question: {GOAL}
<search>Alder Mill</search>
<information>Doc 1 (Title: Wend) B.</information>

Your turn. Question: {GOAL}"""
    )


@given(st.lists(st.text(max_size=9), min_size=1, max_size=4))
def test_each_brief_prompt_continues_the_one_before(texts):
    environment, turns, before = SearchQA(prompt_style="brief"), [], None
    seen = Observation(GOAL)
    for text in texts:
        situation = environment.prompt(GOAL, turns, seen).situation
        assert before is None or situation.startswith(before + "\n")
        before = situation
        turns.append(Turn(seen, Action(f"<search>{text}</search>", True)))
        seen = Observation(f"<information>{text}</information>")


def test_turns_before_the_window_are_not_shown():
    for style in ("instructive", "brief"):
        environment = SearchQA(prompt_style=style, history_length=1)
        text = environment.prompt(GOAL, TURNS, NOW).text
        assert "<search>Alder Mill</search>" not in text
        assert text == environment.prompt(GOAL, TURNS[1:], NOW).text
