"""A furnished room as a PDDL problem, with the facts that the released games state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from opid_lightning.envs.alfworld.generation.furnishing import Room
from opid_lightning.envs.alfworld.generation.kinds import (
    LAMP,
    can_be_carried,
    can_hold,
    has_ability,
    is_container,
)

_ABILITIES = ("Cleanable", "Heatable", "Coolable", "Sliceable")


def pddl_id(name: str) -> str:
    """Mug|+01.36|-00.96  ->  Mug_bar__plus_01_dot_36_bar__minus_00_dot_96, as ALFWorld does."""
    for sign, word in (("-", "_minus_"), ("|", "_bar_"), ("+", "_plus_"), (".", "_dot_")):
        name = name.replace(sign, word)
    return name


def write_problem(room: Room, name: str) -> str:
    """The PDDL problem of the room, in the order in which ALFRED writes it."""
    declarations = _lines(f"{pddl_id(of)} - {kind}" for of, kind in _objects(room))
    facts = pddl_id(_lines(f"({' '.join(fact)})" for fact in _facts(room)))
    return (
        f"(define (problem plan_{name})\n(:domain alfred)\n(:objects\n{declarations}\n)\n\n"
        f"(:init\n{facts}\n)\n{room.goal.pddl()}"
    )


def _objects(room: Room) -> Iterator[tuple[str, str]]:
    receptacles, things = room.plan.receptacles, room.things
    yield "agent1", "agent"
    yield from ((f"{kind}Type", "otype") for kind in _sorted(thing.kind for thing in things))
    yield from ((f"{kind}Type", "rtype") for kind in sorted(room.plan.receptacle_kinds))
    yield from ((thing.id, "object") for thing in things)
    yield from ((receptacle.id, "receptacle") for receptacle in receptacles)
    locations = {room.start, *(receptacle.location for receptacle in receptacles)}
    yield from ((location, "location") for location in sorted(locations))


def _facts(room: Room) -> Iterator[tuple[str, ...]]:
    yield "atLocation", "agent1", room.start
    for receptacle in room.plan.receptacles:
        yield "receptacleType", receptacle.id, f"{receptacle.kind}Type"
        yield "receptacleAtLocation", receptacle.id, receptacle.location
        if receptacle.is_openable:
            yield "openable", receptacle.id
    for thing in room.things:
        yield "objectType", thing.id, f"{thing.kind}Type"
        yield "inReceptacle", thing.id, thing.place.id
        yield "objectAtLocation", thing.id, thing.place.location
        if thing.is_cool:
            yield "isCool", thing.id
        yield from ((trait, thing.id) for trait in _traits(thing.kind))
    for place in sorted(room.plan.receptacle_kinds):
        for kind in _sorted(thing.kind for thing in room.things if thing.kind != LAMP):
            if can_hold(place, kind):
                yield "canContain", f"{place}Type", f"{kind}Type"


def _traits(kind: str) -> Iterator[str]:
    if kind == LAMP:
        yield "toggleable"
    if can_be_carried(kind):
        yield "pickupable"
    if is_container(kind):
        yield "isReceptacleObject"
    yield from (ability.lower() for ability in _ABILITIES if has_ability(kind, ability))


def _sorted(kinds: Iterable[str]) -> list[str]:
    return sorted(set(kinds))


def _lines(entries: Iterable[str]) -> str:
    return "\n".join(f"        {entry}" for entry in entries)
