import json
from pathlib import Path

import pytest

from tests.golden.__main__ import main
from tests.golden.suite import ADAPTERS, JUDGES, run_file

DATA = Path(__file__).parent / "data"
LAST_FAILED = "0 passed, 1 failed"
FILES = sorted(DATA.glob("*.json"))


@pytest.fixture
def run(capsys):
    """Runs the command; returns the lines it prints and its exit code."""

    def run_directory(directory):
        code = main([str(directory)])
        return capsys.readouterr().out.splitlines(), code

    return run_directory


def altered(path, directory, change):
    """A copy of a file whose first case is changed."""
    content = json.loads(path.read_text())
    change(content["cases"][0])
    (directory / path.name).write_text(json.dumps(content))
    return directory


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_recorded_case_agrees(path):
    verdicts = run_file(path)
    assert verdicts
    assert {v.case.id: v.reason for v in verdicts if v.reason} == {}


def test_every_function_has_recorded_cases():
    assert {path.stem for path in FILES} == ADAPTERS.keys() | JUDGES.keys()


def test_the_command_prints_a_line_a_function_and_the_sum(run, tmp_path):
    (tmp_path / "kl_penalty.json").write_text((DATA / "kl_penalty.json").read_text())
    lines, code = run(tmp_path)
    assert lines == ["kl_penalty: 15 agree, 0 differ", "15 passed, 0 failed"]
    assert code == 0


def test_the_command_names_a_case_whose_value_or_metric_differs(run, tmp_path):
    def change(case):
        case["outputs"]["kld"]["data"][0] += 1e-4

    lines, code = run(altered(DATA / "kl_penalty.json", tmp_path, change))
    assert "  kl_penalty-p000: kld" in lines
    assert lines[-1] == "14 passed, 1 failed"
    assert code == 1


def test_a_case_that_may_differ_is_listed_but_is_no_failure(run, tmp_path):
    def change(case):
        case["outputs"]["loss"]["data"][0] += 1e-2
        case["tags"].append("rounding_sensitive")

    lines, code = run(altered(DATA / "agg_loss.json", tmp_path, change))
    assert any(line.startswith("  agg_loss-p000: loss (may differ") for line in lines)
    assert lines[-1] == "16 passed, 0 failed"
    assert code == 0


def test_a_missing_exception_and_a_wrong_nan_are_failures(run, tmp_path):
    def raises(case):
        case["outputs"] = {"__raises__": "ValueError"}

    def nan(case):
        case["outputs"]["loss"]["data"][0] = "nan"

    altered(DATA / "kl_penalty.json", tmp_path, raises)
    lines, _ = run(altered(DATA / "agg_loss.json", tmp_path, nan))
    assert lines[-1] == "29 passed, 2 failed"


def test_a_function_without_adapter_counts_as_failed(run, tmp_path):
    case = {"id": "a", "tags": [], "inputs": {}, "outputs": {"x": 1}}
    (tmp_path / "new.json").write_text(json.dumps({"function": "new", "cases": [case]}))
    lines, code = run(tmp_path)
    assert lines == ["new: 0 agree, 1 differ", "  a: no adapter for this function", LAST_FAILED]
    assert code == 1


def test_a_directory_without_cases_is_refused(run, tmp_path):
    lines, code = run(tmp_path)
    assert "no *.json files" in lines[0]
    assert code == 2
