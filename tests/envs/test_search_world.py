"""The generated world: what makes its questions askable, answerable and not too easy."""

import re
from collections import Counter

import pytest

from opid_lightning.envs.search import SearchQA
from opid_lightning.envs.search.answers import matches
from opid_lightning.envs.search.expert import Plan
from opid_lightning.envs.search.passages import read_passages
from opid_lightning.envs.search.questions import read_tasks
from opid_lightning.envs.search.world import World, corpus_of, questions_of
from opid_lightning.envs.search.world.facts import NUM_UNSEEN_REGIONS, invent
from opid_lightning.envs.search.world.passages import tell
from opid_lightning.envs.search.world.questions import ask
from opid_lightning.envs.search.world.wording import read_passage

SIZES = {"train": 1000, "valid_seen": 100, "valid_unseen": 100}


@pytest.fixture(scope="module")
def facts():
    return invent(0)


@pytest.fixture(scope="module")
def made(facts):
    return {split: ask(facts, split, size, 0) for split, size in SIZES.items()}


@pytest.fixture(scope="module")
def passages(facts):
    return {passage.title: passage for passage in tell(facts, 0)}


def test_a_seed_yields_one_world_and_another_seed_another(facts, made, passages):
    again = invent(0)
    assert [thing.facts for thing in again.things.values()] == [
        thing.facts for thing in facts.things.values()
    ]
    assert list(tell(again, 0)) == list(passages.values())
    assert ask(again, "train", 50, 0) == made["train"][:50]
    assert invent(1).things.keys() != facts.things.keys()


def test_first_questions_stay_when_more_are_asked_for(facts, made):
    for split in SIZES:
        assert ask(facts, split, 33, 0) == made[split][:33]


def test_every_passage_states_all_facts_of_its_thing(facts, passages):
    assert len(passages) == len(facts.things) == 2364
    for title, passage in passages.items():
        assert read_passage(passage.text) == {"name": title, **facts.things[title].facts}


def test_every_answer_follows_from_its_supporting_passages(made, passages):
    for question in (question for split in made.values() for question in split):
        plan, reached = Plan.of(question.text), []
        for name in plan.subjects:
            for relation in plan.relations:
                stated = read_passage(passages[name].text)
                assert stated["name"] in question.supporting_titles
                name = stated[relation]
            reached.append(name)
        if plan.choice == "earlier":
            answer = plan.subjects[reached[0] > reached[1]]
        elif plan.choice == "same":
            answer = "yes" if reached[0] == reached[1] else "no"
        else:
            (answer,) = reached
        assert matches(answer, question.golden_answers)


def test_no_split_asks_what_another_asks(made):
    texts = [question.text for split in made.values() for question in split]
    assert len(set(texts)) == len(texts)


def test_unseen_questions_are_about_things_that_no_other_question_touches(facts, made):
    def touched(split):
        return {title for question in made[split] for title in question.supporting_titles}

    seen = touched("train") | touched("valid_seen")
    assert not seen & touched("valid_unseen")
    assert len(facts.unseen_regions) == NUM_UNSEEN_REGIONS
    for split in SIZES:
        is_unseen = {facts.things[name].region in facts.unseen_regions for name in touched(split)}
        assert is_unseen == {split == "valid_unseen"}


def test_sources_are_mixed_alike_in_every_split(made):
    for split, size in SIZES.items():
        counts = Counter(question.source for question in made[split])
        assert counts == {
            "two_hop": 0.65 * size,
            "one_hop": 0.2 * size,
            "comparison": 0.15 * size,
        }


def test_forms_of_two_hop_questions_are_balanced_and_yes_is_as_frequent_as_no(made):
    forms = Counter(Plan.of(q.text).relations for q in made["train"] if q.source == "two_hop")
    assert len(forms) == 26
    assert max(forms.values()) - min(forms.values()) <= 1
    answers = Counter(question.golden_answers for question in made["train"])
    assert 0.5 < answers["yes",] / answers["no",] < 2


def test_names_are_distinct_and_words_are_few(facts, made, passages):
    said = [passage.contents for passage in passages.values()]
    said += [question.text for split in made.values() for question in split]
    assert len(set(re.findall(r"\w+", " ".join(said)))) < 700


def test_the_files_are_read_like_any_others_and_made_once(tmp_path):
    world = World(40, 20, 0, str(tmp_path))
    corpus = corpus_of(world)
    assert len(list(read_passages(corpus))) == 2364
    assert len(read_tasks([questions_of(world, "valid_unseen")])) == 20
    written = corpus.stat().st_mtime_ns
    assert corpus_of(World(40, 20, 0, str(tmp_path))).stat().st_mtime_ns == written


def test_more_questions_than_the_world_has_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"env\.num_valid_questions is 5000, but .* has \d+"):
        SearchQA(num_valid_questions=5000, cache=str(tmp_path)).tasks("train")
    assert not any(tmp_path.glob("world*"))
