"""What a move is answered with: the rules of alfred.twl2, written out."""

from __future__ import annotations

from collections.abc import Iterable

from opid_lightning.envs.alfworld.native.game import Game
from opid_lightning.envs.alfworld.native.moves import Move
from opid_lightning.envs.alfworld.native.state import State

NOTHING_HAPPENS = "Nothing happens."
HELP = """\
Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""


def opening(game: Game, state: State) -> str:
    """The first text of a game: what is seen, and the task."""
    seen = _facing(game, state) or _room(_a(game, game.places))
    return f"-= Welcome to TextWorld, ALFRED! =-\n\n{seen}\n\nYour task is to: {game.goal_words}"


def answer(game: Game, state: State, move: Move) -> str:
    """`state` is the one that the move led to."""
    verb, thing, place = move
    named, at = game.names.get(thing, ""), game.names.get(place, "")
    match verb:
        case "go to":
            return f"You arrive at {at}. {_receptacle(game, state, place)}"
        case "open":
            return f"You open the {at}. {_receptacle(game, state, place)}"
        case "close":
            return f"You close the {at}."
        case "take":
            return f"You pick up the {named} from the {at}."
        case "move":
            return f"You move the {named} to the {at}."
        case "examine":
            return _object(game, state, thing) if thing else _receptacle(game, state, place)
        case "look":
            return _facing(game, state) or _room([])
        case "inventory":
            return _inventory(game, state)
        case "use":
            return f"You turn on the {named}."  # never off: what was toggled once stays so
        case "heat" | "cool" | "clean":
            return f"You {verb} the {named} using the {at}."
        case "slice":
            return f"You sliced the {named} with the {at}."
        case "help":
            return HELP
    raise AssertionError(move)


def _room(receptacles: list[str]) -> str:
    return (
        "You are in the middle of a room. Looking quickly around you, "
        f"you see {_listed(receptacles)}."
    )


def _facing(game: Game, state: State) -> str:
    """Empty where no receptacle is.

    "Next to it" is what was taken out of a receptacle here and is still at this location, say
    in another receptacle.
    """
    places = game.places_at.get(state.location, ())
    if not places:
        return ""
    beside = [
        thing
        for thing in sorted({thing for thing, _ in state.left})
        if state.location in state.places.get(thing, ())
        for place in places
        if (thing, place) in state.left
    ]
    faced = _listed([game.names[place] for place in places])
    return f"You are facing the {faced}. Next to it, you see {_listed(_a(game, beside))}."


def _receptacle(game: Game, state: State, place: str) -> str:
    name, is_openable = game.names[place], place in game.traits["openable"]
    if is_openable and place not in state.traits["opened"]:
        return f"The {name} is closed."
    inside = _listed(_a(game, state.inside.get(place, ())))
    if is_openable:
        return f"The {name} is open. In it, you see {inside}."
    return f"On the {name}, you see {inside}."


def _inventory(game: Game, state: State) -> str:
    if not state.has_full_hands:
        return "You are not carrying anything."
    return f"You are carrying: {_listed(_a(game, state.held))}."


def _object(game: Game, state: State, thing: str) -> str:
    name = game.names[thing]
    if thing in game.traits["isreceptacleobject"]:
        inside = _listed(_a(game, game.contents.get(thing, ())))
        return f"This is a normal {name}. In it, you see {inside}."
    is_clean, is_hot, is_cool, is_sliced, is_toggled = (
        thing in state.traits[trait]
        for trait in ("isclean", "ishot", "iscool", "issliced", "istoggled")
    )
    # Hot goes before cool where both are true, and cool alone is called cold, but not if sliced.
    warmth = "hot" if is_hot else "cool" if is_cool else ""
    words = [word for word in (warmth, "clean" if is_clean else "") if word]
    if words == ["cool"] and not is_sliced:
        words = ["cold"]
    if words:
        return f"This is a {' and '.join(words)} {'sliced ' if is_sliced else ''}{name}."
    if is_toggled and thing in game.traits["toggleable"]:
        return f"This {name} is on."
    if is_sliced and thing in game.traits["sliceable"]:
        return f"This is a sliced {name}."
    return f"There's nothing special about {name}."


def _a(game: Game, entities: Iterable[str]) -> list[str]:
    return [f"a {game.names[entity]}" for entity in entities]


def _listed(words: list[str]) -> str:
    """nothing; a; a, and b; a, b, and c"""
    if len(words) < 2:
        return words[0] if words else "nothing"
    return f"{', '.join(words[:-1])}, and {words[-1]}"
