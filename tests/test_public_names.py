"""What `opid_lightning` exports is there, documented, typed, and loaded only when it is used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import opid_lightning

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "opid_lightning" / "__init__.py"
PAGE = ROOT / "docs" / "python.md"


def names_for_type_checkers() -> dict[str, str]:
    """Each name of the TYPE_CHECKING block, and the module that it is imported from."""
    block = next(node for node in ast.parse(PACKAGE.read_text()).body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_importing_the_package_loads_no_torch() -> None:
    program = (
        "import sys, opid_lightning; "
        "print([n for n in sys.modules if n in ('torch', 'lightning', 'transformers')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_type_checkers_see_the_names_that_are_loaded() -> None:
    typed = names_for_type_checkers()
    assert sorted(typed) == sorted(opid_lightning.__all__)
    for name, module in typed.items():
        assert getattr(opid_lightning, name) is getattr(sys.modules[module], name)


def test_completion_offers_the_names_before_they_are_loaded() -> None:
    assert set(opid_lightning.__all__) <= set(dir(opid_lightning))


def test_another_name_is_refused_as_by_any_module() -> None:
    with pytest.raises(AttributeError, match="'opid_lightning' has no attribute 'Rolout'"):
        opid_lightning.Rolout  # noqa: B018


@pytest.mark.parametrize("name", [name for name in opid_lightning.__all__ if name != "Split"])
def test_a_public_name_is_a_class_with_a_docstring(name: str) -> None:
    kind = getattr(opid_lightning, name)
    assert inspect.isclass(kind)
    own = vars(kind).get("__doc__") or ""
    assert not own.startswith(f"{name}(")  # what a dataclass writes where nobody has
    assert len(own.split()) > 4


@pytest.mark.parametrize("name", opid_lightning.__all__)
def test_a_public_name_is_on_the_page_about_python(name: str) -> None:
    assert f"`{name}`" in PAGE.read_text()


def test_every_public_name_of_the_package_has_a_docstring() -> None:
    rules = ["--select", "D1", "--ignore", "D105,D107"]
    folders = ["opid_lightning", "callbacks", "examples"]
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(
        [str(ruff), "check", "--no-cache", *rules, *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
