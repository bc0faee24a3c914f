"""One game as read from its file: what never changes, and how it starts."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from opid_lightning.envs.alfworld.games import corrupt_game, read_game
from opid_lightning.envs.alfworld.native.goal import Goal, read_goal
from opid_lightning.envs.alfworld.native.problem import Problem, read_problem
from opid_lightning.envs.alfworld.native.rules import OTHER_ENGINE, UnknownRulesError, read_rules
from opid_lightning.envs.alfworld.native.state import State

_TRAITS = (
    *("openable", "pickupable", "toggleable", "isreceptacleobject"),
    *("cleanable", "heatable", "coolable", "sliceable"),
)
_BEFORE_BAR = {"_minus_": "-", "_plus_": "+", "_dot_": ".", "_comma_": ","}


@dataclass(frozen=True)
class Game:
    """Entities go by their PDDL ids, in whose order they are listed everywhere."""

    goal_words: str
    goal: Goal
    start: State
    names: dict[str, str]  # mug_bar__plus_01 -> mug 1
    places: dict[str, str]  # receptacle -> its location
    places_at: dict[str, tuple[str, ...]]  # location -> its receptacles
    kinds: dict[str, frozenset[str]]  # of objects and receptacles: mugtype
    fitting: dict[str, frozenset[str]]  # kind of receptacle -> kinds of objects it takes
    traits: dict[str, frozenset[str]]  # openable -> receptacles
    contents: dict[str, tuple[str, ...]]  # object -> the objects in it
    cleaners: frozenset[str]  # kinds of receptacles
    go_to: dict[str, str]  # command -> receptacle
    agent: str
    ways: dict[str, tuple[str, ...]]  # location -> the commands that lead elsewhere, by letter


def load_game(path: Path) -> Game:
    """The game at this path, kept in memory until the file changes.

    ValueError where it is damaged.
    """
    try:
        version = path.stat().st_mtime_ns
    except FileNotFoundError as error:
        raise corrupt_game(path, "the file is gone") from error
    return _load(path, version)


@lru_cache(maxsize=512)
def _load(path: Path, version: int) -> Game:
    data = read_game(path)
    try:
        rules = read_rules(data["pddl_domain"], data["grammar"])
        problem = read_problem(data["pddl_problem"])
        return _game(problem, rules.goal, rules.cleaners)
    except UnknownRulesError as error:
        raise ValueError(f"the ALFWorld game {path} cannot be played: {error}") from error
    except (ValueError, TypeError, LookupError, StopIteration) as error:
        raise corrupt_game(path, f"{error} ({OTHER_ENGINE})") from error


def _game(problem: Problem, goal_words: str, cleaners: frozenset[str]) -> Game:
    agent, locations = _one_each(problem)
    names = _names({word for fact in problem.facts for word in fact[1:]})
    places_at = defaultdict(list)
    for place, location in locations.items():
        places_at[location].append(place)
    start = State.at_start(problem.facts)
    go_to = {f"go to {names[place]}": place for place in locations}
    return Game(
        goal_words=goal_words,
        goal=read_goal(problem),
        start=start,
        names=names,
        places=locations,
        places_at={location: tuple(places) for location, places in places_at.items()},
        kinds=_gathered([*problem.pairs("objecttype"), *problem.pairs("receptacletype")]),
        fitting={rt: _shared(ots) for rt, ots in _gathered(problem.pairs("cancontain")).items()},
        traits={trait: frozenset(it for (it,) in problem.all(trait)) for trait in _TRAITS},
        contents=_contents(problem),
        cleaners=cleaners,
        agent=agent,
        go_to=go_to,
        ways={
            here: tuple(command for command in sorted(go_to) if locations[go_to[command]] != here)
            for here in {start.location, *places_at}
        },
    )


def _one_each(problem: Problem) -> tuple[str, dict[str, str]]:
    """The agent, and the location of each receptacle."""
    agents = [name for name, kind in problem.types.items() if kind == "agent"]
    if len(agents) != 1 or len(problem.all("atlocation")) != 1:
        raise UnknownRulesError(f"it has not one agent at one place. {OTHER_ENGINE}")
    pairs = problem.pairs("receptacleatlocation")
    locations = dict(pairs)
    if len(locations) < len(pairs):
        raise UnknownRulesError(f"it has a receptacle in two places. {OTHER_ENGINE}")
    return agents[0], locations


def _gathered(pairs: list[tuple[str, str]]) -> dict[str, frozenset[str]]:
    gathered = defaultdict(set)
    for key, value in pairs:
        gathered[key].add(value)
    return {key: frozenset(values) for key, values in gathered.items()}


def _contents(problem: Problem) -> dict[str, tuple[str, ...]]:
    """Nothing that an action can do moves an object into or out of another."""
    contents: dict[str, tuple[str, ...]] = {}
    for inner, outer in problem.pairs("inreceptacleobject"):
        if inner != outer:
            contents[outer] = (*contents.get(outer, ()), inner)
    return contents


@lru_cache(maxsize=1024)
def _shared(kinds: frozenset[str]) -> frozenset[str]:
    """What fits where is the same in nearly all games."""
    return kinds


def _names(ids: set[str]) -> dict[str, str]:
    """Numbered by kind as alfworld's Demangler does: the first by id gets the highest number.

    What has no position in its id is named by the id and a space.
    """
    ordered = sorted(ids)
    left = Counter(kind for entity in ordered if (kind := _kind(entity)))
    names = {}
    for entity in ordered:
        kind = _kind(entity)
        names[entity] = f"{kind} {left[kind]}" if kind else f"{_plain(entity)} "
        left[kind] -= 1
    return names


def _kind(entity: str) -> str:
    kind, bar, _ = entity.partition("_bar_")
    return (f"{kind}basin" if "basin" in entity else kind) if bar else ""


def _plain(text: str) -> str:
    for word, sign in _BEFORE_BAR.items():
        text = text.replace(word, sign)
    return text
