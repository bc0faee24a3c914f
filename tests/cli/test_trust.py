"""Looking at a stranger's configuration imports nothing of theirs, and sends no key anywhere."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml

from opid_lightning.cli.config.arguments import parse
from opid_lightning.cli.config.trust import Trust
from opid_lightning.cli.doctor.analyst import check_analyst
from opid_lightning.cli.doctor.findings import State
from opid_lightning.cli.doctor.parts import Parts
from opid_lightning.cli.verbs.table import main

MODULE = "strangers_module"
ENV = "data.env"
CODE = """
from opid_lightning.envs.keydoor import Keydoor

class Env(Keydoor):
    pass
"""


@pytest.fixture(autouse=True)
def _stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    Path(f"{MODULE}.py").write_text(CODE)
    Path("env.yaml").write_text(f"class_path: {MODULE}.Env\n")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run of keydoor saves."""
    file = tmp_path_factory.mktemp("saved") / "config.yaml"
    with file.open("w") as out, redirect_stdout(out), pytest.raises(SystemExit):
        main(["fit", "conf=keydoor", "--print_config"])
    tree: dict[str, Any] = yaml.safe_load(file.read_text())
    return tree


def with_value(tree: Any, key: str, value: Any) -> Any:
    """A copy in which the setting at `key` is this."""
    name, _, rest = key.partition(".")
    return {**tree, name: with_value(tree.get(name) or {}, rest, value) if rest else value}


def looks(*typed: str) -> int | str | None:
    """The exit status."""
    try:
        return main(typed)
    except SystemExit as stopped:
        return stopped.code


VECTORS = [
    (ENV, {"class_path": f"{MODULE}.Env"}),
    (ENV, {"class_path": f"{MODULE}:Env"}),
    (ENV, f"{MODULE}.Env"),
    (ENV, "env.yaml"),
    ("callbacks.mine", {"class_path": f"{MODULE}.Env"}),
    ("callbacks.skill_extraction.init_args.analyst", {"class_path": f"{MODULE}.Env"}),
    ("logger.mine", f"{MODULE}.Env"),
    ("model.optimizer", {"class_path": f"{MODULE}.Env"}),
    ("trainer.profiler", f"{MODULE}.Env"),
    ("trainer.plugins", [f"{MODULE}.Env"]),
    ("config", "env.yaml"),
]


@pytest.mark.parametrize(("key", "value"), VECTORS)
@pytest.mark.parametrize("verb", [["fit", "--print_config"], ["doctor"]])
def test_looking_at_a_file_imports_nothing_that_it_names(
    saved: Any, capsys: pytest.CaptureFixture[str], key: str, value: Any, verb: list[str]
) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(with_value(saved, key, value)))
    assert looks(*verb, "--config", "config.yaml") == 2
    said = capsys.readouterr().err
    assert MODULE not in sys.modules
    assert "names code that is not part of" in said and "add --trust" in said
    assert (MODULE if MODULE in str(value) else "env.yaml") in said
    assert "config.yaml" in said


@pytest.mark.parametrize(
    "typed",
    [
        ["--config", "config.yaml", "--trust"],
        ["--config", "config.yaml", f"env.class_path={MODULE}.Env"],
        ["conf=keydoor", f"env.class_path={MODULE}.Env"],
        ["conf=keydoor", f"env={{class_path: {MODULE}.Env}}"],
    ],
)
def test_what_is_trusted_or_typed_is_imported(saved: Any, typed: list[str]) -> None:
    changed = with_value(saved, ENV, {"class_path": f"{MODULE}.Env"})
    Path("config.yaml").write_text(yaml.safe_dump(changed))
    assert looks("fit", *typed, "--print_config") == 0
    assert MODULE in sys.modules


def test_a_saved_run_of_what_ships_needs_no_trust(saved: Any) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(saved))
    assert looks("fit", "--config", "config.yaml", "--print_config") == 0


def test_a_run_says_what_it_imports_from_a_file_before_it_does(
    saved: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = with_value(saved, ENV, {"class_path": f"{MODULE}.Env"})
    Path("config.yaml").write_text(yaml.safe_dump(changed | {"seed_everything": -1}))
    assert looks("fit", "--config", "config.yaml") == 2  # for the seed, once all is imported
    said = caplog.text + capsys.readouterr().err
    assert f"env.class_path={MODULE}.Env" in said and "imported now" in said


def test_doctor_sends_a_key_only_where_it_was_typed_or_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    url = "http://127.1.2.3:1/v1"  # nobody listens there
    analyst = {"class_path": "opid_lightning.hindsight.analysts.openai.OpenAI"}
    tree = {"analyst": {**analyst, "init_args": {"model": "m", "base_url": url}}}
    typed = [f"analyst.base_url={url}"]
    states = {
        words: next(check_analyst(Parts(tree, Trust.of(parse("doctor", words))))).state
        for words in ((), tuple(typed), ("--trust",))
    }
    assert states == {
        (): State.OPTIONAL,
        tuple(typed): State.BROKEN,
        ("--trust",): State.BROKEN,
    }
