"""Compares generated games with the released training games, and plays them.

    python -m benchmarks.alfworld_games GAMES_DIRECTORY [--games N] [--seed S] [--picture OUT.png]

GAMES_DIRECTORY holds json_2.1.1. Prints the tables of docs/alfworld_games.md and draws its
picture. Beside the distance to the generated games stands that between two random halves of the
released ones: what chance alone makes. Then every generated walkthrough is played on the native
engine, and some on stock textworld; exits with 1 if one does not win.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.alfworld_rooms import FurnishedRoom, read_rooms
from benchmarks.alfworld_walkthroughs import play
from opid_lightning.envs.alfworld.games import TASK_TYPES
from opid_lightning.envs.alfworld.generation import generated_games
from opid_lightning.envs.alfworld.generation.floor_plans import ROOM_TYPES

SELDOM = 50  # times in the released games: such placements are not drawn

Rooms = Sequence[FurnishedRoom]


def distance(one: Iterable[Hashable], other: Iterable[Hashable]) -> float:
    """Total variation: half the sum of |p - q|. 0 if alike, 1 if nothing is common to both."""
    p, q = Counter(one), Counter(other)
    keys = p.keys() | q.keys()
    return sum(abs(p[key] / p.total() - q[key] / q.total()) for key in keys) / 2


def halves(rooms: Rooms) -> tuple[Rooms, Rooms]:
    shuffled = random.Random(0).sample(rooms, len(rooms))
    return shuffled[: len(rooms) // 2], shuffled[len(rooms) // 2 :]


def of_type(rooms: Rooms, room_type: str) -> Rooms:
    return [room for room in rooms if room.type == room_type]


def of_task(rooms: Rooms, task_type: str) -> Rooms:
    return [room for room in rooms if room.task_type == task_type]


def receptacle_kinds(rooms: Rooms) -> list[str]:
    return [kind for room in rooms for kind in room.receptacles.values()]


def placements(rooms: Rooms) -> list[tuple[str, str]]:
    """The kinds of every object and of the receptacle it lies in, save the goal's objects."""
    return [
        (room.objects[of], room.receptacles[place])
        for room in rooms
        for of, place in room.place_of.items()
        if room.objects[of] != room.object_kind
    ]


def goal_placements(rooms: Rooms) -> list[tuple[str, str]]:
    return [
        (room.object_kind, room.receptacles[place])
        for room in rooms
        for of, place in room.place_of.items()
        if room.objects[of] == room.object_kind
    ]


def contents(rooms: Rooms) -> dict[str, list[int]]:
    """How many objects lie in each receptacle, by its kind."""
    found: dict[str, list[int]] = defaultdict(list)
    for room in rooms:
        lying = Counter(room.place_of.values())
        for of, kind in room.receptacles.items():
            found[kind].append(lying[of])
    return found


def walk_lengths(rooms: Rooms) -> list[int]:
    return [len(room.walkthrough) for room in rooms]


def num_copies(rooms: Rooms) -> list[int]:
    return [sum(kind == room.object_kind for kind in room.objects.values()) for room in rooms]


def print_rooms(real: Rooms, made: Rooms) -> None:
    print_head(
        "room, games, receptacles, that open, kinds: distance, objects, placements: distance"
    )
    for room_type in ROOM_TYPES.values():
        ours, theirs = of_type(made, room_type), of_type(real, room_type)
        cells = [
            room_type,
            pair(theirs, ours, len, "d"),
            pair(theirs, ours, lambda rooms: mean(len(room.receptacles) for room in rooms)),
            pair(theirs, ours, lambda rooms: mean(len(room.openable) for room in rooms)),
            against(receptacle_kinds, theirs, ours),
            pair(theirs, ours, lambda rooms: mean(len(room.place_of) for room in rooms)),
            against(placements, theirs, ours),
        ]
        print("|", " | ".join(cells), "|")


def print_tasks(real: Rooms, made: Rooms) -> None:
    print_head(
        "task type, games, goals, goal and room, walkthrough, lengths: distance, "
        "copies of the object, where they lie: distance"
    )
    for task_type in TASK_TYPES:
        ours, theirs = of_task(made, task_type), of_task(real, task_type)
        cells = [
            task_type,
            pair(theirs, ours, len, "d"),
            pair(theirs, ours, num_goals, "d"),
            pair(theirs, ours, num_episodes, "d"),
            pair(theirs, ours, lambda rooms: mean(walk_lengths(rooms)), ".2f"),
            against(walk_lengths, theirs, ours),
            pair(theirs, ours, lambda rooms: mean(num_copies(rooms)), ".2f"),
            against(goal_placements, theirs, ours),
        ]
        print("|", " | ".join(cells), "|")


def print_contents(real: Rooms, made: Rooms) -> None:
    theirs, ours = contents(real), contents(made)
    print_head("receptacle, a room, objects in one, that are empty, numbers: distance")
    for kind in sorted(theirs, key=lambda kind: -len(theirs[kind])):
        one, other = theirs[kind], ours[kind]
        numbers = [
            f"{len(one) / len(real):.2f} / {len(other) / len(made):.2f}",
            f"{mean(one):.2f} / {mean(other):.2f}",
            f"{one.count(0) / len(one):.0%} / {other.count(0) / len(other):.0%}",
            f"{distance(one, other):.2f}",
        ]
        print(f"| {kind} |", " | ".join(numbers), "|")


def num_goals(rooms: Rooms) -> int:
    return len({(room.object_kind, room.target_kind) for room in rooms})


def num_episodes(rooms: Rooms) -> int:
    return len({(room.object_kind, room.target_kind, room.number) for room in rooms})


def print_head(columns: str) -> None:
    names = columns.split(", ")
    print("\n|", " | ".join(names), "|")
    print("|" + "---|" * len(names))


def pair(real: Rooms, made: Rooms, measure: Callable[[Rooms], float], form: str = ".1f") -> str:
    return f"{measure(real):{form}} / {measure(made):{form}}"


def against(list_of: Callable[[Rooms], Sequence[Hashable]], real: Rooms, made: Rooms) -> str:
    chance = distance(*(list_of(half) for half in halves(real)))
    return f"{distance(list_of(real), list_of(made)):.3f} ({chance:.3f})"


def draw(real: Rooms, made: Rooms, path: Path) -> None:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    theirs, ours = contents(real), contents(made)
    kinds = sorted(theirs, key=lambda kind: -mean(theirs[kind]))
    compare(left, [mean(theirs[kind]) for kind in kinds], [mean(ours[kind]) for kind in kinds])
    left.set(title="objects in a receptacle", xlabel="released", ylabel="generated")
    shares = [Counter(placements(rooms)) for rooms in (real, made)]
    pairs = [pair for pair, count in shares[0].items() if count > SELDOM]
    compare(middle, *([share[pair] / share.total() for pair in pairs] for share in shares))
    middle.set(title="shares of placements", xlabel="released", xscale="log", yscale="log")
    for number, task_type in enumerate(TASK_TYPES):
        for rooms, line in ((real, "-"), (made, "--")):
            lengths = Counter(walk_lengths(of_task(rooms, task_type)))
            ticks = range(3, 12)
            shown = [lengths[tick] / lengths.total() for tick in ticks]
            label = task_type if line == "-" else None
            right.plot(ticks, shown, line, color=f"C{number}", label=label)
    right.set(title="walkthroughs; dashed: generated", xlabel="commands", ylabel="share of games")
    right.set_ylim(top=1.25)
    right.legend(frameon=False, fontsize=6, loc="upper right")
    figure.savefig(path, dpi=110)


def compare(axes: Any, real: Sequence[float], made: Sequence[float]) -> None:
    axes.scatter(real, made, s=8, alpha=0.5)
    ends = min(*real, *made), max(*real, *made)
    axes.plot(ends, ends, color="grey", linewidth=0.8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("games_directory", type=Path, help="holds json_2.1.1")
    parser.add_argument("--games", type=int, default=3000, help="generated training games")
    parser.add_argument("--valid", type=int, default=120, help="in each validation split")
    parser.add_argument("--stock", type=int, default=24, help="of them played on stock textworld")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    real = list(read_rooms(arguments.games_directory, "train"))
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        games = generated_games(arguments.games, arguments.valid, arguments.seed, folder)
        print(f"made and written in {time.process_time() - start:.1f} s of CPU time")
        made = list(read_rooms(games, "train"))
        print("\nEach cell: released / generated; distances: to the generated (of two halves)")
        print_rooms(real, made)
        print_tasks(real, made)
        print_contents(real, made)
        if arguments.picture:
            draw(real, made, arguments.picture)
        print()
        has_won = play(games, "native", None) and play(games, "textworld", arguments.stock)
    sys.exit(0 if has_won else 1)


if __name__ == "__main__":
    main()
