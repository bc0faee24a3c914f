"""The wheel alone, in an environment that holds nothing else, run from elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, ROOT, folder=folder)
    (built,) = folder.glob("opid_lightning-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The interpreter of an environment with the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    # First, like `make setup`: the build for CPUs where there is one.
    run(python, "-m", "pip", "install", "--quiet", "torch==2.13.0", folder=folder)
    run(python, "-m", "pip", "install", "--quiet", wheel, folder=folder)
    yield python
    shutil.rmtree(folder)  # a gigabyte, which pytest would keep


def shipped(folder: str, *endings: str) -> set[str]:
    """Files of a folder of the package, as the wheel should name them."""
    paths = ROOT.joinpath("opid_lightning", folder).resolve().rglob("*")
    source = ROOT.joinpath("opid_lightning", folder).resolve()
    return {
        f"opid_lightning/{folder}/{path.relative_to(source)}"
        for path in paths
        if path.is_file() and (not endings or path.suffix in endings)
    }


def test_the_wheel_carries_callbacks_configurations_and_policies(wheel: Path) -> None:
    carried = set(zipfile.ZipFile(wheel).namelist())
    wanted = shipped("callbacks", ".py") | shipped("conf", ".yaml") | shipped("policies")
    wanted |= shipped("hindsight/banks", ".yaml")
    assert len(wanted) > 20
    assert wanted - carried == set()
    assert not [name for name in carried if name.startswith(("tests/", "benchmarks/"))]


def test_the_installed_wheel_shows_its_help(python: Path, tmp_path: Path) -> None:
    text = run(python, "-m", "opid_lightning", "--help", folder=tmp_path)
    assert "conf=alfworld|keydoor" in text


@pytest.mark.parametrize("conf", ["keydoor", "alfworld"])
def test_the_installed_wheel_trains(python: Path, tmp_path: Path, conf: str) -> None:
    small = ("data.tasks_per_iteration=2", "rollout.group_size=2", "env.max_steps=3")
    games = (
        "env.num_train_games=6",
        "env.num_valid_games=6",
        f"env.games_cache={tmp_path / 'games'}",
    )
    run(
        *(python, "-m", "opid_lightning", "fit", f"conf={conf}"),
        *("trainer.max_epochs=2", "trainer.limit_val_batches=0", *small),
        *(games if conf == "alfworld" else ()),
        folder=tmp_path,
    )
    (metrics,) = tmp_path.glob(f"runs/{conf}/*/metrics.csv")
    assert len(metrics.read_text().splitlines()) == 1 + 2
