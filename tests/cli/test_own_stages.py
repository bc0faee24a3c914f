"""Classes of your own for stages and the rule, from a configuration file of your own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from opid_lightning.cli.verbs.table import main

OWN = """
from dataclasses import dataclass

from opid_lightning import Injection, Routing, Rule


@dataclass(frozen=True)
class Late(Routing):
    first_step: int = 1


@dataclass(frozen=True)
class Titled(Injection):
    title: str = ""


@dataclass(frozen=True)
class Boosted(Rule):
    boost: float = 1.0
"""
LAYOUTS = {
    "plain keys beside the class": """
routing: {class_path: own_stages.Late, first_step: 7, mode: additive}
injection: {class_path: own_stages.Titled, title: hi}
method: {rule: {class_path: own_stages.Boosted, boost: 4}}
""",
    "init_args": """
routing: {class_path: own_stages.Late, init_args: {first_step: 7, mode: additive}}
injection: {class_path: own_stages.Titled, init_args: {title: hi}}
method: {rule: {class_path: own_stages.Boosted, init_args: {boost: 4}}}
""",
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_file_of_your_own_names_classes_and_their_settings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    layout: str,
) -> None:
    """The rule takes away what conf/method/opid.yaml set for the rule that was there."""
    (tmp_path / "own_stages.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.yaml").write_text(f"defaults: [/keydoor, _self_]\n{layout}")
    typed = [f"conf={tmp_path / 'mine.yaml'}", "--trust", "--print_config"]
    with pytest.raises(SystemExit) as end:
        main(["fit", *typed])
    assert end.value.code == 0
    data = yaml.safe_load(capsys.readouterr().out)["data"]
    rule = {"class_path": "own_stages.Boosted", "init_args": {"boost": 4.0}}
    assert data["method"]["rule"] == rule
    assert data["routing"]["class_path"] == "own_stages.Late"
    assert data["routing"]["init_args"]["first_step"] == 7
    assert data["routing"]["init_args"]["mode"] == "additive"
    assert data["injection"]["init_args"] == {"max_prompt_tokens": None, "title": "hi"}
