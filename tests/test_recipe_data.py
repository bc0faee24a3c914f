"""Every recipe is tried on a small file in the very form that it names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opid_lightning.cli.config.arguments import parse
from opid_lightning.cli.config.choices import groups
from opid_lightning.cli.config.configuration import configure
from opid_lightning.envs.alfworld.generation import generated_games
from tests.envs.search_server import hits, serving
from tests.envs.webshop.shop import attributes, items
from tests.hub_cache import cached_on
from tests.test_recipes import MODELS, Built

CASES = Path(__file__).parent / "cases" / "search"
Typed = list[str]


def alfworld_download(folder: Path) -> Typed:
    """As `alfworld-download` leaves it: trials of supported types that have no game."""
    data = generated_games(3, 2, 0, str(folder / "cache"))
    for split in ("train", "valid_seen"):
        goal = min((data / "json_2.1.1" / split).iterdir())
        (goal / "trial_T1").mkdir()
        (goal / "trial_T1" / "traj_data.json").write_text('{"task_type": "x"}')
        (goal / "trial_T1" / "initial_state.pddl").write_text("(define)")
    return [f"env.data={data}"]


def small_webshop(folder: Path) -> Typed:
    """The files of `use_small`, of which some products are repeated to fill all splits."""
    many = [{**items()[0], "asin": f"B{number:09}"} for number in range(40)]
    about = {item["asin"]: next(iter(attributes().values())) for item in many}
    data = folder / "data"
    data.mkdir()
    (data / "items_shuffle_1000.json").write_text(json.dumps([*many, {"asin": "B", "name": 3}]))
    (data / "items_ins_v2_1000.json").write_text(json.dumps(about))
    return [f"env.data={data}", f"env.cache={folder}"]


def search_r1_processed(folder: Path) -> Typed:
    """What preprocess_search_r1_dataset.py writes."""
    data = folder / "searchR1_processed_direct"
    data.mkdir()
    for name in ("train", "test"):
        case = CASES / "searchR1_processed_direct_train.parquet"
        shutil.copy(case, data / f"{name}.parquet")
    return [
        f"env.train_questions={data}/train.parquet",
        f"env.valid_seen_questions={data}/test.parquet",
    ]


@pytest.fixture(autouse=True)
def _hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    cached_on(tmp_path_factory.mktemp("hub"), monkeypatch, *MODELS)


FORMS: dict[str, tuple[Callable[[Path], Typed], str]] = {
    "alfworld": (alfworld_download, "look"),
    "webshop": (small_webshop, "search[shirt]"),
    "search": (search_r1_processed, "<search>Old Mill</search>"),
}


def papers_retriever(number: int, request: dict[str, Any]) -> tuple[int, bytes]:
    """One query a request, and no regard for topk."""
    if "query" not in request:
        return 422, b'{"detail": "query: field required"}'
    return 200, json.dumps(hits([request["query"]], topk=5)).encode()


@pytest.fixture
def retriever() -> Iterator[str]:
    with serving(papers_retriever) as asked:
        yield asked.url


@pytest.mark.parametrize("recipe", groups()["recipe"])
def test_a_recipe_plays_the_data_that_it_names(
    recipe: str, tmp_path: Path, retriever: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "no-key")
    environment = recipe.partition("_")[0]
    made, action = FORMS[environment]
    typed = [f"conf={environment}", f"recipe={recipe}", *made(tmp_path), "analyst.model=gpt-4o"]
    if environment == "search":
        typed.append(f"env.retriever.url={retriever}")
    typed += ["trainer.accelerator=cpu", f"trainer.default_root_dir={tmp_path}"]
    arguments = parse("fit", typed)
    cli = Built(arguments, configure(arguments))
    env = cli.datamodule.env
    for split in ("train", cli.datamodule.evaluation.validation_split):
        session = env.open()
        session.reset(env.tasks(split)[0])
        assert session.step(action).text
        session.close()
    if environment == "search":
        assert session_shows(env) == 3


def session_shows(env: Any) -> int:
    """How many passages a search shows."""
    session = env.open()
    session.reset(env.tasks("train")[0])
    return int(session.step("<search>Ada Brook</search>").text.count("(Title: "))
