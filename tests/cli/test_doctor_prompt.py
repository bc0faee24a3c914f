"""Whether the prompt of a configuration fits its policy, as doctor says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from opid_lightning.cli.doctor.parts import Parts
from opid_lightning.cli.verbs.table import main
from tests.lm.brought import copied


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)


def prompt_line(capsys: pytest.CaptureFixture[str], *typed: str) -> str:
    main(["doctor", *typed])
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line[17:].startswith("prompt")]
    return line


def test_tokenizer_template_and_environment_are_checked_to_fit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert prompt_line(capsys, "conf=keydoor").startswith("ok ")
    folder = copied(tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{{ 'hello' }}")
    said = prompt_line(capsys, "conf=keydoor", f"model={folder}", "policy.random_init=true")
    assert said.startswith("broken") and "does not show the message" in said


def test_the_check_of_the_prompt_needs_no_weights(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = copied(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    assert prompt_line(capsys, "conf=keydoor", f"model={folder}").startswith("ok ")


def test_a_prompt_that_waits_for_something_else_is_not_broken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = prompt_line(capsys, "conf=alfworld", "env.games_cache=nowhere", "~logger")
    assert said.startswith("optional-missing") and "generates the games" in said
    said = prompt_line(capsys, "conf=keydoor", "model=./nowhere")
    assert said.startswith("optional-missing") and "not checked: policy.path" in said


def test_settings_within_settings_reach_their_objects() -> None:
    tree = {"env": {"class_path": "opid_lightning.envs.search.SearchQA"}}
    tree["env"]["init_args"] = {"retriever": {"url": "http://127.0.0.1:1"}}  # type: ignore[assignment]
    assert Parts(tree).build("env").retriever.url == "http://127.0.0.1:1"
