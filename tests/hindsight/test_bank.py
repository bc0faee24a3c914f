"""A bank of skills: what it gives to whom, and which files are refused before a run starts."""

import csv
import json
import logging
import re
from pathlib import Path

import pytest

from opid_lightning.cli.verbs.table import main
from opid_lightning.envs.alfworld.games import TASK_TYPES
from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.envs.webshop.generation.words import DEPARTMENTS
from opid_lightning.hindsight.analysis_rows import checked
from opid_lightning.hindsight.analysts.bank import GENERAL_ALONE, Bank
from opid_lightning.hindsight.bank_file import SHIPPED
from opid_lightning.hindsight.cache import AnalysisCache
from opid_lightning.hindsight.stream import AnalysisStream
from opid_lightning.types import Skills, Usage
from tests.builders import step_of, trajectory_of

CONTENT = {
    "general": ["Look twice.", "Waste  no\nstep."],
    "kinds": {"near": "Stay.", "far": ["Go."]},
}
SHORT = [
    "conf=keydoor",
    "method=rlsd",
    "trainer.max_epochs=1",
    "trainer.limit_val_batches=0",
    "data.tasks_per_iteration=2",
    "rollout.group_size=2",
    "~callbacks.hf_export",
    "~callbacks.checkpoint",
]


def bank_at(folder: Path, text: str, name: str = "skills.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def of_kind(kind, **settings):
    return trajectory_of(step_of(0), kind=kind, **settings)


@pytest.mark.parametrize("name", ["skills.yaml", "skills.yml", "skills.json"])
def test_every_attempt_gets_the_general_skills_and_those_of_its_kind(tmp_path, name):
    bank = Bank(bank_at(tmp_path, json.dumps(CONTENT), name))
    for won in (True, False):
        analysis = bank(of_kind("far", won=won), (0,))
        assert analysis.skills == Skills("Look twice.\nWaste no step.\nGo.", {})
        assert (analysis.detail, analysis.usage) == ("", Usage())
        assert checked(analysis, (0,)).skills == analysis.skills  # as it gets into a run


def test_a_kind_that_is_not_there_gets_the_general_skills_and_is_said_once(tmp_path, caplog):
    path = bank_at(tmp_path, json.dumps(CONTENT))
    with caplog.at_level(logging.WARNING):
        for kind in ("odd", "odd", "odder"):
            analysis = Bank(path)(of_kind(kind), (0,))
            assert analysis.skills == Skills("Look twice.\nWaste no step.", {})
            assert analysis.detail.startswith(GENERAL_ALONE)
    said = [record.getMessage() for record in caplog.records]
    assert [re.findall(r"kind '(\w+)'", line) for line in said] == [["odd"], ["odder"]]
    assert all(path in line and "near, far" in line for line in said)


def test_equal_attempts_at_tasks_of_two_kinds_get_two_skills(tmp_path):
    bank = Bank(bank_at(tmp_path, json.dumps(CONTENT)))
    stream = AnalysisStream(bank, AnalysisCache(tmp_path / "analyses.sqlite"))
    for number, kind in enumerate(("near", "far", "near", "odd")):
        stream.submit(of_kind(kind, attempt=number), (0,))
    outcomes = stream.collect()
    stream.close()
    last_lines = [o.analysis.skills.episode_skill.splitlines()[-1] for o in outcomes.values()]
    assert last_lines == ["Stay.", "Go.", "Stay.", "Waste no step."]


def test_a_changed_file_is_not_answered_from_the_cache(tmp_path):
    before = Bank(bank_at(tmp_path, json.dumps(CONTENT)))
    changed = {**CONTENT, "kinds": {"near": "Leave."}}
    after = Bank(bank_at(tmp_path, json.dumps(changed)))
    assert before.identity_for("near") != after.identity_for("near")
    assert before.identity_for("odd") == after.identity_for("odd")


REFUSED = {
    "empty": ("", "it is empty"),
    "only a comment": ("# nothing", "it is empty"),
    "an empty object": ("{}", "`general` is missing"),
    "a list": ("[a, b]", r"it holds \['a', 'b'\]"),
    "a text": ("Look twice.", "it holds 'Look twice.'"),
    "kinds alone": ("kinds: {near: Stay.}", "`general` is missing"),
    "an unknown key": ("general: a\nkind: {near: b}", "it has the key 'kind'"),
    "null": ("general:", "`general` has None"),
    "an empty list": ("general: []", "`general` is an empty list"),
    "a blank text": ("general: ' '", "`general` has a blank text"),
    "a blank text among others": ("general: [a, '  ']", "`general` has a blank text"),
    "a number": ("general: [1]", "`general` has 1"),
    "a blank kind": ("general: a\nkinds: {near: ''}", "`kinds.near` has a blank text"),
    "an object as text": ("general: a\nkinds: {near: {b: c}}", "`kinds.near` has"),
    "kinds as list": ("general: a\nkinds: [near]", "`kinds` is"),
    "kinds as null": ("general: a\nkinds:", "`kinds` is None"),
    "a kind that YAML reads as no text": ("general: a\nkinds: {no: b}", "the key False"),
    "a repeated kind": ("general: a\nkinds: {near: b, near: c}", "'near' stands in it twice"),
    "a repeated field": ("general: a\ngeneral: b", "'general' stands in it twice"),
    "no YAML": ("general: [a", "while parsing"),
    "two documents": ("general: a\n---\ngeneral: b", "single document"),
    "an object of Python": ("!!python/object:os.system {}", "could not determine a constructor"),
    "too long": (f"general: {'a' * 4001}", "'general' cannot be used"),
    "too long together": (f"general: {'a' * 3000}\nkinds: {{near: {'b' * 3000}}}", "'near' cannot"),
    "nothing visible": ('general: "\\u200b"', "'general' cannot be used"),
    "nested": ("[" * 3000, "nested too deeply"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_bank_is_refused_with_the_file_and_what_is_expected(tmp_path, name):
    text, reason = REFUSED[name]
    path = bank_at(tmp_path, text)
    with pytest.raises(ValueError, match=reason) as caught:
        Bank(path)
    assert path in str(caught.value)
    assert "Expected `general`" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", '{"general": "a", "general": "b"}', '{"general": ["a"', "[" * 99999, "null"]
)
def test_json_that_is_no_bank_is_refused_as_well(tmp_path, text):
    path = bank_at(tmp_path, text, "skills.json")
    with pytest.raises(ValueError, match="is no bank of skills"):
        Bank(path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "skills.yaml").write_bytes(b"general: \xff\xfe")
    with pytest.raises(ValueError, match="is no bank of skills"):
        Bank(str(tmp_path / "skills.yaml"))


@pytest.mark.parametrize("path", ["alfwrld", "nowhere.yaml", "", ".", "banks/alfworld", "a.txt"])
def test_a_file_that_is_not_there_names_the_banks_that_ship(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("general: a")
    with pytest.raises(ValueError, match="alfworld, keydoor, search, webshop"):
        Bank(path)


def test_a_broken_bank_ends_a_run_before_it_starts(tmp_path, capsys):
    path = bank_at(tmp_path, "general: ''")
    typed = [f"analyst.path={path}", f"trainer.default_root_dir={tmp_path / 'run'}"]
    assert main(["fit", *SHORT, *typed]) == 2
    error = capsys.readouterr().err
    assert path in error and "blank text" in error and "Traceback" not in error
    assert not list(tmp_path.glob("run/*.csv"))


def test_a_run_counts_the_tasks_whose_kind_the_bank_does_not_have(tmp_path, capsys):
    path = bank_at(tmp_path, "general: Go on.")
    typed = [f"analyst.path={path}", f"trainer.default_root_dir={tmp_path}"]
    assert main(["fit", *SHORT, *typed]) == 0
    with (tmp_path / "metrics.csv").open() as file:
        (metrics,) = csv.DictReader(file)
    assert float(metrics["analysis/general_alone"]) == float(metrics["analysis/submitted"]) == 4
    assert "without skills for their kind in the bank: 4" in capsys.readouterr().out


def test_the_shipped_banks_have_the_kinds_of_their_environments():
    banks = {file.stem: Bank(file.stem).skills.kinds for file in SHIPPED.glob("*.yaml")}
    keydoor = Keydoor()
    kinds = {task.kind for split in ("train", "valid_seen") for task in keydoor.tasks(split)}
    assert banks.keys() == {"alfworld", "webshop", "search", "keydoor"}
    assert set(banks["keydoor"]) == kinds
    assert set(banks["alfworld"]) == set(TASK_TYPES)
    assert set(banks["webshop"]) == {department.name for department in DEPARTMENTS}
    assert {"one_hop", "two_hop", "comparison", "nq", "hotpotqa"} <= set(banks["search"])


def test_the_bank_of_the_documents_is_one(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
    (text,) = re.findall(r"```yaml\n(# my_skills.yaml\n.*?)```", page, re.DOTALL)
    assert list(Bank(bank_at(tmp_path, text)).skills.kinds) == ["straight_on"]
