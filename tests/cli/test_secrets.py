"""A key that is in the environment is nowhere in what a run leaves behind."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hindsight.analyst_behaviours import Answer, Request, completion, error, good
from tests.hindsight.analyst_server import AnalystServer

pytest.importorskip("openai")
parquet = pytest.importorskip("pyarrow.parquet")

KEY = "sk-planted-7Qw0eXr9TzLm42"
TINY = (
    *("conf=keydoor", "analyst=openai", "analyst.model=m", "logger=wandb"),
    *("trainer.max_epochs=2", "trainer.limit_val_batches=0", "data.tasks_per_iteration=4"),
    *("rollout.group_size=2", "batching.mini_batch_rows=8"),
    "callbacks.skill_extraction.min_success_share=0",
)


def ways_to_write(key: str) -> list[bytes]:
    """As it is, and in base64 behind 0, 1 or 2 other bytes, without what depends on neighbours."""
    shifted = (base64.b64encode(b"\x00" * shift + key.encode()) for shift in range(3))
    return [key.encode(), *(code[4 if shift else 0 : -4] for shift, code in enumerate(shifted))]


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Of every file, and of what is inside compressed ones."""
    for path in filter(Path.is_file, folder.rglob("*")):
        yield path, path.read_bytes()
        if path.suffix == ".parquet":
            yield path, str(parquet.read_table(path).to_pylist()).encode()
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield path / name, archive.read(name)


def places_of_key(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path, content in contents(folder)
        if any(way in content for way in ways_to_write(KEY))
    }


def run(folder: Path, *typed: str) -> subprocess.CompletedProcess[str]:
    """With a home of its own inside the folder, so that whatever is written is found there."""
    hidden = ("WANDB_MODE", "WANDB_API_KEY")
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    home = folder / "home"
    home.mkdir()
    result = subprocess.run(
        [sys.executable, "-m", "opid_lightning", *typed],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        env={**inherited, "HOME": str(home), "OPENAI_API_KEY": KEY},
        cwd=folder,
        check=False,
    )
    (folder / "stdout").write_text(result.stdout)
    (folder / "stderr").write_text(result.stderr)
    return result


def telltale(request: Request) -> Answer:
    """A server that repeats the key wherever it can."""
    told = request.headers["authorization"]
    assert told == f"Bearer {KEY}"
    encoded = base64.b64encode(told.encode()).decode()
    answers = (
        error(500, None, f"{told} made us stumble", **{"X-Key": told}),
        error(429, "rate_limit_exceeded", told, **{"Retry-After": "0", "X-Request-Id": told}),
        completion(f"Not for you, {told}."),
        completion(json.dumps({"episode_skill": f"Say {told}.", "step_skills": {}})),
        good(request),
        error(400, "bad", f"{told} {encoded}"),
        Answer(f"<html>{told}</html>".encode()),
    )
    return answers[request.number % len(answers)]


@pytest.mark.parametrize("suffix", [".txt", ".parquet", ".zip"])
@pytest.mark.parametrize("written", [KEY, base64.b64encode(f"user:{KEY}:".encode()).decode()])
def test_the_search_finds_what_is_there(tmp_path: Path, suffix: str, written: str) -> None:
    import pyarrow

    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        table = pyarrow.table({"column": [written] * 99})
        parquet.write_table(table, path, compression="zstd")
    elif suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("b", written * 99)
    else:
        path.write_text(f"a {written} b")
    assert {place.partition("/")[0] for place in places_of_key(tmp_path)} == {path.name}


def test_a_run_keeps_the_key_to_itself_though_the_server_repeats_it(tmp_path: Path) -> None:
    with AnalystServer(telltale) as server:
        result = run(tmp_path, "fit", *TINY, f"analyst.base_url={server.url}")
    assert result.returncode == 0, result.stderr
    assert len(server.requests) > 6
    suffixes = {path.suffix for path in tmp_path.rglob("*")}
    assert suffixes >= {".yaml", ".csv", ".ckpt", ".parquet", ".wandb", ".sqlite"}
    assert places_of_key(tmp_path) == set()


def test_a_refused_key_is_named_by_its_variable_and_not_shown(tmp_path: Path) -> None:
    with AnalystServer("good", probe="refused_key") as server:
        result = run(tmp_path, "fit", *TINY, f"analyst.base_url={server.url}")
    assert result.returncode == 2
    assert "OPENAI_API_KEY" in result.stderr
    assert places_of_key(tmp_path) == set()
