"""`list` and `--help`: what there is to choose and to set, told without waiting."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest

from opid_lightning.cli.config.choices import CONF, configurations, groups
from opid_lightning.cli.config.names import PLACES
from opid_lightning.cli.config.signatures import parameters_in
from opid_lightning.cli.verbs.listing import TITLES, summary
from opid_lightning.cli.verbs.table import VERBS, main
from opid_lightning.envs.alfworld import ALFWorld
from opid_lightning.method.loss import Loss
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.training.module import OPIDModule
from tests.cli.test_runs import modules_after

HEAVY = {"torch", "lightning", "hydra", "omegaconf", "jsonargparse", "transformers"}
FILES = [path for path in sorted(CONF.glob("**/*.yaml")) if "shared" not in path.parts]


def said(capsys: pytest.CaptureFixture[str], *typed: str) -> str:
    assert main(typed) == 0
    return capsys.readouterr().out


def test_all_that_conf_offers_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "list").splitlines()
    names = {line.split()[0] for line in lines if line.startswith("  ")}
    assert names == {*configurations(), *(each for names in groups().values() for each in names)}
    titles = [line.split(":")[0] for line in lines if line and not line.startswith(" ")]
    assert titles == [*TITLES.values(), "callbacks"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_of_conf_says_in_a_line_what_it_is(path: Path) -> None:
    assert len(summary(path)) > 15
    assert not summary(path).endswith((",", " the", " a", " of"))


@pytest.mark.parametrize("word", ["method", "methods"])
def test_one_group_is_listed_alone(capsys: pytest.CaptureFixture[str], word: str) -> None:
    lines = said(capsys, "list", word).splitlines()
    assert lines[0] == "methods: method=NAME"
    assert [line.split()[0] for line in lines[1:]] == groups()["method"]
    assert "Group-relative outcome alone." in "\n".join(lines)


@pytest.mark.parametrize("by_folder", [True, False])
def test_a_folder_of_your_own_is_listed_with_ours(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, by_folder: bool
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("# What I run.\ndefaults: [keydoor, _self_]\n")
    for group, name in (("sampler", "ours"), ("method", "grpo"), ("school", "first")):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.yaml").write_text(f"# Our own {group}.\nx: 1 # no\n")
    text = said(capsys, "list", f"conf={tmp_path if by_folder else mine}")
    for expected in (f"{mine}  What I run.", "Our own sampler.", "Our own method.", "school=NAME"):
        assert expected in text
    assert "Group-relative outcome alone." not in text  # theirs wins, as it does in a run
    assert "keydoor" in text


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["list", "methodd"], "There is no group 'methodd' in conf/. Did you mean 'method'?"),
        (["list", "rollout.group_size=3"], "list does not take rollout.group_size=3."),
        (["list", "--print_config"], "list does not take --print_config."),
        (["list", "conf=nowhere"], "There is no configuration conf=nowhere."),
        (["fit", "--help=rolout"], "There is no help on 'rolout'. Did you mean 'rollout'?"),
    ],
)
def test_what_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str], typed: list[str], message: str
) -> None:
    assert main(typed) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("typed", [["list"], ["list", "method"], ["fit", "--help"]])
def test_nothing_heavy_is_imported_for_it(typed: list[str]) -> None:
    loaded = modules_after(f"import opid_lightning.cli.verbs.table as v; v.main({typed})")
    assert "opid_lightning.cli.verbs.listing" in loaded
    assert not HEAVY & loaded


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_help_begins_with_our_groups(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    text = said(capsys, verb, "--help")
    assert f"usage: python -m opid_lightning {verb} " in text
    lines = text[text.index("\ngroups\n") :].splitlines()[2:]
    listed = [line.split()[0] for line in lines[: lines.index("")]]
    assert listed == [*PLACES, "model", "data", "callbacks", "logger", "trainer"]
    assert "  rollout.group_size " in text
    assert "init_args" not in text


@pytest.mark.parametrize("typed", [["--help=rollout"], ["--help", "rollout"]])
def test_help_on_a_group_has_its_settings_alone(
    capsys: pytest.CaptureFixture[str], typed: list[str]
) -> None:
    first, *lines = said(capsys, "fit", *typed).splitlines()
    assert first == "rollout: how tasks are played"
    names = [line.split()[0] for line in lines]
    assert names == [f"rollout.{field.name}" for field in dataclasses.fields(Rollout)]
    assert "int = 2048    longest prompt, skill included" in lines[1]


def test_help_on_a_choice_has_every_class(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "fit", "--help=env")
    for expected in ("env=webshop: ", "env.results_per_page ", "env.prompt_style ", "env.topk "):
        assert expected in text
    assert "instructive|brief = instructive" in text
    assert "callbacks.checkpoint.monitor " in said(capsys, "fit", "--help=callbacks")
    assert "callbacks.skill_extraction.analyst " not in said(capsys, "fit", "--help=callbacks")
    assert "save_dir" not in said(capsys, "fit", "--help=logger")  # the run gives it
    assert "fsdp2" in said(capsys, "fit", "--help=strategy")


@pytest.mark.parametrize("kind", [Rollout, Loss, ALFWorld, OPIDModule])
def test_what_is_read_from_the_source_is_what_the_class_takes(kind: type) -> None:
    read = parameters_in(f"{kind.__module__}.{kind.__qualname__}")
    names = [each.name for each in read if "." not in each.name]
    assert names == list(inspect.signature(kind).parameters)
    required = {
        name
        for name, each in inspect.signature(kind).parameters.items()
        if each.default is each.empty
    }
    assert {each.name for each in read if each.default is None and "." not in each.name} == required


def test_the_full_help_is_lightnings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["fit", "--help=all"])
    assert end.value.code == 0
    assert "--trainer.max_epochs" in capsys.readouterr().out


def test_every_verb_has_a_line_in_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--help")
    assert all(f"  {verb} " in text for verb in VERBS)
