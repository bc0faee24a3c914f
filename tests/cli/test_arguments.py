"""Reading the command line into names and values."""

from __future__ import annotations

import pytest

from opid_lightning.cli.config.arguments import Arguments, Setting, parse
from opid_lightning.cli.errors import UsageError


@pytest.mark.parametrize(
    "typed",
    [
        ["rollout.group_size=4"],
        ["--rollout.group_size=4"],
        ["--rollout.group_size", "4"],
        ["+rollout.group_size=4"],
        ["++rollout.group_size=4"],
    ],
)
def test_a_setting_can_be_typed_in_five_ways(typed: list[str]) -> None:
    assert parse("fit", typed).settings == (Setting("rollout.group_size", "4"),)


def test_only_the_first_equals_sign_ends_the_name() -> None:
    assert parse("fit", ["ckpt_path=epoch=3-step=6.ckpt"]).setting("ckpt_path") == (
        "epoch=3-step=6.ckpt"
    )


def test_the_last_of_two_values_counts() -> None:
    assert parse("fit", ["a.b=1", "--a.b=2"]).setting("a.b") == "2"


def test_everything_has_its_place() -> None:
    typed = ["conf=alfworld", "~callbacks.checkpoint", "--print_config", "game=x", "a=1"]
    assert parse("play", typed, inputs=("game",)) == Arguments(
        verb="play",
        conf="alfworld",
        settings=(Setting("a", "1"),),
        removed=("callbacks.checkpoint",),
        flags=("--print_config",),
        inputs=(Setting("game", "x"),),
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("1e-6", 1e-6),
        ("null", None),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("{a: 1}", {"a": 1}),
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        ("epoch=3-step=6.ckpt", "epoch=3-step=6.ckpt"),
        ("${seed_everything}", "${seed_everything}"),
        ("", ""),
    ],
)
def test_values_are_yaml(text: str, value: object) -> None:
    assert Setting("a", text).value == value


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["rollout"], "'rollout' has no value"),
        (["--rollout.group_size"], "'--rollout.group_size' has no value"),
        (["a b=1"], "is not a name"),
        (["~"], "is not a name"),
        (["conf=alfworld", "--config", "x.yaml"], "give one of them"),
    ],
)
def test_what_is_neither_setting_nor_flag_is_refused(typed: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse("fit", typed)


def test_a_value_that_is_no_yaml_is_a_text_until_its_type_is_known() -> None:
    assert Setting("a.b", "[1").value == "[1"


@pytest.mark.parametrize(
    ("typed", "topic"),
    [
        ([], None),
        (["--help"], ""),
        (["-h"], ""),
        (["--help=rollout"], "rollout"),
        (["--help", "rollout"], "rollout"),
        (["--help", "conf=keydoor"], ""),
        (["conf=keydoor", "--help", "all"], "all"),
    ],
)
def test_help_may_be_of_one_group(typed: list[str], topic: str | None) -> None:
    arguments = parse("fit", typed)
    assert (arguments.help, arguments.wants_help) == (topic, topic is not None)
    assert arguments.conf == ("keydoor" if "conf=keydoor" in typed else None)
