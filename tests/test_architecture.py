"""The house keeps its shape."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKS = ("opid_lightning/callbacks", "opid_lightning/conf")
BANNED = {"util", "utils", "helper", "helpers", "common", "misc", "base", "manager", "handler"} | {
    "processor"
}
SOURCES = sorted(
    path.relative_to(ROOT)
    for folder in ("opid_lightning", "callbacks", "examples", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if not any(str(path.relative_to(ROOT)).startswith(f"{link}/") for link in LINKS)
)


def test_import_contracts_are_kept() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [str(lint), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def num_lines_to_read(path: Path) -> int:
    """Lines without docstrings, or documenting a name would cost its file its place."""
    text = path.read_text()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [
        node.body[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, documented) and ast.get_docstring(node) is not None
    ]
    num_documenting = sum((d.end_lineno or d.lineno) - d.lineno + 1 for d in docstrings)
    return len(text.splitlines()) - num_documenting


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_file_is_read_in_one_sitting(path: Path) -> None:
    # The glossary is one page on purpose, and tests are read one by one.
    is_long_by_nature = path == Path("opid_lightning/types.py") or path.parts[0] == "tests"
    limit = 400 if is_long_by_nature else 300
    assert num_lines_to_read(ROOT / path) < limit


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_names_say_what_a_thing_is(path: Path) -> None:
    classes = re.findall(r"^class (\w+)", (ROOT / path).read_text(), re.MULTILINE)
    words = [*path.stem.split("_"), *(w for c in classes for w in re.findall("[A-Z][a-z]+", c))]
    assert not BANNED & {word.lower() for word in words}


def test_top_level_folders_are_linked_into_the_package() -> None:
    for link in LINKS:
        target = (ROOT / link).readlink()
        assert not target.is_absolute()
        assert (ROOT / link).resolve() == ROOT / Path(link).name
