"""What the small policies of WebShop and search QA imitate."""

from __future__ import annotations

import random
from itertools import islice, pairwise

import pytest

from opid_lightning.lm.policy import EMBEDDED
from opid_lightning.types import Observation
from opid_lightning.warm_start import search, webshop
from opid_lightning.warm_start.demonstrations import Demonstrator
from opid_lightning.warm_start.search import SearchDemonstrations
from opid_lightning.warm_start.webshop import WebShopDemonstrations

SOURCES = {
    "webshop": WebShopDemonstrations(num_catalogues=1, num_products=60, noise=0.0),
    "search": SearchDemonstrations(num_worlds=1, num_questions=200, noise=0.0),
}
NOWHERE = Observation("")  # form alone makes an action valid
EACH = pytest.mark.parametrize("name", SOURCES)


def shown(name, count=5, **changes):
    """Late in a training, when episodes are shown whole."""
    source = type(SOURCES[name])(**{**vars(SOURCES[name]), **changes})
    return list(islice(source.demonstrations({}, 1, seed=0), 1, count + 1))


def plain(examples):
    """Those without a skill."""
    return [e for e in examples if not e.prompt.task and "Advice" not in e.prompt.request]


@EACH
def test_responses_are_valid_actions_that_make_the_prompts_which_follow(name):
    (environment,) = SOURCES[name].environments().values()
    for demonstration in shown(name):
        examples = plain(demonstration.examples)
        for before, after in pairwise(examples):
            action = environment.action(before.response, NOWHERE)
            assert action.is_valid
            assert after.prompt.situation.startswith(before.prompt.situation)
            assert action.text in after.prompt.situation[len(before.prompt.situation) :]


@EACH
def test_without_slips_the_expert_succeeds_more_often_than_not(name):
    episodes = shown(name, 40)
    assert sum(episode.won for episode in episodes) > 20


def test_early_in_a_training_the_first_steps_of_webshop_are_shown():
    early = next(SOURCES["webshop"].demonstrations({}, 100, seed=0))
    assert len(plain(early.examples)) == 3


@EACH
def test_slips_are_played_but_not_learned(name):
    (environment,) = SOURCES[name].environments().values()
    for demonstration in shown(name, noise=1.0):
        examples = plain(demonstration.examples)
        said = [environment.action(e.response, NOWHERE).text for e in examples[:-1]]
        played = [
            after.prompt.situation[len(before.prompt.situation) :]
            for before, after in pairwise(examples)
        ]
        if len(examples) > 2:
            assert any(text not in line for text, line in zip(said, played, strict=True))


@EACH
def test_skills_stand_where_rollouts_have_them_and_ask_for_the_response(name):
    module = {"webshop": webshop, "search": search}[name]
    (environment,) = SOURCES[name].environments().values()
    source = SOURCES[name]
    (one,) = islice(source.demonstrations({}, 1, seed=0), 1)
    assert one.examples
    sources = source._catalogues if name == "webshop" else source._worlds
    expert = {
        "webshop": lambda task, opening: webshop.ReadingExpert.of(opening.goal, random.Random(0)),
        "search": lambda task, opening: search.Reader(search.ReadingExpert.of(opening.goal)),
    }[name]
    always = Demonstrator(
        sources[0],
        expert,
        module.perturb,
        module.respond,
        noise=0,
        episode_skill_share=1,
        step_skill_share=1,
    )
    task = sources[0].tasks("train")[0]
    examples = always(sources[0].open(), task, random.Random(0)).examples
    assert all("Advice for this task" in e.prompt.task for e in examples)
    advised = [e for e in examples if "Advice for this very moment" in e.prompt.request]
    assert len(advised) == len(examples) / 2
    for example in advised:
        text = environment.action(example.response, NOWHERE).text
        assert f'"{text}"' in example.prompt.request.splitlines()[1]


def test_an_episode_is_taught_on_worlds_that_are_not_evaluated():
    for source, seeds in (
        (
            SearchDemonstrations(num_worlds=3),
            [w.world_seed for w in SearchDemonstrations(num_worlds=3)._worlds],
        ),
        (
            WebShopDemonstrations(num_catalogues=3),
            [c.catalogue_seed for c in WebShopDemonstrations(num_catalogues=3)._catalogues],
        ),
    ):
        (evaluated,) = source.environments().values()
        own = getattr(evaluated, "world_seed", getattr(evaluated, "catalogue_seed", None))
        assert len(set(seeds)) == 3
        assert own not in seeds


@EACH
def test_words_of_an_episode_are_single_tokens(name):
    source = SOURCES[name]
    tokenizer = source.tokenizer()
    for demonstration in shown(name):
        last = demonstration.examples[-1]
        text = last.prompt.text + last.response
        assert tokenizer.decode(tokenizer.encode(text)) == text
        # Spelt in bytes, a word would take several tokens.
        assert len(tokenizer.encode(text)) < 2.2 * len(text.split())


@EACH
def test_the_longest_response_has_room(name):
    source = SOURCES[name]
    tokenizer = source.tokenizer()
    responses = {e.response for d in shown(name, 100, noise=0.1) for e in d.examples}
    longest = max(len(tokenizer.encode(response)) for response in responses)
    assert longest < source.max_response_tokens


@EACH
def test_policies_that_ship_are_small(name):
    files = list((EMBEDDED / f"small_{name}").iterdir())
    assert sum(file.stat().st_size for file in files) <= 8_000_000
