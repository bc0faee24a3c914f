"""The commands that win a generated game."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

from opid_lightning.envs.alfworld.generation.floor_plans import LAMP, Receptacle, is_openable
from opid_lightning.envs.alfworld.generation.furnishing import Room, Thing
from opid_lightning.envs.alfworld.generation.goals import TREATMENTS
from opid_lightning.envs.alfworld.generation.problem import pddl_id
from opid_lightning.envs.alfworld.stock import import_alfworld


def walk(room: Room) -> list[str]:
    """Fetches each object, treats it where the goal says so, and brings it where it belongs."""
    walker, goal = _Walker(room), room.goal
    for thing in room.of_kind(goal.object_kind)[: goal.num_objects]:
        walker.fetch(thing)
        if treatment := TREATMENTS.get(goal.task_type):
            appliance = room.receptacle(treatment.appliance)
            walker.go(appliance)
            walker.say(f"{treatment.verb} {{}} with {{}}", thing.id, appliance.id)
        if goal.is_lit:
            walker.switch_on(room.of_kind(LAMP)[0])
        else:
            walker.bring(thing, room.receptacle(goal.target_kind))
    return walker.commands


class _Walker:
    """Knows where the player stands and what is open, and says commands in the game's names."""

    def __init__(self, room: Room) -> None:
        self.commands: list[str] = []
        self._names = _names(room)
        self._location = room.start
        self._opened: set[str] = set()

    def say(self, command: str, *ids: str) -> None:
        self.commands.append(command.format(*(self._names[name] for name in ids)))

    def go(self, receptacle: Receptacle) -> None:
        """Receptacles side by side share a location, where going is not possible: one is there."""
        if self._location != receptacle.location:
            self.say("go to {}", receptacle.id)
            self._location = receptacle.location

    def fetch(self, thing: Thing) -> None:
        self._reach_into(thing.place)
        self.say("take {} from {}", thing.id, thing.place.id)

    def bring(self, thing: Thing, target: Receptacle) -> None:
        self._reach_into(target)
        self.say("move {} to {}", thing.id, target.id)

    def switch_on(self, lamp: Thing) -> None:
        self.go(lamp.place)
        self.say("use {}", lamp.id)

    def _reach_into(self, receptacle: Receptacle) -> None:
        self.go(receptacle)
        if is_openable(receptacle.kind) and receptacle.id not in self._opened:
            self.say("open {}", receptacle.id)
            self._opened.add(receptacle.id)


def _names(room: Room) -> Mapping[str, str]:
    """`mug 1` for each id, numbered by alfworld itself, over ids in the engine's lower case."""
    ids = [place.id for place in room.plan.receptacles] + [thing.id for thing in room.things]
    engine_ids = {name: pddl_id(name).lower() for name in ids}
    infos = {engine_id: SimpleNamespace(id=engine_id) for engine_id in engine_ids.values()}
    demangler = import_alfworld("agents.utils.misc").Demangler(game_infos=infos)
    return {name: demangler.demangle_alfred_name(of) for name, of in engine_ids.items()}
