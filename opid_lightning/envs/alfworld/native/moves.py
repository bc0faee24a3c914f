"""What can be done now, in the words of alfred.twl2, and what it changes (alfred.pddl)."""

from __future__ import annotations

from collections.abc import Iterator

from opid_lightning.envs.alfworld.native.game import Game
from opid_lightning.envs.alfworld.native.state import State

Move = tuple[str, str, str]  # verb, object (or receptacle, if there is one only), receptacle
ANYWHERE: dict[str, Move] = {word: (word, "", "") for word in ("help", "inventory", "look")}

# The facts a goal may ask for that a verb changes, besides `checked`.
CHANGES: dict[str, frozenset[str]] = {
    "go to": frozenset({"atlocation"}),
    "open": frozenset({"opened", "checked"}),
    "close": frozenset({"opened"}),
    "take": frozenset({"inreceptacle", "holds", "holdsany", "objectatlocation"}),
    "move": frozenset({"inreceptacle", "holds", "holdsany", "objectatlocation"}),
    "use": frozenset({"ison", "istoggled"}),
    "heat": frozenset({"ishot", "iscool"}),
    "cool": frozenset({"ishot", "iscool"}),
    "clean": frozenset({"isclean"}),
    "slice": frozenset({"issliced"}),
    **dict.fromkeys(("examine", "look", "inventory", "help"), frozenset({"checked"})),
}

_KNIVES = frozenset({"knifetype", "butterknifetype"})


def moves_here(game: Game, state: State) -> dict[str, Move]:
    """By command, all but those of ANYWHERE and to go elsewhere.

    Only what is held can be examined: the domain allows what lies in an open receptacle, too,
    but spells a type of that rule as `location,`, of which there is nothing.
    """
    moves: dict[str, Move] = {}
    for place in game.places_at.get(state.location, ()):
        moves.update(_moves_at(game, state, place))
    for held in state.held:
        name = game.names[held]
        moves[f"examine {name}"] = ("examine", held, "")
        if game.kinds.get(held, frozenset()) & _KNIVES:
            for thing in _sliceable_here(game, state):
                moves[f"slice {game.names[thing]} with {name}"] = ("slice", thing, held)
    return moves


def _moves_at(game: Game, state: State, place: str) -> Iterator[tuple[str, Move]]:
    names, traits, name = game.names, game.traits, game.names[place]
    yield f"examine {name}", ("examine", "", place)
    is_openable, is_opened = place in traits["openable"], place in state.traits["opened"]
    if is_openable:
        verb = "close" if is_opened else "open"
        yield f"{verb} {name}", (verb, "", place)
    is_reachable = is_opened or not is_openable
    for thing in state.inside.get(place, ()):
        if thing in traits["toggleable"]:
            yield f"use {names[thing]}", ("use", thing, place)
        if is_reachable and not state.has_full_hands and thing in traits["pickupable"]:
            yield f"take {names[thing]} from {name}", ("take", thing, place)
    for held in state.held:
        for verb in _appliances(game, held, place):
            yield f"{verb} {names[held]} with {name}", (verb, held, place)
        if is_reachable and _fits(game, held, place):
            yield f"move {names[held]} to {name}", ("move", held, place)


def _appliances(game: Game, thing: str, place: str) -> Iterator[str]:
    kinds = game.kinds.get(place, frozenset())
    if "microwavetype" in kinds and thing in game.traits["heatable"]:
        yield "heat"
    if "fridgetype" in kinds and thing in game.traits["coolable"]:
        yield "cool"
    if kinds & game.cleaners and thing in game.traits["cleanable"]:
        yield "clean"


def _fits(game: Game, thing: str, place: str) -> bool:
    kinds = game.kinds.get(thing, frozenset())
    return any(kinds & game.fitting.get(kind, frozenset()) for kind in game.kinds.get(place, ()))


def _sliceable_here(game: Game, state: State) -> Iterator[str]:
    """Within a closed receptacle, too."""
    for thing in game.traits["sliceable"]:
        if state.location in state.places.get(thing, ()):
            yield thing


def make(game: Game, state: State, move: Move) -> None:
    """Changes the state. `move` must be possible in it."""
    verb, thing, place = move
    traits = state.traits
    match verb:
        case "go to":
            state.location = game.places[place]
        case "take":
            state.take(thing, place)
        case "move":
            state.put(thing, place)
        case "open":
            traits["opened"].add(place)
            traits["checked"].add(place)
        case "close":
            traits["opened"].discard(place)
        case "examine":
            traits["checked"].add(thing or place)
        case "look":
            traits["checked"].add(state.location)
        case "inventory" | "help":
            traits["checked"].add(game.agent)
        case "use":
            traits["istoggled"].add(thing)
            traits["ison"] ^= {thing}
        case "heat":
            traits["ishot"].add(thing)
            traits["iscool"].discard(thing)
        case "cool":
            traits["iscool"].add(thing)
            traits["ishot"].discard(thing)
        case "clean":
            traits["isclean"].add(thing)
        case "slice":
            traits["issliced"].add(thing)
