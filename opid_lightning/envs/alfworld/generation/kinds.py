"""What kinds of objects and receptacles can do, as alfworld's own tables say."""

from __future__ import annotations

from functools import cache
from typing import Any

from opid_lightning.envs.alfworld.stock import import_alfworld

LAMP = "DeskLamp"
LAMP_PLACES = ("Desk", "SideTable", "Dresser", "Shelf")  # where the released games have it


@cache
def can_hold(receptacle_kind: str, object_kind: str) -> bool:
    """Whether such an object may lie in such a receptacle."""
    if object_kind == LAMP:
        return receptacle_kind in LAMP_PLACES
    return object_kind in constants().VAL_RECEPTACLE_OBJECTS.get(receptacle_kind, ())


@cache
def can_be_carried(object_kind: str) -> bool:
    """Whether any receptacle holds objects of this kind."""
    return any(object_kind in held for held in constants().VAL_RECEPTACLE_OBJECTS.values())


@cache
def can_be_opened(receptacle_kind: str) -> bool:
    """Whether receptacles of this kind have a door or a lid."""
    return receptacle_kind in constants().OPENABLE_CLASS_SET


@cache
def has_ability(object_kind: str, ability: str) -> bool:
    """`ability` is Heatable, Coolable, Cleanable or Sliceable."""
    return object_kind in constants().VAL_ACTION_OBJECTS[ability]


@cache
def is_container(object_kind: str) -> bool:
    """Whether the object holds others itself, as a bowl or a pot does."""
    return object_kind in constants().MOVABLE_RECEPTACLES_SET


@cache
def constants() -> Any:
    """The module of alfworld that holds the tables, imported once."""
    return import_alfworld("gen.constants")
