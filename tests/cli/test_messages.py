"""What cannot be run ends with code 2 and one message: what, what instead, and where it was set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from opid_lightning.cli.errors import PACKAGE, is_for_the_user
from opid_lightning.cli.verbs.table import main
from opid_lightning.rollout.rollout import Rollout
from tests.lm.brought import copied, rewrite_weights


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("ALFWORLD_DATA", "OPENAI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)


def complaint(capsys: pytest.CaptureFixture[str], *typed: str) -> str:
    assert main(typed) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert message.count("opid_lightning:") == 1
    return message.split("opid_lightning: ")[1]


def composed(capsys: pytest.CaptureFixture[str], *typed: str) -> dict[str, dict[str, object]]:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *typed, "--print_config"])
    assert stopped.value.code == 0
    printed: dict[str, dict[str, object]] = yaml.safe_load(capsys.readouterr().out)
    return printed


def test_a_misspelt_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, "ft") == "There is no verb 'ft'. Did you mean 'fit'?\n"


@pytest.mark.parametrize(
    ("typed", "name", "meant"),
    [
        ("rollout.group_sze=3", "rollout.group_sze", "rollout.group_size"),
        ("--rollout.group_sze=3", "rollout.group_sze", "rollout.group_size"),
        ("trainer.max_epoch=3", "trainer.max_epoch", "trainer.max_epochs"),
        ("env.max_step=3", "env.max_step", "env.max_steps"),
        ("data.env.init_args.max_step=3", "env.max_step", "env.max_steps"),
        ("analyst.max_step_skill=3", "analyst.max_step_skill", "analyst.max_step_skills"),
        ("optimizer.lrr=3", "optimizer.lrr", "optimizer.lr"),
        ("smpler=hf", "smpler", "sampler"),
        ("loss.clip_lo={}", "loss.clip_lo", "loss.clip_low"),
        ("callbacks.stagetimer.x=3", "callbacks.stagetimer", "callbacks.stage_timer"),
        (
            "callbacks.trajectory_log.every_n=3",
            "callbacks.trajectory_log.every_n",
            "callbacks.trajectory_log.every_n_iterations",
        ),
    ],
)
def test_an_unknown_setting_is_named_with_the_nearest_one(
    capsys: pytest.CaptureFixture[str], typed: str, name: str, meant: str
) -> None:
    assert complaint(capsys, "fit", "conf=keydoor", typed) == (
        f"There is no setting {name!r}. Did you mean {meant!r}?\n"
        f"  Set on the command line: {typed.removeprefix('--')}\n"
    )


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("rollout.group_size=three", "rollout.group_size is 'three'. Expected int."),
        ("trainer.max_epochs=many", "trainer.max_epochs is 'many'. Expected int or null."),
        ("env.max_steps=x", "env.max_steps is 'x'. Expected int."),
        ("optimizer.lr=fast", "optimizer.lr is 'fast'. Expected float."),
        ("advantage.over=turns", "advantage.over is 'turns'. Expected one of 'trajectories', "),
        (
            "callbacks.trajectory_log.every_n_iterations=x",
            "callbacks.trajectory_log.every_n_iterations is 'x'. Expected int.",
        ),
        ("env.class_path=no.Such", "env: No module named 'no'"),
        ("env.class_path=opid_lightning.rollout.rollout.Rollout", "does not implement Environment"),
        ("data.seed=3", "It follows seed_everything."),
        ("trainer.logger=false", "Use logger=csv"),
        ("trainer.foo=1", "There is no setting 'trainer.foo'. There are: trainer.accelerator, "),
        ("data.sed=1", "There is no setting 'data.sed'. Did you mean 'env.seed'"),
        ("logger.csv.save_dir=x", "It is the run's folder: set trainer.default_root_dir."),
        ("logger.csv.foo=1", "There is no setting 'logger.csv.foo'. There are none."),
        ("logger.csv=3", "logger.csv is 3. Expected an object with a class_path; ~logger.csv"),
        ("callbacks.stage_timer=3", "callbacks.stage_timer is 3. Expected an object with a class"),
        ("optimizer.params=3", "The run gives it the policy's weights."),
        (
            "callbacks.skill_extraction.statistics.variance_quantile=.nan",
            "callbacks.skill_extraction.statistics.variance_quantile is nan; expected",
        ),
        ("trainer.barebones=true", "trainer.barebones is True; expected False"),
        ("trainer.enable_checkpointing=false", "take that away, too, by ~callbacks.checkpoint."),
        ("trainer.enable_progress_bar=false", "take that away, too, by ~callbacks.progress_bar."),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(
    capsys: pytest.CaptureFixture[str], typed: str, said: str
) -> None:
    message = complaint(capsys, "fit", "conf=keydoor", typed)
    assert said in message
    assert message.endswith(f"Set on the command line: {typed}\n")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("rollout.group_size=0", "rollout.group_size is 0"),
        ("env.max_steps=0", "env.max_steps is 0"),
        ("advantage.gamma=-1", "advantage.gamma"),
        ("method.rule.step_weight=-1", "method.rule.step_weight"),
        ("method.clip_delta=-1", "method.clip_delta"),
        ("analyst.max_step_skills=-1", "max_step_skills is -1"),
        ("callbacks.trajectory_log.every_n_iterations=0", "every_n_iterations is 0"),
    ],
)
def test_a_value_out_of_range_is_named(
    capsys: pytest.CaptureFixture[str], typed: str, said: str
) -> None:
    message = complaint(capsys, "fit", "conf=keydoor", typed)
    assert said in message
    assert message.endswith(f"Set on the command line: {typed}\n")


def test_a_mistake_in_a_file_is_named_with_the_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("defaults: [keydoor, _self_]\nrollout: {group_sze: 3}\n")
    assert complaint(capsys, "fit", f"conf={mine}").endswith(f"Set in {mine}\n")
    mine.write_text("defaults: [keydoor, _self_]\nrollout: {group_size: three}\n")
    assert complaint(capsys, "fit", f"conf={mine}").endswith(f"Set in {mine}\n")


def test_settings_of_an_analyst_that_nobody_calls(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ("~callbacks.skill_extraction", "analyst=openai")
    assert "analyst=openai" in complaint(capsys, "fit", "conf=keydoor", *typed)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["preset=tiny", "analyst=openai"], "analyst.model"),
        (["env.class_path=needing.Needing"], "env.size"),
    ],
)
def test_what_a_class_requires_is_named_as_it_is_typed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: list[str],
    named: str,
) -> None:
    """`model` alone is the policy's."""
    (tmp_path / "needing.py").write_text(
        "from opid_lightning.envs.keydoor import Keydoor\n\n\n"
        "class Needing(Keydoor):\n"
        "    def __init__(self, size: int) -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    said = complaint(capsys, "fit", "conf=keydoor", *typed)
    assert f"{named} is not set. Set {named}=VALUE." in said


def test_an_analyst_without_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ("analyst=openai", "analyst.model=some")
    assert "OPENAI_API_KEY" in complaint(capsys, "fit", "conf=keydoor", *typed)


def test_missing_games_stop_the_run_at_its_start(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in complaint(capsys, "fit", "conf=alfworld")
    assert not list(tmp_path.glob("runs/*/*/config.yaml"))


def test_a_value_that_lightning_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert "max_epochs" in complaint(capsys, "fit", "conf=keydoor", "trainer.max_epochs=-5")


def test_errors_of_our_own_are_for_the_user_and_others_are_bugs() -> None:
    with pytest.raises(ValueError, match="group_size") as ours:
        Rollout(group_size=0)
    with pytest.raises(ValueError, match="Expecting value") as foreign:
        json.loads("")
    assert is_for_the_user(ours.value)
    assert not is_for_the_user(foreign.value)


@pytest.mark.parametrize(
    ("line", "is_message"),
    [
        ("raise ValueError('rollout.group_size is 0; expected at least 1')", True),
        ("raise ValueError('env.data has no file x') from OSError()", True),
        ("max([])", False),
        ("int('twelve')", False),
        ("one, two = (1,)", False),
        ("list(zip([1], [], strict=True))", False),
        ("bytes([255]).decode()", False),
        ("__import__('numpy').zeros(3).reshape(2)", False),
    ],
)
def test_a_bug_in_a_line_of_ours_is_no_message(line: str, is_message: bool) -> None:
    with pytest.raises(ValueError) as raised:
        exec(compile(line, str(PACKAGE / "made_up.py"), "exec"))
    assert is_for_the_user(raised.value) == is_message


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("commands=-",), "Which game?"),
        (("game=nowhere", "commands=-"), "There is no game=nowhere"),
        (("game=0", "commands=-"), "Numbers go from 1 to 64"),
        (("game=held", "commands=-"), "There is no game=held. There are: start"),
        (("game=x", "trainer.max_epochs=3"), "play does not use trainer.max_epochs=3"),
        (("game=x", "env.max_stps=3"), "Did you mean 'env.max_steps'"),
        (("game=x", "env.max_steps=0"), "env.max_steps is 0"),
        (("game=x", "env.max_steps=x"), "env.max_steps is 'x'. Expected int"),
    ],
)
def test_what_cannot_be_played(
    capsys: pytest.CaptureFixture[str], typed: tuple[str, ...], said: str
) -> None:
    assert said in complaint(capsys, "play", "conf=keydoor", *typed)


def test_all_spellings_reach_the_same_place(capsys: pytest.CaptureFixture[str]) -> None:
    printed = [
        composed(capsys, "conf=keydoor", *typed, "trainer.default_root_dir=x")
        for typed in (
            ["env.max_steps=9", "advantage.gamma=0.5", "method.rule.step_weight=0.5"],
            ["--env.max_steps=9", "--advantage.gamma", "0.5", "--method.rule.step_weight=0.5"],
            [
                "data.env.init_args.max_steps=9",
                "data.advantage.gamma=0.5",
                "data.method.rule.init_args.step_weight=0.5",
            ],
            [
                *("--data.env.max_steps", "9", "advantage={gamma: 0.5}"),
                *("--data.method.rule.step_weight", "0.5"),
            ],
        )
    ]
    assert printed[0]["data"]["advantage"]["gamma"] == 0.5  # type: ignore[index]
    assert printed[0]["data"]["method"]["rule"]["init_args"]["step_weight"] == 0.5  # type: ignore[index]
    assert printed[0]["data"]["env"]["init_args"]["max_steps"] == 9  # type: ignore[index]
    assert all(other == printed[0] for other in printed)


def test_what_is_printed_is_what_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    printed = composed(capsys, "conf=keydoor", "rollout.group_size=3")
    saved = tmp_path / "saved.yaml"
    saved.write_text(yaml.safe_dump(printed))
    again = composed(capsys, "--config", str(saved))
    root = printed["trainer"].pop("default_root_dir"), again["trainer"].pop("default_root_dir")
    assert Path(str(root[0])).parent == Path(str(root[1])).parent
    assert again == printed


def test_help_names_verbs_configurations_and_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("validate", "conf=alfworld|keydoor", "sampler=hf"))


def test_a_policy_that_cannot_be_trained_is_refused_in_one_message(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = copied(tmp_path / "model")
    rewrite_weights(folder, lambda w: {name: w[name] for name in w if "up_proj" not in name})
    typed = ("fit", "conf=keydoor", f"policy.path={folder}", "trainer.max_epochs=1")
    assert "lack 4 of 39 tensors" in complaint(capsys, *typed)
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'][0]['text'] }}<|end|>")
    assert "chat template of" in complaint(capsys, *typed, "policy.random_init=true")
