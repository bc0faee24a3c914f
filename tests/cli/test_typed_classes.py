"""A class typed as a value is that class, with the settings that are typed for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from opid_lightning.cli.config.arguments import parse
from opid_lightning.cli.config.configuration import configure
from opid_lightning.cli.verbs.table import main

SGD = "torch.optim.SGD"


def optimizer_of(*typed: str) -> Any:
    return configure(parse("fit", ("conf=keydoor", *typed))).resolved()["optimizer"]


@pytest.mark.parametrize(
    "typed",
    [
        ("optimizer=torch.optim.SGD", "optimizer.lr=0.1"),
        ("optimizer.lr=0.1", "optimizer=torch.optim.SGD"),
        ("--optimizer.lr=0.1", "--optimizer=torch.optim.SGD"),
        ("--optimizer.lr", "0.1", "--optimizer", "torch.optim.SGD"),
        ("model.optimizer.lr=0.1", "model.optimizer=SGD"),
        ("optimizer.lr=0.1", "model.optimizer.class_path=torch.optim.SGD"),
        ("optimizer.lr=0.1", "optimizer={class_path: torch.optim.SGD}"),
        ("optimizer={init_args: {lr: 0.1}, class_path: torch.optim.SGD}",),
    ],
)
def test_settings_of_a_typed_class_hold_in_any_order(typed: tuple[str, ...]) -> None:
    assert optimizer_of(*typed) == {"class_path": SGD, "init_args": {"lr": 0.1}}


def test_a_class_named_as_text_in_a_file_takes_typed_settings(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("defaults: [keydoor, _self_]\noptimizer: torch.optim.SGD\n")
    tree = configure(parse("fit", (f"conf={mine}", "optimizer.lr=0.1"))).resolved()
    assert tree["optimizer"] == {"class_path": SGD, "init_args": {"lr": 0.1}}


@pytest.mark.parametrize(
    ("typed", "place", "expected"),
    [
        (
            "logger.csv.name=x logger.csv=lightning.pytorch.loggers.CSVLogger",
            ("logger", "csv"),
            {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"name": "x"}},
        ),
        (
            "callbacks.new.monitor=x callbacks.new=lightning.pytorch.callbacks.EarlyStopping",
            ("callbacks", "new"),
            {
                "class_path": "lightning.pytorch.callbacks.EarlyStopping",
                "init_args": {"monitor": "x"},
            },
        ),
        (
            "data.env.max_steps=3 data.env=vault.Vault",
            ("env",),
            {"class_path": "vault.Vault", "init_args": {"max_steps": 3}},
        ),
        (
            "analyst.path=x "
            "callbacks.skill_extraction.analyst=opid_lightning.hindsight.analysts.replay.Replay",
            ("analyst",),
            {
                "class_path": "opid_lightning.hindsight.analysts.replay.Replay",
                "init_args": {"path": "x"},
            },
        ),
        (
            "trainer.strategy.process_group_backend=gloo "
            "trainer.strategy=lightning.pytorch.strategies.DDPStrategy",
            ("trainer", "strategy"),
            {
                "class_path": "lightning.pytorch.strategies.DDPStrategy",
                "init_args": {"process_group_backend": "gloo"},
            },
        ),
        (
            "callbacks.new.inner.class_path=a.Inner callbacks.new.class_path=b.Outer",
            ("callbacks", "new"),
            {"class_path": "b.Outer", "init_args": {"inner": {"class_path": "a.Inner"}}},
        ),
    ],
)
def test_every_object_takes_a_class_and_its_settings(
    typed: str, place: tuple[str, ...], expected: Any
) -> None:
    found: Any = configure(parse("fit", ("conf=keydoor", *typed.split()))).resolved()
    for name in place:
        found = found[name]
    assert found == expected


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("optimizer.lrr=3", "There is no setting 'optimizer.lrr'. Did you mean 'optimizer.lr'?"),
        ("optimizer.momentum=abc", "optimizer.momentum is 'abc'. Expected float"),
        ("optimizer.momentum=.nan", "optimizer.momentum is nan; expected a finite number"),
    ],
)
def test_settings_of_a_typed_class_are_checked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, typed: str, said: str
) -> None:
    folder = f"trainer.default_root_dir={tmp_path}"
    assert main(["fit", "conf=keydoor", folder, typed, f"optimizer={SGD}"]) == 2
    message = capsys.readouterr().err
    assert said in message and f"Set on the command line: {typed}" in message


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("optimizer=sgd", "optimizer.class_path is 'sgd'. Expected the path of a class"),
        ("optimizer=null optimizer.lr=1", "optimizer=null leaves no place for optimizer.lr=1"),
        ("trainer.strategy.x=1 trainer.strategy=ddp", "leaves no place for trainer.strategy.x=1"),
        ("env=vault.Vault", "A class of your own is env.class_path=vault.Vault."),
        ("strategy=a.B", "A class of your own is trainer.strategy.class_path=a.B."),
    ],
)
def test_what_names_no_class_is_not_dropped_in_silence(
    capsys: pytest.CaptureFixture[str], typed: str, said: str
) -> None:
    assert main(["fit", "conf=keydoor", *typed.split()]) == 2
    assert said in capsys.readouterr().err


def test_a_typed_class_is_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    typed = [f"optimizer={SGD}", "optimizer.lr=0.1", "optimizer.momentum=0.5", "--print_config"]
    with pytest.raises(SystemExit):
        main(["fit", "conf=keydoor", *typed])
    arguments = yaml.safe_load(capsys.readouterr().out)["model"]["optimizer"]["init_args"]
    assert (arguments["lr"], arguments["momentum"]) == (0.1, 0.5)
