import json
from pathlib import Path

import numpy as np
import pytest

from tests.golden.__main__ import main
from tests.golden.reader import decode, read_cases
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


@pytest.mark.parametrize("gap", ["inf", "-inf", "nan"])
def test_a_gap_that_is_no_number_demands_nothing_of_numbers_but_their_shape(run, tmp_path, gap):
    def change(case):
        case["float64_gap"] = {"__t__": "float", "v": gap}
        case["outputs"]["kld"]["data"][0] = "nan"

    lines, _ = run(altered(DATA / "kl_penalty.json", tmp_path, change))
    assert lines[-1] == "15 passed, 0 failed"

    def flatten(case):
        change(case)
        case["outputs"]["kld"]["shape"] = [len(case["outputs"]["kld"]["data"])]

    lines, _ = run(altered(DATA / "kl_penalty.json", tmp_path, flatten))
    assert "  kl_penalty-p000: kld" in lines


@pytest.mark.parametrize(
    ("encoded", "gap"),
    [
        (None, 0.0),
        (0.5, 0.5),
        ({"__t__": "float", "v": 0.5}, 0.5),
        ({"__t__": "npscalar", "dtype": "float32", "v": 0.5}, 0.5),
        ({"__t__": "npscalar", "dtype": "float64", "data": ["inf"]}, float("inf")),
        ({"__t__": "numpy", "dtype": "float64", "shape": [], "data": [0.5]}, 0.5),
        ({"__t__": "torch", "dtype": "float32", "shape": [], "data": [0.5]}, 0.5),
    ],
)
def test_a_gap_is_read_in_every_encoding(tmp_path, encoded, gap):
    case = {"id": "a", "tags": [], "inputs": {}, "outputs": {}, "float64_gap": encoded}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"function": "a", "cases": [case]}))
    assert read_cases(path)[0].float64_gap == gap


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        ({"__t__": "npscalar", "dtype": "bool", "v": 1}, np.True_),
        ({"__t__": "npscalar", "dtype": "float32", "v": "-inf"}, np.float32("-inf")),
        ({"__t__": "npscalar", "dtype": "str", "v": "a"}, np.str_("a")),
        ({"__t__": "tuple", "items": [1, {"__t__": "float", "v": "inf"}]}, (1, float("inf"))),
        ({"__t__": "dict", "items": [[[1, 2], "a"], [3, None]]}, {(1, 2): "a", 3: None}),
        ({"__t__": "dict", "items": [[{"__t__": "tuple", "items": [1]}, "a"]]}, {(1,): "a"}),
    ],
)
def test_values_are_read_in_every_encoding(encoded, value):
    found = decode(encoded)
    assert found == value
    assert type(found) is type(value)


def test_lists_in_an_array_of_objects_stay_lists():
    encoded = {"__t__": "numpy", "dtype": "object", "shape": [2], "data": [[1, 2], [3, 4]]}
    assert decode(encoded).tolist() == [[1, 2], [3, 4]]
    assert decode(encoded).shape == (2,)
