"""What was typed, laid over what conf/ composes."""

from __future__ import annotations

import dataclasses
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from opid_lightning.cli.config.arguments import parse
from opid_lightning.cli.config.choices import CONF, configurations, groups
from opid_lightning.cli.config.composition import OPTIONAL_GROUPS
from opid_lightning.cli.config.configuration import Configuration, configure
from opid_lightning.cli.config.names import keys_of
from opid_lightning.cli.config.validation import parameters_of
from opid_lightning.cli.errors import UsageError
from opid_lightning.lm.policy import EMBEDDED
from opid_lightning.lm.text.prompt_check import TAUGHT_PROMPTS, prompts_of
from opid_lightning.method.advantage import Advantage
from opid_lightning.method.loss import Loss


def configured(*typed: str) -> Configuration:
    return configure(parse("fit", typed))


def tree_of(*typed: str) -> dict[str, Any]:
    return configured(*typed).resolved()


def test_settings_win_over_choices_and_choices_over_the_configuration() -> None:
    tree = tree_of("conf=alfworld", "method=grpo", "method.rule.step_weight=0.5")
    assert tree["method"]["rule"]["init_args"] == {"episode_weight": 0.0, "step_weight": 0.5}


def test_a_recipe_wins_over_the_configuration() -> None:
    assert tree_of("conf=alfworld")["trainer"]["max_epochs"] == 12
    recipe = tree_of("conf=alfworld", "recipe=alfworld_qwen2.5_3b", "analyst=rules")
    assert recipe["trainer"]["max_epochs"] == 160
    assert recipe["advantage"]["normalise"] == "mean_std"


def test_both_spellings_of_a_place_are_one_setting() -> None:
    assert tree_of("conf=keydoor", "env.max_steps=7") == tree_of(
        "conf=keydoor", "--data.env.init_args.max_steps=7"
    )


def test_an_interpolation_sees_what_was_typed() -> None:
    tree = tree_of("conf=keydoor", "rollout.group_size=${data.tasks_per_iteration}")
    assert tree["rollout"]["group_size"] == tree["data"]["tasks_per_iteration"]


@pytest.mark.parametrize("path", ["some/where", "Qwen/Qwen3-1.7B"])
def test_any_model_can_be_named_by_path_or_hub_name(path: str) -> None:
    assert tree_of("conf=keydoor", f"model={path}")["policy"] == {"path": path}


def test_a_folder_is_a_model_without_a_slash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert tree_of("conf=keydoor", "model=mine")["policy"] == {"path": "mine"}


def test_a_callback_can_be_taken_away() -> None:
    assert "checkpoint" not in tree_of("conf=keydoor", "~callbacks.checkpoint")["callbacks"]


def test_paper_preset_is_the_default_of_the_classes() -> None:
    tree = tree_of("conf=keydoor", "preset=paper")
    for name, default in (("advantage", Advantage()), ("loss", Loss())):
        defaults = dataclasses.asdict(default)
        assert {key: defaults[key] for key in tree[name]} == tree[name]


def test_reference_preset_is_what_the_authors_code_computes() -> None:
    tree = tree_of("conf=alfworld", "preset=reference")
    advantage = Advantage(**tree["advantage"])
    assert advantage == Advantage(
        normalise="mean",
        over="steps",
        deviation="unbiased",
        single_member="raw",
        invalid_action_penalty=0.1,
        penalty_after_normalisation=False,
    )
    assert Loss(**tree["loss"]) == Loss(entropy_weight=0.001)
    assert tree["env"]["init_args"]["win_reward"] == 10.0
    assert tree["batching"]["mini_batch_rows"] == 256


def test_presets_leave_alone_what_the_method_group_chooses() -> None:
    def written(folder: str) -> set[str]:
        files = [yaml.safe_load(path.read_text()) for path in (CONF / folder).glob("*.yaml")]
        return {key for tree in files for key in keys_of(tree)} - {"advantage", "loss", "defaults"}

    assert "advantage.state_weight" in written("method")
    assert not written("preset") & written("method")


def test_both_presets_set_the_same_settings() -> None:
    paper, reference = (
        keys_of(yaml.safe_load((CONF / "preset" / name).read_text()))
        for name in ("paper.yaml", "reference.yaml")
    )
    assert paper - reference == set()


@pytest.mark.parametrize("conf", configurations())
@pytest.mark.parametrize(
    ("group", "choice"), [(group, choice) for group, names in groups().items() for choice in names]
)
def test_every_choice_composes_with_what_it_is_made_for(conf: str, group: str, choice: str) -> None:
    made_for = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text()) or {}
    # The model of conf=keydoor is made for no environment.
    fits = conf in (made_for.get("suits", {}).get(group, conf), "keydoor" if group == "env" else "")
    typed = f"conf={conf}", f"{group}={choice}"
    if fits:
        assert configured(*typed).tree["env"]
        return
    with pytest.raises(UsageError, match=r"is made for env=\w+, and env is \w+\. Choose another"):
        configured(*typed)


def test_a_configuration_of_your_own_starts_from_the_shipped_ones(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("defaults: [keydoor, _self_]\nrollout: {group_size: 3}\n")
    (tmp_path / "sampler").mkdir()
    (tmp_path / "sampler" / "ours.yaml").write_text("class_path: our.Sampler\n")
    configuration = configured(f"conf={mine}", "sampler=ours", "method=grpo")
    assert configuration.tree["rollout"]["group_size"] == 3
    assert configuration.tree["sampler"]["class_path"] == "our.Sampler"
    assert configuration.tree["method"]["rule"]["init_args"]["step_weight"] == 0.0
    assert configuration.where("rollout.group_size") == f"Set in {mine}"


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("rollout.group_size", "Set on the command line: --rollout.group_size=4"),
        ("data.rollout.group_size", "Set on the command line: --rollout.group_size=4"),
        ("model.optimizer.init_args.weight_decay", "Set in conf/shared/run.yaml"),
        ("method.rule.episode_weight", "Set in conf/method/grpo.yaml"),
        ("advantage.state_weight", "Set in conf/method/grpo.yaml"),
        ("loss.dual_clip", "Set in conf/preset/paper.yaml"),
        ("data.tasks_per_iteration", "Set in conf/alfworld.yaml"),
        ("rollout.nowhere", ""),
    ],
)
def test_every_setting_knows_where_it_was_set(key: str, where: str) -> None:
    configuration = configured("conf=alfworld", "method=grpo", "--rollout.group_size=4")
    assert configuration.where(key).replace("--", "") == where.replace("--", "")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "conf=alfworld or conf=keydoor"),
        (["conf=keydor"], "Did you mean 'keydoor'"),
        (["conf=nowhere/x.yaml"], "there is no file"),
        (["conf=keydoor", "sampler=hff"], "Did you mean 'hf'(.|\n)*command line: sampler=hff"),
        (["conf=keydoor", "~callbacks.checkpont"], "Did you mean 'callbacks.checkpoint'"),
        (["--config", "nowhere.yaml"], "no such file"),
    ],
)
def test_what_is_not_there_is_refused(typed: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configured(*typed)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("rollout.group_size=${rollout.nothing}", "rollout.nothing(.|\n)*command line"),
        ("analyst=replay", "analyst.path has no value yet"),
    ],
)
def test_what_has_no_value_is_refused(typed: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configured("conf=keydoor", typed).resolved()


def test_a_saved_configuration_is_changed_by_the_same_names(tmp_path: Path) -> None:
    saved = tmp_path / "config.yaml"
    saved.write_text("data: {env: {class_path: x, init_args: {max_steps: 5}}, rollout: {}}\n")
    configuration = configured("--config", str(saved), "env.max_steps=6")
    assert configuration.tree["env"] == {"class_path": "x", "init_args": {"max_steps": 6}}
    with pytest.raises(UsageError, match="chooses a file of conf"):
        configured("--config", str(saved), "sampler=hf")


def test_another_class_starts_from_its_own_settings_wherever_it_is_typed() -> None:
    configuration = configured("conf=alfworld", "env.size=3", "env.class_path=guess.Guess")
    assert configuration.tree["env"] == {"class_path": "guess.Guess", "init_args": {"size": 3}}


@pytest.mark.parametrize(
    ("typed", "style"),
    [
        ([], "brief"),
        (["model=smollm2"], "instructive"),
        (["model=Qwen/Qwen3-1.7B"], "instructive"),
        (["recipe=alfworld_qwen2.5_3b"], "instructive"),
    ],
)
def test_what_suits_the_policy_that_ships_is_not_set_for_others(
    typed: list[str], style: str
) -> None:
    tree = configured("conf=alfworld", *typed).tree
    assert tree["env"]["init_args"].get("prompt_style", "instructive") == style
    assert tree["batching"].get("share_prefixes", False) == (style == "brief")
    assert (tree["optimizer"]["init_args"]["lr"] == 1e-6) == (style != "brief")


@pytest.mark.parametrize("conf", ["alfworld", "webshop", "search"])
def test_a_configuration_shows_its_policy_the_prompts_that_it_was_taught(conf: str) -> None:
    tree = tree_of(f"conf={conf}")
    made = pkgutil.resolve_name(tree["env"]["class_path"])(**tree["env"]["init_args"])
    folder = EMBEDDED / tree["policy"]["path"]
    assert json.loads((folder / "config.json").read_text())[TAUGHT_PROMPTS] == prompts_of(made)


@pytest.mark.parametrize(
    "path", sorted((CONF / "model").glob("*.yaml")), ids=lambda path: path.stem
)
def test_no_model_sets_up_the_environment(path: Path) -> None:
    assert "env" not in yaml.safe_load(path.read_text())


@pytest.mark.parametrize("group", sorted(groups().keys() - {*OPTIONAL_GROUPS}))
@pytest.mark.parametrize("typed", ["null", "~"])
def test_a_group_that_a_run_needs_is_not_null(group: str, typed: str) -> None:
    with pytest.raises(UsageError, match=f"'{group}' has no choice '{typed}'. A run needs one. T"):
        configured("conf=alfworld", f"{group}={typed}")


@pytest.mark.parametrize("analyst", groups()["analyst"])
def test_every_analyst_takes_what_a_recipe_says_of_its_own(analyst: str) -> None:
    recipe = ("conf=search", "recipe=search_qwen3_1.7b", f"analyst={analyst}")
    chosen = configured(*recipe).tree["analyst"]
    assert chosen["init_args"]["max_step_skills"] == 2
    assert chosen["init_args"].keys() <= (parameters_of(chosen["class_path"]) or set())
