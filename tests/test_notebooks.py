"""The notebooks run as committed, and what they show is what the run's own files say."""

import csv
import io
import json
import re
from collections.abc import Mapping
from html import unescape
from pathlib import Path

import nbformat
import polars as pl
import pytest
from nbclient import NotebookClient

from opid_lightning.callbacks import RolloutStatistics, TrajectoryLog
from tests.keydoor_run import analysing, fit

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What the routing notebook computes once more from the trajectories alone.
LOGGED_AS = {
    "success": "train/success_micro",
    "tied": "rollout/tied_group_share",
    "attempts": "rollout/trajectories",
    "analysed": "skills/analysed",
    "failed": "skills/failed",
    "skipped": "skills/skipped",
    "episode": "routing/episode_share",
    "step": "routing/step_share",
    "both": "routing/both_share",
    "none": "routing/none_share",
    "abs_outcome": "advantage/outcome_abs_mean",
    "abs_skill": "advantage/skill_abs_mean",
    "ratio": "advantage/skill_to_outcome_ratio",
}
PROBE = """
print(overview.write_json())
print(tokens.group_by("iteration", "level").agg(pl.mean("delta")).write_json())
print(tokens.group_by("iteration", "won").agg(pl.mean("delta")).write_json())
print(attempt.select(*ATTEMPT).unique().write_json())
"""


def execute(name: str, parameters: str = "", probe: str = "") -> list[nbformat.NotebookNode]:
    """The executed code cells; `parameters` override, `probe` is asked at the end."""
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    (settings,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    settings.source += f"\n{parameters}"
    notebook.cells.append(nbformat.v4.new_code_cell(probe))
    NotebookClient(notebook, resources={"metadata": {"path": str(ROOT)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(o.text for o in cell.outputs if o.get("name") == "stdout")


def html(cell: nbformat.NotebookNode) -> str:
    return "".join(o.data.get("text/html", "") for o in cell.outputs if "data" in o)


def cell_with(cells: list[nbformat.NotebookNode], source: str) -> nbformat.NotebookNode:
    (cell,) = (cell for cell in cells if source in cell.source)
    return cell


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    fit(folder, [*analysing(), RolloutStatistics(), TrajectoryLog()])
    return folder


@pytest.fixture(scope="module")
def log(run: Path) -> pl.DataFrame:
    return pl.read_parquet(run / "trajectories" / "*.parquet")


@pytest.fixture(scope="module")
def metrics(run: Path) -> list[Mapping[str, str]]:
    """A row an iteration."""
    rows = csv.DictReader(io.StringIO((run / "metrics.csv").read_text()))
    return [row for row in rows if row["routing/step_share"]]


@pytest.fixture(scope="module")
def routing(run: Path) -> list[nbformat.NotebookNode]:
    return execute("routing.ipynb", f"RUN = {str(run)!r}", PROBE)


@pytest.fixture(scope="module")
def probed(routing) -> list:
    return [json.loads(line) for line in printed(routing[-1]).splitlines()]


def test_the_overview_agrees_with_the_logged_metrics(probed, metrics):
    overview = probed[0]
    assert [row["iteration"] for row in overview] == [0, 1] == list(range(len(metrics)))
    for shown, logged in zip(overview, metrics, strict=True):
        for column, name in LOGGED_AS.items():
            expected = float(logged[name]) if logged[name] else None
            assert shown[column] == pytest.approx(expected, rel=1e-4), column


def test_deltas_of_tokens_average_to_the_logged_metrics(probed, metrics):
    by_level, by_outcome = probed[1:3]
    assert {row["level"] for row in by_level} == {"episode", "step"}
    for row in by_level:
        logged = metrics[row["iteration"]][f"delta/{row['level']}_mean"]
        assert row["delta"] == pytest.approx(float(logged), rel=1e-4)
    for row in by_outcome:
        name = "success" if row["won"] else "failure"
        logged = metrics[row["iteration"]][f"delta/{name}_mean"]
        assert row["delta"] == pytest.approx(float(logged), rel=1e-4)


def test_as_many_steps_are_called_critical_as_the_log_has_step_skills(routing, log):
    num_critical = log.filter(pl.col("step_skill") != "").height
    assert num_critical > 0
    shown = printed(cell_with(routing, "steps were called critical"))
    assert f"{num_critical:,} of {log.height:,} steps were called critical" in shown


def test_the_commonest_step_skill_is_at_the_top_of_its_table(routing, log):
    written = log.filter(pl.col("step_skill") != "")["step_skill"].value_counts(sort=True)
    rows = html(cell_with(routing, 'critical.group_by("step_skill")')).split("<tr>")[2:]
    cells = re.findall(r"<td>(.*?)</td>", unescape(rows[0]))
    assert cells[0].strip('"') == written["step_skill"][0]
    assert int(cells[1]) == written["count"][0]


def test_an_attempt_is_shown_with_all_its_skills(routing, probed, log):
    shown = html(cell_with(routing, "Episode skill:"))
    attempt = log.join(pl.DataFrame(probed[3]), on=["iteration", "task_id", "attempt"], how="semi")
    assert shown.count("<tr") == 1 + attempt.height
    assert shown.count("#fff3cd") == attempt.filter(pl.col("step_skill") != "").height > 0
    skills = [*attempt["episode_skill"], *attempt["step_skill"]]
    assert all(skill in unescape(shown) for skill in skills)


def test_tokens_are_coloured_by_the_sign_of_their_delta(routing, log):
    spans = re.findall(
        r"delta ([+-][\d.]+), .*?rgba\((\d+), .*?>(.*?)</span>",
        html(cell_with(routing, "def coloured")),
    )
    assert spans
    assert all((red == "33") == (float(delta) > 0) for delta, red, _ in spans)
    deltas = log.select(pl.col("episode_delta") + pl.col("step_delta")).to_series().to_list()
    assert [delta for delta, *_ in spans] in [[f"{d:+.3f}" for d in row] for row in deltas]


def test_by_hand_the_stages_make_what_an_iteration_makes_and_teach_the_policy():
    cells = execute("iteration.ipynb")
    assert re.search(
        r"\d{3} samples, the same as by hand: True", printed(cell_with(cells, "is_same"))
    )
    assert "ratio from 1: 0.0\n" in printed(cell_with(cells, "ratio_errors"))
    changes = re.findall(r"[+-]\d\.\d+", printed(cells[-2]))
    assert float(changes[0]) > 0 > float(changes[1])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_committed_without_output(path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
