"""Every setting of a run with values that it cannot have; benchmarks/fuzz_settings.py types them.

Here null is held against the type of each setting, and each class is given numbers that no setting
can have: both without starting a run for each.
"""

from __future__ import annotations

import copy
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from opid_lightning.cli.config.arguments import parse
from opid_lightning.cli.config.configuration import Configuration, configure
from opid_lightning.cli.config.fitting import fitted
from opid_lightning.cli.config.hints import hint_of, types_of
from opid_lightning.cli.config.names import Tree, leaves_of, place_of, set_key, short, to_places
from opid_lightning.cli.config.typed_values import members, takes_null
from opid_lightning.cli.errors import UsageError
from opid_lightning.cli.verbs.table import main
from opid_lightning.cli.verbs.training import OPIDCLI
from opid_lightning.envs.workers import Workers
from opid_lightning.hindsight.analysts.rules import Rules
from opid_lightning.lm.lora import LoRA
from opid_lightning.method.advantage import Advantage
from opid_lightning.method.batching import Batching
from opid_lightning.method.critical_steps import CriticalSteps
from opid_lightning.method.loss import Loss
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.training.evaluation import Evaluation

BASES = (
    ("conf=keydoor", "logger=wandb", "strategy=fsdp2"),
    ("conf=alfworld", "analyst=openai", "analyst.model=x", "sampler=vllm"),
    ("conf=search", "analyst=vllm_server", "analyst.model=x", "sampler=vllm_server"),
    ("conf=webshop", "analyst=self", "sampler=scripted", "policy.lora={rank: 2}"),
)
NAN, INFINITY = float("nan"), float("inf")
# Any whole number is one.
FREE = {"seed", "init_seed", "games_seed", "goals_seed", "catalogue_seed", "world_seed"}


class FoundError(Exception):
    """Not an error: the parser of all settings, before it parses."""


class Reader(OPIDCLI):
    def parse_arguments(self, parser: Any, args: Any) -> None:
        raise FoundError(self._parser("fit"))


def read(*typed: str) -> tuple[Configuration, Tree, Any]:
    arguments = parse("fit", typed)
    configuration = configure(arguments)
    with pytest.raises(FoundError) as found:
        Reader(arguments, configuration)
    # What was typed would be read, and laid, once more.
    composed = replace(configuration, typed=())
    return composed, to_places(configuration.resolved()), found.value.args[0]


def classes_of(tree: Any) -> Iterator[type]:
    """Those that a tree names, and the stages, which it does not have to name."""
    yield from (Advantage, Batching, CriticalSteps, Evaluation, Loss, LoRA, Rollout, Workers)
    for key, value in leaves_of(tree):
        if key.endswith("class_path") and value.startswith("opid_lightning."):
            owner = pkgutil.resolve_name(value)
            if not issubclass(owner, ModelCheckpoint):  # which Lightning checks in its own words
                yield owner


@pytest.mark.parametrize("typed", BASES, ids=lambda typed: typed[0])
def test_null_is_refused_by_name_wherever_the_type_has_none(typed: tuple[str, ...]) -> None:
    configuration, placed, parser = read(*typed)
    keys = {short(key) for key, _ in leaves_of(placed)} | {
        short(key) for key in types_of(parser) if key.split(".")[0] in ("trainer", "model", "data")
    }
    num_refused = 0
    for key in sorted(keys - {"data.seed"}):
        place = place_of(key)
        hint = hint_of(parser, placed, place)
        if place.endswith("class_path") or (hint is not None and not takes_null(hint)):
            tree = copy.deepcopy(placed)
            set_key(tree, place, None)
            with pytest.raises(UsageError, match=rf"{re.escape(key)} is null\. Expected"):
                fitted(configuration, tree, parser, place_of)
            num_refused += 1
    assert num_refused > 60


@pytest.mark.parametrize("typed", BASES, ids=lambda typed: typed[0])
def test_no_class_takes_a_number_that_no_setting_can_have(typed: tuple[str, ...]) -> None:
    _, placed, _ = read(*typed)
    for owner in classes_of(placed):
        for name, hint in get_type_hints(owner.__init__).items():
            kinds = set(members(hint))
            bad = (NAN, INFINITY, -INFINITY, -1e6) if float in kinds else (-(10**6), 10**30)
            if name in FREE or not kinds & {int, float}:
                continue
            for value in bad:
                with pytest.raises(ValueError, match=rf"\.?{name} is {value}; expected"):
                    owner(**{**required(owner), name: value})


def required(owner: type) -> dict[str, Any]:
    values = {"replies": ("x",), "model": "x", "path": "x", "analyst": Rules(), "base_url": None}
    parameters = inspect.signature(owner).parameters
    return {
        name: values[name]
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and name in values
    }


@pytest.mark.parametrize("group", ["env", "model", "sampler", "analyst", "method", "strategy"])
def test_a_group_without_which_nothing_runs_is_not_null(
    capsys: pytest.CaptureFixture[str], group: str
) -> None:
    assert main(["fit", "conf=keydoor", f"{group}=null"]) == 2
    assert (
        f"Group {group!r} has no choice 'null'. A run needs one. There are: "
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trainer.limit_train_batches=0.5", "trainer.limit_train_batches is 0.5"),
        ("trainer.limit_train_batches=1", "trainer.limit_train_batches is 1"),
        ("trainer.overfit_batches=2", "trainer.overfit_batches is 2"),
        ("trainer.fast_dev_run=true", "trainer.fast_dev_run is True"),
        ("trainer.use_distributed_sampler=true", "trainer.use_distributed_sampler is True"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val is -1"),
        ("trainer.gradient_clip_val=.nan", "trainer.gradient_clip_val is nan"),
        ("trainer.log_every_n_steps=0", "trainer.log_every_n_steps is 0"),
        ("trainer.check_val_every_n_epoch=-1", "trainer.check_val_every_n_epoch"),
        ("trainer.accelerator=gpus", "trainer.accelerator: You selected an invalid accelerator"),
        ("trainer.strategy=fast", "trainer.strategy: You selected an invalid strategy name"),
        ("trainer.devices=-1", "trainer.devices: `devices` selected with `CPUAccelerator`"),
        ("trainer.num_nodes=null", "trainer.num_nodes is null. Expected int"),
        ("trainer.num_nodes=0", "trainer.num_nodes: `num_nodes` must be a positive integer"),
        ("trainer.max_time=text", "trainer.max_time: `Timer(duration='text')`"),
        ("trainer.min_epochs=-1", "trainer.min_epochs is -1; expected at least 0"),
        ("optimizer.lr=-1", "optimizer.lr: a step on one weight fails: Invalid learning rate"),
        ("optimizer.lr=.inf", "optimizer.lr is inf"),
        ("optimizer.maximize=true", "optimizer.maximize is True"),
        ("optimizer.differentiable=true", "optimizer.differentiable: a step on one weight fails"),
        ("rollout.temperature=0", "rollout.temperature is 0.0; expected more than 0"),
        ("rollout=null", "rollout=null would replace all settings of rollout"),
        ("callbacks.skill_extraction.statistics=0", "statistics is 0. Expected its settings one"),
        ("callbacks.skill_extraction.statistics=null", "statistics is null. Expected its settings"),
        ("optimizer.eps=0", "optimizer.eps is 0.0; expected more than 0"),
        ("seed_everything=-1", "seed_everything is -1; expected at least 0"),
        ("policy.init_seed=99999999999", "policy.init_seed is 99999999999; expected"),
        ("policy.path=nowhere", "policy.path: no model directory at 'nowhere'"),
        ("trainer.num_nodes=9999999", "trainer.num_nodes is 9999999; expected at most"),
        ("ckpt_path=text", "ckpt_path=text: there is no such checkpoint"),
        ("callbacks.checkpoint=null", "~callbacks.checkpoint takes it away"),
        ("trainer.max_epochs=0", "trainer.max_epochs is 0, which leaves nothing to train"),
        ("model.decay=linear trainer.max_epochs=-1", "model.decay=linear ends at trainer.max_epo"),
        ("data.tasks_per_iteration=100000", "data.tasks_per_iteration is 100000, but Keydoor"),
        ("env.class_path=text", "env.class_path is 'text'. Expected the path of a class"),
    ],
)
def test_what_would_make_a_run_wrong_is_refused_at_its_start(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, typed: str, said: str
) -> None:
    folder = f"trainer.default_root_dir={tmp_path}"
    assert main(["fit", "conf=keydoor", "trainer.accelerator=cpu", folder, *typed.split()]) == 2
    message = capsys.readouterr().err.partition("opid_lightning: ")[2]
    assert said in message
    # Of a checkpoint that is not there, and of a folder of weights, the message names the place.
    if typed.split("=")[0] not in ("ckpt_path", "rollout"):
        assert "Set on the command line: " in message
    assert not list(tmp_path.glob("*.csv"))  # nothing was played
