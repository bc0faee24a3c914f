import json
import pickle

import pytest

from opid_lightning.envs.search import SearchQA
from opid_lightning.envs.search.environment import MAX_QUERY, NOTHING_FOUND
from opid_lightning.envs.search.retriever import Service
from opid_lightning.protocols import Environment, WaitingEnvironment
from opid_lightning.types import Observation
from tests.envs.search_server import serving


@pytest.fixture
def files(tmp_path):
    """Questions and a corpus of two passages."""
    question = {"id": 1, "question": "Where lived Ada?", "golden_answers": ["Rome"]}
    (tmp_path / "q.jsonl").write_text(json.dumps(question) + "\n")
    rows = [{"id": i, "contents": text} for i, text in enumerate(["Ada\nIn Rome.", "Ink\nBlue."])]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def given(files, **settings):
    questions = {"train_questions": str(files / "q.jsonl"), "cache": str(files / "cache")}
    return SearchQA(**{**questions, **settings})


def opened(environment):
    (task,) = environment.tasks("train")
    session = environment.open()
    assert session.reset(task).goal == "Where lived Ada?"
    return session


def test_it_is_an_environment_and_waits_only_for_a_service():
    assert isinstance(SearchQA(), Environment | WaitingEnvironment)
    assert SearchQA().max_waiting == 0
    assert SearchQA(retriever=Service("http://host:1")).max_waiting > 0


def test_questions_and_passages_of_ones_own_are_played(files):
    session = opened(given(files, corpus=str(files / "c.jsonl"), topk=1))
    shown = session.step("<search> Ada </search>").text
    assert shown == "<information>Doc 1 (Title: Ada) In Rome.</information>"
    assert session.step("<answer>Rome</answer>").won


def test_a_search_that_finds_nothing_says_so_as_does_one_that_asks_nothing(files):
    session = opened(given(files, corpus=str(files / "c.jsonl")))
    for query in ("zzz", " ", "?"):
        found = session.step(f"<search>{query}</search>").text
        assert found == f"<information>{NOTHING_FOUND}</information>"


def test_a_query_of_a_megabyte_is_refused_without_being_asked(files):
    with serving() as asked:
        session = opened(given(files, retriever=Service(asked.url)))
        shown = session.step(f"<search>{'x' * 1_000_000}</search>").text
        assert f"1000000 characters, and {MAX_QUERY}" in shown
        assert not session.step(f"<search>{'x' * MAX_QUERY}</search>").done
    assert [len(query) for (query,) in asked.queries] == [len("Where lived Ada?"), MAX_QUERY]


def test_a_service_is_checked_with_a_question_before_anything_is_played(files):
    with serving() as asked:
        environment = given(files, retriever=Service(asked.url))
        environment.tasks("train")
        assert asked.queries == [["Where lived Ada?"]]
        environment.tasks("train")
        assert len(asked.requests) == 1
    with pytest.raises(ValueError, match="cannot be reached"):
        given(files, retriever=Service(asked.url, retries=0)).tasks("train")


def test_an_environment_goes_to_another_process_as_it_is(files):
    environment = given(files, corpus=str(files / "c.jsonl"))
    opened(environment)
    assert pickle.loads(pickle.dumps(environment)) == environment


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_steps": 0}, "env.max_steps is 0"),
        ({"topk": 0}, "env.topk is 0"),
        ({"win_reward": 0}, "env.win_reward is 0"),
        ({"answer_rule": "last"}, "env.answer_rule is 'last'; expected one of response, reference"),
        ({"prompt_style": "long"}, "env.prompt_style"),
        ({"corpus": "c.jsonl"}, "no questions about it"),
        ({"train_questions": "q.jsonl"}, r"env\.train_questions: there is no file q\.jsonl"),
        ({"valid_seen_questions": __file__}, "no passages to search"),
        (
            {"train_questions": "q", "corpus": "c", "retriever": Service("http://h:1")},
            "leave one out",
        ),
        ({"num_train_questions": 0}, "env.num_train_questions is 0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        SearchQA(**settings).tasks("train")


def test_a_split_without_files_is_named(files):
    with pytest.raises(ValueError, match=r"env\.valid_seen_questions is not set"):
        given(files, corpus=str(files / "c.jsonl")).tasks("valid_seen")


def test_a_corpus_without_contents_is_refused_before_anything_is_played(files):
    (files / "c.jsonl").write_text('{"id": 1, "body": "x"}\n')
    with pytest.raises(ValueError, match=r"row 1 of .* has no contents"):
        given(files, corpus=str(files / "c.jsonl")).tasks("train")


def test_actions_are_read_as_the_reference_reads_them():
    action = SearchQA().action("<think>x</think><search>Ada</search>", Observation(""))
    assert (action.text, action.is_valid) == ("<search>Ada</search>", True)
