"""What was typed is what is meant: the type of a setting decides how its text is read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from opid_lightning.cli.config.names import place_of, value_at
from opid_lightning.cli.config.typed_values import (
    NULLS,
    QUOTED,
    Dumper,
    dumped,
    read_as,
    read_plain,
)
from opid_lightning.cli.verbs.table import main

# Each is a number, a date or a boolean to YAML 1.1, or no YAML at all.
TRAPS = (
    *("2026_11_28", "1:12:00:00", "0123", "no", "on", "1e5", "2026-11-28", "0x10", "=", "1_000"),
    *("123", "true", "1.5", "a: b", "a #b", "[1", "{a: b}", "!tag", "*a", "- x", " x ", "", ".inf"),
)


def composed(*typed: str) -> dict[str, Any]:
    """The configuration that would run, as it is printed and saved."""
    out, complaint = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(complaint), pytest.raises(SystemExit) as stopped:
        main(["fit", *typed, "--print_config"])
    assert stopped.value.code == 0
    printed: dict[str, Any] = yaml.safe_load(out.getvalue())
    return printed


def means_itself(text: str) -> bool:
    return text.strip() not in NULLS and not QUOTED.fullmatch(text)


@given(st.one_of(st.text(), st.sampled_from(TRAPS)).filter(means_itself))
def test_any_text_for_a_setting_of_text_arrives_unchanged(text: str) -> None:
    assert read_as(text, str) == text
    assert read_as(text, str | None) == text
    assert read_as(text, str | Path | None) == text


class Named:
    """Something with settings of text, as loggers have them."""

    def __init__(self, name: str = "", comment: str | None = None) -> None:
        self.name, self.comment = name, comment


# YAML cannot hold other control characters, in quotes or not, but escaped.
@settings(max_examples=60)
@given(st.one_of(st.text(st.characters(exclude_categories=["C"])), st.sampled_from(TRAPS)))
def test_a_saved_text_is_read_again_as_it_was(text: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--named", type=Named)
    tree = {"named": {"class_path": f"{__name__}.Named", "init_args": {"name": text}}}
    for _ in range(2):
        parsed = parser.parse_args(["--config", dumped(tree)])
        assert parsed.named.init_args.name == text
        tree = yaml.safe_load(yaml.dump(parsed.as_dict(), Dumper=Dumper))
        tree.pop("config")


def test_texts_reach_the_run_and_its_saved_configuration_reads_the_same(tmp_path: Path) -> None:
    typed = {
        "logger.wandb.name": "1e5",
        "logger.wandb.project": "2026_11_28",
        "policy.path": "123",
        "trainer.max_time": "00:12:00:00",
        "callbacks.checkpoint.dirpath": "0123",
        "callbacks.hf_export.folder": "no",
    }
    lines = [f"{key}={text}" for key, text in typed.items()]
    first = composed("conf=keydoor", "logger=wandb", *lines)
    saved = tmp_path / "config.yaml"
    saved.write_text(dumped(first))
    for tree in (first, composed("--config", str(saved))):
        assert {key: value_at(tree, place_of(key)) for key in typed} == typed


def test_a_text_inside_a_typed_mapping_or_list_stays_one() -> None:
    printed = composed(
        "conf=keydoor",
        "callbacks.checkpoint={dirpath: 2026, save_top_k: 2}",
        "rollout.stop=[no, 123, 'a b']",
    )
    checkpoint = printed["callbacks"]["checkpoint"]["init_args"]
    assert (checkpoint["dirpath"], checkpoint["save_top_k"]) == ("2026", 2)
    assert printed["data"]["rollout"]["stop"] == ["no", "123", "a b"]


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("007", int, 7),
        ("1e-5", float, 1e-5),
        ("null", str, None),
        ("~", int | None, None),
        ('"null and void"', str, "null and void"),
        ("true", bool, True),
        ("2", list[int] | str | int, 2),
        ("auto", list[int] | str | int, "auto"),
        ("[0, 1]", list[int] | str | int, [0, 1]),
        ("{days: 1}", str | Mapping[str, int] | None, {"days": 1}),
        ("true", Literal["auto", "on"], "true"),
        # What the setting then refuses.
        ("1_000", int, "1_000"),
        ("0x10", int, "0x10"),
        ("yes", bool, "yes"),
        ("", int, ""),
    ],
)
def test_what_is_no_text_is_read_as_yaml_1_2(text: str, hint: Any, value: Any) -> None:
    read = read_as(text, hint)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("rollout.group_size=1_000", "rollout.group_size is '1_000'. Expected int."),
        ("rollout.group_size=0x10", "rollout.group_size is '0x10'. Expected int."),
        ("rollout.group_size=[1", "'rollout.group_size=[1' is not YAML"),
        (
            "model.activation_checkpointing=yes",
            "model.activation_checkpointing is 'yes'. Expected true or false.",
        ),
        ("policy.thinking=off", "policy.thinking is 'off'. Expected true or false or null."),
    ],
)
def test_a_number_is_decimal_and_a_boolean_true_or_false(
    capsys: pytest.CaptureFixture[str], typed: str, said: str
) -> None:
    assert main(["fit", "conf=keydoor", typed]) == 2
    assert said in capsys.readouterr().err


def test_without_a_type_yaml_1_2_decides() -> None:
    assert read_plain("{a: no, b: 1_0, c: 0123, d: 2026-11-28, e: 1e5, f: ~}") == {
        "a": "no",
        "b": "1_0",
        "c": "0123",
        "d": "2026-11-28",
        "e": 1e5,
        "f": None,
    }
