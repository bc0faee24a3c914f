"""Small hand-made ALFWorld games in which anything may be true that the domain has words for."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opid_lightning.envs.alfworld.stock import shipped

PLACES = {  # id -> kind; upper and lower case are the same to PDDL
    "Cabinet_bar_1": "Cabinet",
    "Cabinet_bar_2": "Cabinet",
    "Shelf_bar_1": "Shelf",
    "Fridge_bar_1": "Fridge",
    "Microwave_bar_1": "Microwave",
    "Sink_bar_1_bar_SinkBasin": "SinkBasin",
    "Sink_bar_2": "Sink",
    "Nook": "Shelf",
}
THINGS = {
    "Mug_bar_1": "Mug",
    "Mug_bar_2": "Mug",
    "Mug_bar_3": "Mug",
    "Apple_bar_1": "Apple",
    "Apple_bar_2": "Apple",
    "Knife_bar_1": "Knife",
    "ButterKnife_bar_1": "ButterKnife",
    "DeskLamp_bar_1": "DeskLamp",
    "Sink_bar_9": "Pan",
    "Spoon": "Spoon",
}
LOCATIONS = [f"loc_bar_{index}" for index in range(7)]
ABILITIES = ("cleanable", "heatable", "coolable", "sliceable", "toggleable", "isReceptacleObject")
STATES = ("isClean", "isHot", "isCool", "isSliced", "isToggled", "isOn")
HAS = "(objectType ?o {o}Type) (receptacleType ?r {r}Type)"
GOALS = {
    "place": "(exists (?r - receptacle) (exists (?o - object) (and (inReceptacle ?o ?r) {has})))",
    "clean": "(exists (?o - object ?r - receptacle) (and (isClean ?o) (inReceptacle ?o ?r) {has}))",
    "warm": "(exists (?o - object) (and (not (isCool ?o)) (holds agent1 ?o) (heatable ?o)))",
    "two": "(exists (?r - receptacle) (exists (?o1 - object) (and (receptacleType ?r {r}Type)"
    " (objectType ?o1 {o}Type) (inReceptacle ?o1 ?r) (exists (?o2 - object) (and"
    " (not (= ?o1 ?o2)) (objectType ?o2 {o}Type) (inReceptacle ?o2 ?r))))))",
    "light": "(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and"
    " (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l)"
    " (inReceptacle ?ot ?r))) (exists (?o - object ?a - agent) (and"
    " (objectType ?o {o}Type) (holds ?a ?o))))",
    "all": "(exists (?r - receptacle) (and (receptacleType ?r {r}Type) (forall (?o - object) (or"
    " (inReceptacle ?o ?r) (or (not (objectType ?o {o}Type)))))))",
    "imply": "(forall (?r - receptacle) (imply (openable ?r) (opened ?r)))",
    "sliced": "(exists (?o - object) (and (sliceable ?o) (or (isSliced ?o) (isOn ?o)"
    " (and (isCool ?o) (not (holdsAny agent1))))))",
    "nested": "(exists (?o - object ?mo - object ?r - receptacle) (and (inReceptacleObject ?o ?mo)"
    " (isHot ?o) (inReceptacle ?mo ?r) (receptacleType ?r {r}Type)))",
    "there": "(and (objectAtLocation Mug_bar_1 loc_bar_2)"
    " (not (inReceptacle Mug_bar_1 Shelf_bar_1)))",
    "checked": "(exists (?r - receptacle ?o - object) (and (checked ?r) (checked ?o) {has}))",
}


def shipped_domain() -> str:
    return shipped("data/alfred.pddl").read_text()


def released_domain() -> str:
    """The one in the games of alfworld-download, which cleans in a sink, too."""
    rule = "(receptacleType ?r SinkType)"
    return shipped_domain().replace(f";{rule}", rule).removesuffix("\n)\n") + ")\n"


def game(
    facts: Sequence[str], goal: str, words: str = "do it.", domain: str | None = None
) -> dict[str, Any]:
    declared = [("agent1", "agent"), *((name, "location") for name in LOCATIONS)]
    declared += [(name, "receptacle") for name in PLACES] + [(name, "object") for name in THINGS]
    declared += [(f"{kind}Type", "rtype") for kind in sorted(set(PLACES.values()))]
    declared += [(f"{kind}Type", "otype") for kind in sorted(set(THINGS.values()))]
    objects = "\n".join(f"{name} - {kind}" for name, kind in declared)
    said = "\n".join(f"({fact})" for fact in facts)
    grammar = shipped("data/alfred.twl2").read_text().replace("UNKNOWN GOAL.", words)
    return {
        "pddl_domain": domain or shipped_domain(),
        "grammar": grammar,
        "pddl_problem": f"(define (problem p)\n(:domain alfred)\n(:objects\n{objects}\n)\n"
        f"(:init\n{said}\n)\n(:goal (and {goal})))",
        "solvable": True,
        "walkthrough": [],
    }


def kinds() -> list[str]:
    return [
        *(f"receptacleType {name} {kind}Type" for name, kind in PLACES.items()),
        *(f"objectType {name} {kind}Type" for name, kind in THINGS.items()),
    ]


def fits_everywhere() -> list[str]:
    pairs = [(place, thing) for place in PLACES.values() for thing in THINGS.values()]
    return sorted({f"canContain {place}Type {thing}Type" for place, thing in pairs})


def random_game(seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    chosen = rng.choice(sorted(GOALS))
    o, r = rng.choice(["Mug", "Apple", "Spoon"]), rng.choice(["Cabinet", "Shelf", "Fridge"])
    goal = GOALS[chosen].replace("{has}", HAS).format(o=o, r=r)
    domain = rng.choice((shipped_domain, released_domain))()
    return game(random_facts(rng), goal, f"{chosen} {o} {r}.", domain)


def random_facts(rng: random.Random) -> list[str]:
    facts = [*kinds(), f"atLocation agent1 {rng.choice(LOCATIONS)}"]
    for place in PLACES:
        if rng.random() < 0.9:
            facts.append(f"receptacleAtLocation {place} {rng.choice(LOCATIONS[:5])}")
        facts += _some(rng, 0.5, [f"openable {place}"]) + _some(rng, 0.4, [f"opened {place}"])
    facts += _some(rng, 0.6, fits_everywhere())
    for thing in THINGS:
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            facts.append(f"inReceptacle {thing} {rng.choice(sorted(PLACES))}")
            facts.append(f"objectAtLocation {thing} {rng.choice(LOCATIONS)}")
        facts += _some(rng, 0.8, [f"pickupable {thing}"])
        facts += _some(rng, 0.5, [f"{ability} {thing}" for ability in ABILITIES])
        facts += _some(rng, 0.2, [f"{state} {thing}" for state in STATES])
        facts += _some(rng, 0.2, [f"inReceptacleObject {thing} {rng.choice(sorted(THINGS))}"])
        facts += _some(rng, 0.05, [f"holds agent1 {thing}"])
    return facts + _some(rng, 0.15, ["holdsAny agent1"])


def _some(rng: random.Random, chance: float, facts: Sequence[str]) -> list[str]:
    return [fact for fact in facts if rng.random() < chance]


def write(folder: Path, data: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "game.tw-pddl"
    path.write_text(json.dumps(data))
    return path
