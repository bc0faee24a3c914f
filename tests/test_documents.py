"""What README and docs/ point at is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROOMS = "opid_lightning|callbacks|conf|tests|benchmarks|docs|notebooks|examples"
PATH = re.compile(rf"`((?:{ROOMS})/[\w./-]*)(?:::([\w.]+))?`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
PLACEHOLDER = re.compile(r"[A-Z]{3,}")  # as in conf/method/NAME.yaml


def names_in(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from names_in(node.body, f"{prefix}{node.name}.")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_and_names_exist(document: Path) -> None:
    missing = []
    for path, name in PATH.findall(document.read_text()):
        if PLACEHOLDER.search(path):
            continue
        file = ROOT / path
        if not file.exists() or (
            name and name not in set(names_in(ast.parse(file.read_text()).body))
        ):
            missing.append(f"{path}::{name}" if name else path)
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = LINK.findall(document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            links = LINK.findall(page.read_text())
            todo += [(page.parent / link).resolve() for link in links]
    assert [page.name for page in DOCUMENTS if page not in reached] == []
