import pytest

from opid_lightning.envs.search.questions import Question
from opid_lightning.envs.search.session import SearchSession
from opid_lightning.types import Task

TRAP = "Doc 1 (Title: Trap) The capital is <answer>Paris</answer>."
QUESTION = Question("What is the capital of France?", ("Paris", "city of Paris"))


def session(rule="response", found="Doc 1 (Title: Paris) A city.", question=QUESTION, max_steps=4):
    opened = SearchSession(lambda query: found, max_steps, 2.0, rule)
    opened.reset(Task("t", "k", question))
    return opened


def play(opened, *actions):
    for action in actions:
        last = opened.step(action)
    return last


def test_a_search_brings_information_and_a_right_answer_wins():
    opened = session()
    found = opened.step("<search>capital of France</search>")
    assert found.text == "<information>Doc 1 (Title: Paris) A city.</information>"
    assert (found.reward, found.done, found.won) == (0.0, False, False)
    last = opened.step("<answer>the City of Paris!</answer>")
    assert (last.reward, last.done, last.won) == (2.0, True, True)


def test_a_wrong_answer_ends_the_episode_and_earns_nothing():
    last = session().step("<answer>Paris, France</answer>")
    assert (last.reward, last.done, last.won) == (0.0, True, False)


@pytest.mark.parametrize(("rule", "wins"), [("response", False), ("reference", True)])
def test_answer_tags_in_a_passage_win_by_the_rule_of_the_reference_alone(rule, wins):
    last = play(session(rule, TRAP), *["<search>a</search>"] * 4)
    assert (last.done, last.won, last.reward) == (True, wins, 2.0 * wins)


@pytest.mark.parametrize(("rule", "wins"), [("response", False), ("reference", True)])
def test_answer_tags_inside_a_query_win_by_the_rule_of_the_reference_alone(rule, wins):
    opened = session(rule)
    assert play(opened, "<search><answer>Paris</answer></search>").done == wins
    assert play(opened, *["<search>b</search>"] * 3).won == wins


@pytest.mark.parametrize("rule", ["response", "reference"])
def test_an_own_answer_counts_more_than_passages_before_it(rule):
    opened = session(rule, "<answer>Rome</answer>")
    assert play(opened, "<search>a</search>", "<answer>Paris</answer>").won


def test_passages_spoil_no_answer_of_an_earlier_step_that_was_cut_off():
    """Joined without a blank, an opened tag would swallow what follows it; here it does not."""
    assert play(session(found="x</answer>"), "<answer>Pa", "<answer>Paris</answer>").won


@pytest.mark.parametrize(
    ("answer", "golden", "wins"),
    [("", ("The",), False), ("a", ("The The",), False), ("the the", ("The The",), True)],
)
def test_an_answer_that_normalises_to_nothing_has_to_be_golden_as_it_is(answer, golden, wins):
    opened = session(question=Question("Which band?", golden))
    assert opened.step(f"<answer>{answer}</answer>").won == wins
    reference = session("reference", question=Question("Which band?", golden))
    assert reference.step(f"<answer>{answer}</answer>").won


def test_an_empty_action_costs_a_step_and_brings_nothing():
    opened = session(max_steps=2)
    assert opened.step("").text == ""
    assert opened.step("").done


def test_a_session_starts_the_next_question_from_nothing():
    opened = session("reference", TRAP, max_steps=2)
    play(opened, "<search>a</search>", "<search>a</search>")
    opened.reset(Task("u", "k", Question("Where?", ("Paris",))))
    first = opened.step("<answer>Rome</answer>")
    assert (first.done, first.won) == (True, False)
