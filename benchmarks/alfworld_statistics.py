"""Counts in the released training games what the game generator draws its rooms from.

    python -m benchmarks.alfworld_statistics GAMES_DIRECTORY OUT.json

GAMES_DIRECTORY holds json_2.1.1. OUT.json is, in the repository,
opid_lightning/envs/alfworld/generation/statistics.json: what is counted there is said in
generation/statistics.py. No validation game is read.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.alfworld_rooms import FurnishedRoom, read_rooms
from opid_lightning.envs.alfworld.generation.floor_plans import listed_kinds, placed_receptacles

LEAST_GAMES = 50  # in which a kind lies in a receptacle; four oddities stay out, like Curtains
UNIT = 1000  # that the most likely kind of receptacle has as its preference
ROUNDS = 100  # of the fit of preferences


def statistics(rooms: Sequence[FurnishedRoom]) -> dict[str, Any]:
    kinds = frequent_kinds(rooms)
    return {
        "source": f"aggregate counts over the {len(rooms)} released ALFWorld training games",
        "standing": standing(rooms),
        "copies": copies(rooms, kinds),
        "goal_copies": goal_copies(rooms),
        "preferences": preferences(rooms, kinds),
        "goals": goals(rooms),
    }


def frequent_kinds(rooms: Sequence[FurnishedRoom]) -> frozenset[str]:
    games = Counter(kind for room in rooms for kind in {room.objects[of] for of in room.place_of})
    return frozenset(kind for kind, count in games.items() if count >= LEAST_GAMES)


def standing(rooms: Sequence[FurnishedRoom]) -> dict[str, dict[str, int]]:
    """Receptacles of each room that its floor plan does not place."""
    of_number = {room.number: room for room in rooms}
    table = {}
    for number, room in sorted(of_number.items()):
        placed = Counter(receptacle.kind for receptacle in placed_receptacles(number))
        rest = Counter(room.receptacles.values()) - placed
        table[str(number)] = dict(sorted(rest.items()))
    return table


def copies(rooms: Sequence[FurnishedRoom], kinds: frozenset[str]) -> dict[str, Any]:
    """In how many games there were 0, 1, 2 ... of a kind that its room is listed to have."""
    table: dict[str, dict[str, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    for room in rooms:
        lying = Counter(room.objects[of] for of in room.place_of)
        for kind in kinds & set(listed_kinds(room.number)) - {room.object_kind}:
            table[room.type][kind][lying[kind]] += 1
    return {
        of: {kind: as_list(counts) for kind, counts in sorted(row.items()) if set(counts) != {0}}
        for of, row in sorted(table.items())
    }


def goal_copies(rooms: Sequence[FurnishedRoom]) -> dict[str, list[int]]:
    table: dict[str, Counter[int]] = defaultdict(Counter)
    for room in rooms:
        lying = Counter(room.objects[of] for of in room.place_of)
        table[room.task_type][lying[room.object_kind]] += 1
    return {task_type: as_list(counts) for task_type, counts in sorted(table.items())}


def goals(rooms: Sequence[FurnishedRoom]) -> dict[str, dict[str, dict[str, int]]]:
    table: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for room in rooms:
        asked = f"{room.object_kind} {room.target_kind}"
        table[room.task_type][room.type][asked] += 1
    return {
        task_type: {of: dict(sorted(row[of].items())) for of in sorted(row)}
        for task_type, row in sorted(table.items())
    }


def preferences(rooms: Sequence[FurnishedRoom], kinds: frozenset[str]) -> dict[str, Any]:
    choices: dict[tuple[str, str], list[tuple[str, Mapping[str, int]]]] = defaultdict(list)
    for room in rooms:
        numbers = Counter(room.receptacles.values())
        for thing, place in room.place_of.items():
            kind = room.objects[thing]
            if kind in kinds and kind != room.object_kind:
                choices[room.type, kind].append((room.receptacles[place], numbers))
    table: dict[str, dict[str, dict[str, int]]] = defaultdict(dict)
    for (of, kind), made in sorted(choices.items()):
        weights = fit(made)
        rounded = {place: round(UNIT * weight) for place, weight in sorted(weights.items())}
        table[of][kind] = {place: weight for place, weight in rounded.items() if weight}
    return table


def fit(choices: Iterable[tuple[str, Mapping[str, int]]]) -> dict[str, float]:
    """Weights of Luce's choice model: P(place) = weight[kind] / sum of the room's weights.

    Maximum likelihood by Hunter's MM algorithm: weight = times chosen / sum over choices of
    (receptacles of the kind in the room / sum of the room's weights). The largest is 1.
    """
    chosen = Counter(kind for kind, _ in choices)
    rooms = Counter(
        tuple((kind, numbers[kind]) for kind in sorted(chosen) if numbers.get(kind))
        for _, numbers in choices
    )
    weights = dict.fromkeys(chosen, 1.0)
    for _ in range(ROUNDS):
        exposure: dict[str, float] = defaultdict(float)
        for room, times in rooms.items():
            total = sum(number * weights[kind] for kind, number in room)
            for kind, number in room:
                exposure[kind] += times * number / total
        weights = {kind: chosen[kind] / exposure[kind] for kind in chosen}
        largest = max(weights.values())
        weights = {kind: weight / largest for kind, weight in weights.items()}
    return weights


def as_list(counts: Counter[int]) -> list[int]:
    return [counts[number] for number in range(max(counts) + 1)]


def write(table: Mapping[str, Any], path: Path) -> None:
    """One line a room, or a kind: changes can be read, and the file stays small."""
    blocks = []
    for name, block in table.items():
        if isinstance(block, str):
            blocks.append(f'"{name}": {json.dumps(block)}')
            continue
        rows = [f'"{key}": {_row(value)}' for key, value in block.items()]
        blocks.append(f'"{name}": {{\n' + ",\n".join(rows) + "\n}")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")


def _row(value: Any) -> str:
    if isinstance(value, dict) and any(isinstance(part, dict | list) for part in value.values()):
        rows = (f'  "{key}": {_compact(part)}' for key, part in value.items())
        return "{\n" + ",\n".join(rows) + "\n}"
    return _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("games_directory", type=Path, help="holds json_2.1.1")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    write(statistics(tuple(read_rooms(arguments.games_directory, "train"))), arguments.out)


if __name__ == "__main__":
    main()
