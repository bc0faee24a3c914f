"""metrics.csv, and W&B without a key."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from opid_lightning.training.loggers import MetricsFile, WeightsAndBiases, kept_id
from opid_lightning.training.wandb_key import has_wandb_key


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_belongs_to_one_step_is_one_row(tmp_path: Path) -> None:
    logger = MetricsFile(str(tmp_path))
    logger.log_metrics({"loss": 1.0, "epoch": 0}, step=1)
    logger.log_metrics({"success": 0.5, "epoch": 0}, step=1)
    logger.log_metrics({"loss": 2.0, "epoch": 1}, step=3)
    assert rows(tmp_path) == [
        {"step": "1", "epoch": "0", "loss": "1.0", "success": "0.5"},
        {"step": "3", "epoch": "1", "loss": "2.0", "success": ""},
    ]


def test_a_run_that_goes_on_keeps_the_steps_before_it_and_repeats_the_others(
    tmp_path: Path,
) -> None:
    first = MetricsFile(str(tmp_path))
    for step in (1, 3, 5):
        first.log_metrics({"loss": float(step)}, step=step)
    resumed = MetricsFile(str(tmp_path))
    resumed.log_metrics({"loss": 30.0, "new": 1.0}, step=3)
    assert [(row["step"], row["loss"], row["new"]) for row in rows(tmp_path)] == [
        ("1", "1.0", ""),
        ("3", "30.0", "1.0"),
    ]


def test_a_run_that_goes_on_completes_the_last_row_and_cuts_off_what_came_after(
    tmp_path: Path,
) -> None:
    first = MetricsFile(str(tmp_path))
    first.log_metrics({"loss": 1.0}, step=1)
    first.log_metrics({"success": 0.5}, step=3)
    first.log_metrics({"loss": 9.0}, step=5)
    MetricsFile(str(tmp_path)).resume_logging({"loss": 3.0}, step=3)
    assert [(row["step"], row["loss"], row["success"]) for row in rows(tmp_path)] == [
        ("1", "1.0", ""),
        ("3", "3.0", "0.5"),
    ]


def test_nothing_is_written_before_the_first_figure(tmp_path: Path) -> None:
    MetricsFile(str(tmp_path)).log_hyperparams({"a": 1})
    assert not list(tmp_path.iterdir())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def test_a_key_is_found_where_wandb_login_writes_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_wandb_key()
    netrc = home / ".netrc"
    netrc.write_text("machine api.wandb.ai\n  login user\n  password secret\n")
    netrc.chmod(0o600)
    assert has_wandb_key()
    netrc.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert has_wandb_key()


@pytest.mark.parametrize(("key", "mode"), [(None, "offline"), ("secret", "online")])
def test_without_a_key_wandb_stays_offline(
    home: Path, monkeypatch: pytest.MonkeyPatch, key: str | None, mode: str
) -> None:
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    assert WeightsAndBiases(str(home))._wandb_init["mode"] == mode


def test_a_run_that_goes_on_goes_on_in_the_same_wandb_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids = []
    for folder in ("run", "run", "other"):
        logger = WeightsAndBiases(str(home / folder))
        logger.log_metrics({"loss": 1.0}, step=0)
        ids.append(logger.experiment.id)
        logger.experiment.finish()
    assert ids[0] == ids[1] == (home / "run" / "wandb" / "run_id").read_text()
    assert ids[2] != ids[0]
    assert WeightsAndBiases(str(home))._wandb_init["resume"] == "allow"


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-4],
        lambda content: content[:-6],
        lambda content: content.replace(b"1.0", b"\xff.0"),
        lambda content: content.replace(b"epoch", b"epo\0h").replace(b"step", b"st\0p"),
        lambda content: content.replace(b"1.0", b"9" * 200_000),
    ],
    ids=["nothing", "half a number", "half a row", "no text", "no step", "a field too long"],
)
def test_damaged_metrics_are_refused_and_not_written_over(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    first = MetricsFile(str(tmp_path))
    first.log_metrics({"loss": 1.0, "epoch": 0}, step=1)
    first.log_metrics({"loss": 2.0, "epoch": 1}, step=3)
    damaged = damage(first.path.read_bytes())
    first.path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"metrics\.csv is damaged .*move it away"):
        MetricsFile(str(tmp_path)).resume_logging({"loss": 3.0}, step=5)
    assert first.path.read_bytes() == damaged


def test_a_damaged_id_of_a_wandb_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run_id").write_bytes(b"\xff\0 a")
    with pytest.raises(ValueError, match=r"run_id is damaged: .* is no id of a W&B run"):
        kept_id(tmp_path / "run_id")
    (tmp_path / "run_id").unlink()
    assert kept_id(tmp_path / "run_id") == kept_id(tmp_path / "run_id")
