"""The recipes of the paper's sizes: composed, and built with models that have no storage.

The architectures are those of the models' published config.json.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from transformers import AutoTokenizer, PreTrainedConfig, Qwen2Config, Qwen3Config

from opid_lightning.callbacks import SkillExtraction
from opid_lightning.cli.config.arguments import parse
from opid_lightning.cli.config.choices import groups
from opid_lightning.cli.config.configuration import configure
from opid_lightning.cli.verbs.training import OPIDCLI
from opid_lightning.hindsight.analysts.openai import OpenAI
from opid_lightning.lm.policy import EMBEDDED
from opid_lightning.lm.sharding import blocks_of
from opid_lightning.sampling.vllm.sampler import VLLM
from opid_lightning.training.strategies import FSDP2
from opid_lightning.training.trainer_checks import check_evaluation_is_whole, check_trainer
from tests.hub_cache import cached_on

QWEN = {"max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "initializer_range": 0.02}


@dataclass(frozen=True)
class Published:
    """What the model's card says, and its architecture."""

    config: PreTrainedConfig
    billions: float
    billions_without_embeddings: float


MODELS = {
    "Qwen/Qwen2.5-3B-Instruct": Published(
        Qwen2Config(
            hidden_size=2048,
            intermediate_size=11008,
            num_hidden_layers=36,
            num_attention_heads=16,
            num_key_value_heads=2,
            vocab_size=151936,
            tie_word_embeddings=True,
            **QWEN,
        ),
        3.09,
        2.77,
    ),
    "Qwen/Qwen2.5-7B-Instruct": Published(
        Qwen2Config(
            hidden_size=3584,
            intermediate_size=18944,
            num_hidden_layers=28,
            num_attention_heads=28,
            num_key_value_heads=4,
            vocab_size=152064,
            tie_word_embeddings=False,
            **QWEN,
        ),
        7.61,
        6.53,  # the head's weights, apart from the embedding's here, are counted as embeddings
    ),
    "Qwen/Qwen3-1.7B": Published(
        Qwen3Config(
            hidden_size=2048,
            intermediate_size=6144,
            num_hidden_layers=28,
            num_attention_heads=16,
            num_key_value_heads=8,
            head_dim=128,
            vocab_size=151936,
            tie_word_embeddings=True,
            **QWEN,
        ),
        1.7,
        1.4,
    ),
}

# What each wants to be told besides the analyst's model.
WANTED = {
    "alfworld": (),
    "webshop": ("env.data=shop",),
    "search": ("env.train_questions=train.jsonl", "env.valid_seen_questions=test.jsonl"),
}


@pytest.fixture(autouse=True)
def _key_and_hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "no-key")
    cached_on(tmp_path_factory.mktemp("hub"), monkeypatch, *MODELS)
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    for name in ("train.jsonl", "test.jsonl"):  # of WANTED
        Path(name).touch()


class Built(OPIDCLI):
    """Trainer, module, data module and callbacks as `fit` builds them, and no fit."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def typed_for(recipe: str) -> list[str]:
    environment = recipe.partition("_")[0]
    return [f"conf={environment}", f"recipe={recipe}", *WANTED[environment]]


def built(folder: Path, recipe: str, *typed: str) -> Built:
    """As its header says to use it; but this machine has no GPU."""
    arguments = parse(
        "fit",
        [
            *(*typed_for(recipe), "preset=reference", "analyst=openai"),
            *("analyst.model=gpt-4o", "trainer.accelerator=cpu", *typed),
            f"trainer.default_root_dir={folder}",
        ],
    )
    return Built(arguments, configure(arguments))


def without_storage(folder: Path, recipe: str) -> Built:
    """With the published architecture, and the tokenizer of another model."""
    model = folder / "model"
    published_for(recipe).config.save_pretrained(model)
    AutoTokenizer.from_pretrained(EMBEDDED / "keydoor").save_pretrained(model)
    cli = built(folder, recipe, f"policy.path={model}", "policy.random_init=true")
    with torch.device("meta"):
        cli.model.configure_model()
    return cli


Setting = Callable[[Built], Any]
# The authors' scripts: what is said of ALFWorld with the 3B, and where others differ from it.
TABLE: dict[str, tuple[Setting, Any]] = {
    "attempts at a task": (lambda cli: cli.datamodule.rollout.group_size, 8),
    "tasks an update": (lambda cli: cli.datamodule.tasks_per_iteration, 16),
    "updates": (lambda cli: cli.trainer.max_epochs, 160),
    "prompt length": (lambda cli: cli.datamodule.rollout.max_prompt_tokens, 2048),
    "response length": (lambda cli: cli.datamodule.rollout.max_response_tokens, 512),
    "rollout temperature": (lambda cli: cli.datamodule.rollout.temperature, 1.0),
    "validation temperature": (lambda cli: cli.datamodule.evaluation.temperature, 0.4),
    # 128 of them in the scripts, other ones each time.
    "validation tasks": (lambda cli: cli.datamodule.evaluation.num_tasks, None),
    "updates between validations": (lambda cli: cli.trainer.check_val_every_n_epoch, 5),
    "most steps": (lambda cli: cli.datamodule.env.max_steps, 30),
    "history length": (lambda cli: cli.datamodule.env.history_length, 5),
    "reward of a success": (lambda cli: cli.datamodule.env.win_reward, 10.0),
    "normalisation": (lambda cli: cli.datamodule.advantage.normalise, "mean_std"),
    "episode weight": (lambda cli: cli.datamodule.method.rule.episode_weight, 0.001),
    "step weight": (lambda cli: cli.datamodule.method.rule.step_weight, 0.001),
    "gamma": (lambda cli: cli.datamodule.advantage.gamma, 0.95),
    "state weight": (lambda cli: cli.datamodule.advantage.state_weight, 0.0),
    "invalid-action penalty": (lambda cli: cli.datamodule.advantage.invalid_action_penalty, 0.1),
    "routing": (lambda cli: cli.datamodule.routing.mode, "step_priority"),
    "rows of a mini-batch": (lambda cli: cli.datamodule.batching.mini_batch_rows, 256),
    "epochs of an iteration": (lambda cli: cli.datamodule.batching.ppo_epochs, 1),
    "KL": (lambda cli: cli.model.loss.kl_weight, 0.01),
    "KL estimator": (lambda cli: cli.model.loss.kl_estimator, "k3"),
    "entropy": (lambda cli: cli.model.loss.entropy_weight, 0.001),
    "clip": (lambda cli: (cli.model.loss.clip_low, cli.model.loss.clip_high), (0.2, 0.2)),
    "dual clip": (lambda cli: cli.model.loss.dual_clip, 3.0),
    "gradient clip": (lambda cli: cli.trainer.gradient_clip_val, 1.0),
    "warm-up": (lambda cli: cli.model.warmup_iterations, 0),
    "decay": (lambda cli: cli.model.decay, "none"),
    "step skills": (lambda cli: skill_extraction(cli).analyst.max_step_skills, 5),
    "thinking": (lambda cli: cli.model.source.thinking, None),
    "model": (lambda cli: cli.model.source.path, "Qwen/Qwen2.5-3B-Instruct"),
    "activation checkpointing": (lambda cli: cli.model.activation_checkpointing, True),
    "strategy": (lambda cli: type(cli.trainer.strategy), FSDP2),
    "GPUs": (lambda cli: cli.trainer.num_devices, 8),
    "nodes": (lambda cli: cli.trainer.num_nodes, 1),
    "precision": (lambda cli: cli.trainer.precision, "bf16-mixed"),
}
QWEN3: dict[str, Any] = {
    "model": "Qwen/Qwen3-1.7B",
    "thinking": False,
    "normalisation": "mean",
    "strategy": DDPStrategy,
}
WEBSHOP: dict[str, Any] = {
    "prompt length": 4096,
    "most steps": 15,
    "history length": 2,
    "normalisation": "mean",
    "rows of a mini-batch": 64,
    "validation tasks": 500,
}
SEARCH: dict[str, Any] = {
    "tasks an update": 128,
    "updates": 150,
    "updates between validations": 150,
    "validation tasks": 512,
    "prompt length": 4096,
    "most steps": 4,
    "history length": 4,
    "reward of a success": 1.0,
    "invalid-action penalty": 0.01,
    "rows of a mini-batch": 512,
    "KL": 0.001,
    "entropy": 0.0,
    "warm-up": 15,
    "step skills": 2,
}
ELSEWHERE: dict[str, dict[str, Any]] = {
    "alfworld_qwen2.5_3b": {},
    "alfworld_qwen2.5_7b": {"model": "Qwen/Qwen2.5-7B-Instruct"},
    "alfworld_qwen3_1.7b": QWEN3,
    "webshop_qwen2.5_7b": WEBSHOP | {"model": "Qwen/Qwen2.5-7B-Instruct"},
    "webshop_qwen3_1.7b": WEBSHOP | QWEN3,
    "search_qwen2.5_3b": SEARCH,
    "search_qwen3_1.7b": QWEN3 | SEARCH | {"normalisation": "mean_std"},
}

RECIPES = pytest.mark.parametrize("recipe", ELSEWHERE)


def published_for(recipe: str) -> Published:
    return MODELS[settings_of(recipe)["model"]]


def settings_of(recipe: str) -> dict[str, Any]:
    return {name: value for name, (_, value) in TABLE.items()} | ELSEWHERE[recipe]


@RECIPES
def test_recipes_write_every_tenth_iteration_unless_other_callbacks_are_chosen(recipe: str) -> None:
    def every(*typed: str) -> object:
        callbacks = configure(parse("fit", [*typed_for(recipe), *typed])).tree["callbacks"]
        return callbacks["checkpoint"]["init_args"]["every_n_epochs"]

    assert every() == 10
    assert every("callbacks=all") == 1
    assert every("callbacks.checkpoint.every_n_epochs=2") == 2


def test_every_recipe_is_looked_at() -> None:
    assert set(groups()["recipe"]) == set(ELSEWHERE)


@RECIPES
def test_models_have_the_published_numbers_of_weights(recipe: str, tmp_path: Path) -> None:
    module = without_storage(tmp_path, recipe).model
    published = published_for(recipe)
    weights = module.policy.model.parameters()
    embeddings = {module.model.get_input_embeddings(), module.model.get_output_embeddings()}
    of_embeddings = {weight for module in embeddings for weight in module.parameters()}
    total = sum(weight.numel() for weight in weights)
    without = total - sum(weight.numel() for weight in of_embeddings)
    # Cards are rounded; a layer of the 3B has 0.08 billion.
    assert total / 1e9 == pytest.approx(published.billions, abs=0.025)
    assert without / 1e9 == pytest.approx(published.billions_without_embeddings, abs=0.025)


@RECIPES
def test_reference_and_optimizer_take_every_weight(recipe: str, tmp_path: Path) -> None:
    module = without_storage(tmp_path, recipe).model
    assert module.take_snapshot().model is module.model  # the scorer is shared, not copied
    assert module.reference is not None
    assert not any(weight.requires_grad for weight in module.reference.parameters())
    (group,) = module.configure_optimizers().param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-6, 0.01)
    assert len(group["params"]) == len([*module.reference.parameters()])
    assert {weight.dtype for weight in group["params"]} == {torch.float32}


@RECIPES
def test_models_are_sharded_layer_by_layer(recipe: str, tmp_path: Path) -> None:
    model = without_storage(tmp_path, recipe).model.policy.model
    assert len(blocks_of(model)) == published_for(recipe).config.num_hidden_layers
    assert model.is_gradient_checkpointing


def skill_extraction(cli: Built) -> SkillExtraction:
    (found,) = (c for c in cli.trainer.callbacks if isinstance(c, SkillExtraction))
    return found


@RECIPES
def test_recipes_say_what_the_authors_scripts_say(recipe: str, tmp_path: Path) -> None:
    cli = built(tmp_path, recipe)
    assert {name: setting(cli) for name, (setting, _) in TABLE.items()} == settings_of(recipe)


@RECIPES
def test_recipes_are_built_with_their_own_parts_and_a_valid_trainer(
    recipe: str, tmp_path: Path
) -> None:
    cli = built(tmp_path, recipe)
    check_trainer(cli.trainer)
    check_evaluation_is_whole(cli.trainer, "fit")
    assert isinstance(cli.datamodule.sampler, VLLM)
    assert isinstance(skill_extraction(cli).analyst, OpenAI)


@RECIPES
def test_a_recipe_alone_brings_its_method_and_its_analyst(recipe: str) -> None:
    short, long = (
        configure(parse("fit", [*typed_for(recipe), *more])).tree
        for more in ([], ["preset=reference", "analyst=openai", "method=opid"])
    )
    assert short == long


@RECIPES
def test_what_is_compared_with_opid_is_still_chosen_by_its_group(recipe: str) -> None:
    typed = [*typed_for(recipe), "method=grpo"]
    rule = configure(parse("fit", typed)).tree["method"]["rule"]
    assert rule["init_args"] == {"episode_weight": 0.0, "step_weight": 0.0}
