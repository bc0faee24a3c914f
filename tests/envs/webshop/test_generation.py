"""The generated catalogue: small in words, hard to shop in, and solvable by reading."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from opid_lightning.envs.webshop import WebShop
from opid_lightning.envs.webshop.expert import ReadingExpert
from opid_lightning.envs.webshop.generation.products import generate, product_id
from opid_lightning.envs.webshop.reading import read_request, read_results
from opid_lightning.types import Action, Turn

NUM_GOALS = 60


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> WebShop:
    cache = str(tmp_path_factory.mktemp("cache"))
    return WebShop(cache=cache, results_per_page=4, prompt_style="brief", history_length=15)


def test_products_follow_from_their_number_and_the_seed() -> None:
    assert list(generate(20, 3)) == list(generate(40, 3))[:20]
    assert list(generate(20, 3)) != list(generate(20, 4))


def test_ids_are_distinct_also_where_they_need_more_words() -> None:
    names = [product_id(number) for number in range(70_000)]
    assert len(set(names)) == 70_000
    assert all(re.fullmatch(r"([a-z]+-)+\d\d", name) for name in names)


def test_its_world_has_few_words(env: WebShop) -> None:
    texts = []
    for index in range(0, len(env.tasks("train")), 40):
        goal = env.goal(env.tasks("train")[index])
        product = env._catalogue.products.get(goal.product_id)
        texts += [goal.text, product.id, product.title, product.indexed_text, product.price_tag]
        texts += product.bullet_points
    assert len(set(re.findall(r"[a-z]+|\d+", " ".join(texts).lower()))) < 600


def test_the_expert_wins_where_the_first_hit_is_often_wrong(env: WebShop) -> None:
    tasks = env.tasks("valid_unseen")
    chosen = random.Random(0).sample(range(len(tasks)), NUM_GOALS)
    num_won = num_first = longest = 0
    session = env.open()
    for index in chosen:
        opening = session.reset(tasks[index])
        seen, history = opening.observation, list[Turn]()
        expert = ReadingExpert.of(opening.goal, random.Random(0), env.max_steps)
        expert.see(None, seen)
        while not seen.done and len(history) < env.max_steps:
            command = expert.decide().command
            history.append(Turn(seen, Action(command, True)))
            seen = session.step(command)
            expert.see(command, seen)
        num_won += seen.won
        num_first += buys_first_hit(env, index)
        longest = max(longest, len(env.prompt(opening.goal, history, seen).text.split()))
    assert num_won >= 0.9 * NUM_GOALS and num_first <= 0.65 * NUM_GOALS
    assert longest < 500


def test_the_expert_recovers_from_what_others_did(env: WebShop) -> None:
    """From any page, and with a wrong option chosen."""
    task = env.task_from("zulu-25-2")  # red, xx-large
    slips = [
        ["search[red]", "click[next >]"],
        ["search[machine washable coat denim red xx large]", "click[sierra-37]", "click[reviews]"],
        ["search[machine washable denim coat quick drying red]", "click[zulu-25]", "click[pink]"],
    ]
    for slip in slips:
        session = env.open()
        opening = session.reset(task)
        expert = ReadingExpert.of(opening.goal, random.Random(0), max_steps=18)
        expert.see(None, opening.observation)
        while expert.num_steps < 18:
            command = slip.pop(0) if slip else expert.decide().command
            seen = session.step(command)
            expert.see(command, seen)
            if seen.done:
                break
        assert seen.won


def buys_first_hit(env: WebShop, index: int) -> bool:
    session, task = env.open(), env.tasks("valid_unseen")[index]
    goal = session.reset(task).goal
    results = read_results(session.step(f"search[{read_request(goal).query}]"))
    assert results is not None
    session.step(results.listings[0].command)
    for value in env.goal(task).option_values:
        session.step(f"click[{value}]")
    return session.step("click[buy now]").won


def test_every_goal_can_be_won_by_its_own_product(env: WebShop) -> None:
    session = env.open()
    for index in range(0, len(env.tasks("train")), 97):
        task = env.tasks("train")[index]
        goal = env.goal(task)
        session.reset(task)
        session.step(f"search[{env._catalogue.products.get(goal.product_id).indexed_text}]")
        session.step(f"click[{goal.product_id}]")
        for value in goal.option_values:
            session.step(f"click[{value}]")
        assert session.step("click[buy now]").won, task


@pytest.mark.parametrize(
    ("goal", "words", "options", "limit"),
    [
        (
            "find me a shirt that is slim fit with color: red, and size: x-large, and price "
            "lower than 30.00 dollars",
            ("shirt", "slim", "fit"),
            {"color": "red", "size": "x-large"},
            30.0,
        ),
        ("i need a lamp with a shade", ("lamp", "shade"), {}, None),
        (
            "Find me shoes with rubber sole with color: black with white",
            ("shoes", "rubber", "sole"),
            {"color": "black with white"},
            None,
        ),
    ],
)
def test_a_goal_is_read(
    goal: str, words: tuple[str, ...], options: dict[str, str], limit: float | None
) -> None:
    request = read_request(goal)
    assert (request.words, request.options, request.limit) == (words, options, limit)


def test_a_cache_can_be_shared_by_settings_that_differ_in_play_alone(tmp_path: Path) -> None:
    for per_page in (4, 10):
        env = WebShop(cache=str(tmp_path), num_products=20, results_per_page=per_page)
        assert len(env.tasks("train")) + len(env.tasks("valid_seen")) > 0
    assert len(list(tmp_path.iterdir())) == 1
