"""What is wrong with the name of a class that cannot be found, and which one is like it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from opid_lightning.cli.errors import nearest

NO_MODULE = re.compile(r"No module named '([^']+)'")
NO_ATTRIBUTE = re.compile(r"module '([^']+)' has no attribute '([^']+)'")


def why_not_found(message: str, class_path: str) -> str:
    """One sentence on a class that cannot be imported, and one that helps; else empty."""
    if found := NO_MODULE.search(message):
        if not f"{class_path}.".startswith(f"{found[1]}."):
            return f"{found[0]}, which {class_path} imports. Install it, or fix the import."
        return f"{found[0]}. {advice_on_module(found[1])}"
    found = NO_ATTRIBUTE.search(message)
    if found is None or not f"{class_path}.".startswith(f"{found[1]}.{found[2]}."):
        return ""
    is_class = class_path == f"{found[1]}.{found[2]}"
    there = classes_of(found[1], found[2]) if is_class else modules_in(found[1])
    return f"{found[0]}. {nearest(found[2], there)}"


def advice_on_module(name: str) -> str:
    """The nearest module's name, or where modules are searched."""
    parent, _, last = name.rpartition(".")
    near = nearest(last, modules_in(parent) - {last})
    if parent or near.startswith("Did you mean"):
        return near
    return f"Modules are searched in {Path.cwd()} and among what is installed."


def modules_in(parent: str) -> set[str]:
    """Those beside a missing one: in a package, or in the folder that one starts from."""
    places = importlib.import_module(parent).__dict__.get("__path__", []) if parent else ["."]
    return {module.name for module in pkgutil.iter_modules(places)}


def classes_of(module_name: str, like: str) -> set[str]:
    """The classes of a module; those that it imports only where no other is like the name."""
    module = importlib.import_module(module_name)
    own = {name for name, kind in public_classes(module) if kind.__module__ == module_name}
    if nearest(like, own).startswith("Did you mean"):
        return own
    everything = {name for name, _ in public_classes(module)}
    is_like = nearest(like, everything).startswith("Did you mean")
    return everything if is_like or not own else own


def public_classes(module: ModuleType) -> Iterator[tuple[str, type]]:
    """The classes that a module shows, imported ones and those loaded on use among them."""
    for name in dir(module):
        value = getattr(module, name, None)
        if isinstance(value, type) and not name.startswith("_"):
            yield name, value
