"""`preset=tiny` makes any configuration a short run on a CPU that needs nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from opid_lightning.cli.config.arguments import parse
from opid_lightning.cli.config.choices import CONF
from opid_lightning.cli.config.configuration import Configuration, configure
from opid_lightning.cli.verbs.table import main

RECIPES = [path.stem for path in sorted((CONF / "recipe").glob("*.yaml"))]


def configured(*typed: str) -> Configuration:
    return configure(parse("fit", typed))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_keeps_its_method_and_loses_its_sizes(recipe: str) -> None:
    conf = recipe.partition("_")[0]
    tree = configured(f"conf={conf}", f"recipe={recipe}", "preset=tiny").resolved()
    assert tree["policy"]["path"].startswith("small")
    assert tree["policy"]["thinking"] is None
    assert tree["sampler"]["class_path"].endswith("HuggingFace")
    assert tree["analyst"]["class_path"].endswith("Rules")
    assert tree["trainer"]["accelerator"] == "cpu"
    assert (tree["trainer"]["devices"], tree["trainer"]["max_epochs"]) == (1, 2)
    assert tree["trainer"].get("strategy", "auto") == "auto"
    assert tree["rollout"]["group_size"] * tree["data"]["tasks_per_iteration"] <= 16
    assert tree["env"]["init_args"]["prompt_style"] == "brief"  # which the small policy reads
    # Of the recipe's own preset, reference:
    assert tree["advantage"]["deviation"] == "unbiased"
    assert tree["advantage"]["gamma"] == 0.95


def test_what_is_typed_wins_and_says_so() -> None:
    typed = ("rollout.group_size=6", "sampler=vllm", "env.retriever.url=http://localhost:1")
    found = configured("conf=search", "recipe=search_qwen3_1.7b", "preset=tiny", *typed)
    tree = found.resolved()
    assert tree["rollout"]["group_size"] == 6
    assert tree["sampler"]["class_path"].endswith(".VLLM")
    assert tree["env"]["init_args"]["retriever"]["url"] == "http://localhost:1"
    assert found.where("rollout.group_size") == "Set on the command line: rollout.group_size=6"
    assert found.where("trainer.max_epochs") == "Set in conf/preset/tiny.yaml"


def test_a_model_of_your_own_stays() -> None:
    tree = configured("conf=alfworld", "preset=tiny", "model=one/two").resolved()
    assert tree["policy"]["path"] == "one/two"
    assert "prompt_style" not in tree["env"].get("init_args", {})


def test_an_environment_of_your_own_takes_nothing_of_another() -> None:
    tree = configured("conf=alfworld", "preset=tiny", "env.class_path=vault.Vault").resolved()
    assert not tree["env"].get("init_args")


def test_a_configuration_of_your_own_is_made_tiny(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("defaults: [webshop, _self_]\ntrainer: {max_epochs: 500, devices: 4}\n")
    tree = configured(f"conf={mine}", "preset=tiny").resolved()
    assert (tree["trainer"]["max_epochs"], tree["trainer"]["devices"]) == (2, 1)
    assert tree["policy"]["path"] == "small_webshop"


def test_the_largest_recipe_would_run_here(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    typed = ["conf=webshop", "recipe=webshop_qwen2.5_7b", "preset=tiny", "--dry-run"]
    assert main(["fit", *typed]) == 0
    assert "small_webshop" in capsys.readouterr().out
