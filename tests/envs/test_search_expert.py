import json

import pytest

from opid_lightning.envs.search import SearchQA
from opid_lightning.envs.search.expert import (
    Plan,
    ReadingExpert,
    TitleExpert,
    documents,
    is_shown,
)
from opid_lightning.envs.search.questions import Question


def play(environment, task, expert):
    session = environment.open()
    observation = session.reset(task).observation
    decisions = []
    while not observation.done:
        decisions.append(expert.decide())
        observation = session.step(decisions[-1].command)
        expert.see(observation)
    return observation.won, decisions


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("search"))
    return SearchQA(num_train_questions=20, num_valid_questions=60, cache=cache)


@pytest.mark.parametrize("split", ["valid_seen", "valid_unseen"])
def test_the_oracle_reader_answers_every_generated_question(generated, split):
    played = [
        (task, *play(generated, task, ReadingExpert.of(task.payload.text)))
        for task in generated.tasks(split)
    ]
    assert [task.payload.text for task, won, _ in played if not won] == []
    # Two facts one after the other take two searches, whatever a first one shows besides.
    assert {len(steps) for task, _, steps in played if task.kind == "two_hop"} == {3}


def test_a_search_for_the_question_itself_seldom_shows_all_that_two_hops_need(generated):
    tasks = [task for task in generated.tasks("valid_seen") if task.kind == "two_hop"]
    session, sufficient = generated.open(), 0
    for task in tasks:
        session.reset(task)
        shown = documents(session.step(f"<search>{task.payload.text}</search>").text)
        sufficient += set(task.payload.supporting_titles) <= shown.keys()
    assert sufficient <= 0.1 * len(tasks)


def test_a_question_is_read_into_what_has_to_be_followed():
    assert Plan.of("In which town was the writer of The Lost Key born?") == Plan(
        ("The Lost Key",), ("writer", "birthplace")
    )
    assert Plan.of("Into which sea does the Upper Wend flow?") == Plan(("Upper Wend",), ("sea",))
    assert Plan.of("Who was born first, Ada Brook or Hugo Stark?") == Plan(
        ("Ada Brook", "Hugo Stark"), ("birthyear",), "earlier"
    )
    with pytest.raises(ValueError, match="does not ask"):
        Plan.of("Why?")


def test_a_decision_names_what_is_looked_for_before_it_searches(generated):
    task = next(task for task in generated.tasks("train") if task.kind == "two_hop")
    _, (first, *_, last) = play(generated, task, ReadingExpert.of(task.payload.text))
    name, _, relation = first.thought.partition(": ")
    assert relation in Plan.of(task.payload.text).relations
    assert first.command == f"<search>{name}</search>"
    assert last.command == f"<answer>{last.thought}</answer>"


def test_documents_are_told_apart_as_a_search_shows_them():
    text = "<information>Doc 1 (Title: A (b)) x.\nDoc 2 (Title: C) y.</information>"
    assert documents(text) == {"A (b)": "x.", "C": "y."}
    assert is_shown("A (b)", text)
    assert is_shown("B (c) D", "Doc 1 (Title: B (c) D) x.")
    assert not is_shown("A", text)


def small_corpus(folder):
    passages = [('"Ada"', "Ada lived in Rome."), ('"Rome"', "Rome is a city."), ('"Ink"', "Blue.")]
    rows = [{"id": i, "contents": "\n".join(p)} for i, p in enumerate(passages)]
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    row = {"question": "Where lived Ada?", "golden_answers": ["Rome"]}
    row["supporting_titles"] = ["Ada", "Ink"]
    (folder / "q.jsonl").write_text(json.dumps(row) + "\n")
    return SearchQA(
        train_questions=str(folder / "q.jsonl"),
        corpus=str(folder / "c.jsonl"),
        cache=str(folder / "cache"),
        topk=1,
    )


def test_the_title_expert_answers_once_all_its_passages_were_shown(tmp_path):
    environment = small_corpus(tmp_path)
    (task,) = environment.tasks("train")
    won, decisions = play(environment, task, TitleExpert(task.payload))
    assert won
    assert [decision.command for decision in decisions] == [
        "<search>Where lived Ada?</search>",
        "<search>Ink</search>",
        "<answer>Rome</answer>",
    ]


def test_the_title_expert_does_not_answer_what_was_not_shown(tmp_path):
    environment = small_corpus(tmp_path)
    (task,) = environment.tasks("train")
    question = Question(task.payload.text, ("Rome",), ("Ada", "Nowhere"))
    won, decisions = play(environment, task, TitleExpert(question))
    assert not won
    assert decisions[-1].command == "<answer>unknown</answer>"
    with pytest.raises(ValueError, match="no supporting_titles"):
        TitleExpert(Question("Who?", ("Ada",)))
