import os
from collections import Counter
from pathlib import Path

import pytest

import opid_lightning.envs.alfworld.generation.statistics as shipped
from benchmarks.alfworld_games import distance
from benchmarks.alfworld_rooms import read_room, read_rooms
from benchmarks.alfworld_statistics import as_list, fit, statistics, write
from opid_lightning.envs.alfworld.generation import generated_games
from opid_lightning.envs.alfworld.generation.walkthrough import walk
from opid_lightning.envs.alfworld.generation.writing import generate

DATA = os.environ.get("ALFWORLD_DATA", "")
SHIPPED = Path(shipped.__file__).with_name("statistics.json")


def test_distance_is_half_of_what_the_shares_differ_by():
    assert distance("aab", "abb") == pytest.approx(1 / 3)  # 2/3 and 1/3 against 1/3 and 2/3
    assert distance("aabb", "ab") == 0
    assert distance("a", "b") == 1


def test_preferences_are_those_of_one_receptacle_not_of_all_of_a_kind():
    """Three drawers that share six choices draw as much each as the desk with its two."""
    room = {"Desk": 1, "Drawer": 3}
    weights = fit([("Desk", room)] * 2 + [("Drawer", room)] * 6)
    assert weights == pytest.approx({"Desk": 1, "Drawer": 1})


def test_preferences_allow_for_what_a_room_lacks():
    """Without a shelf all goes to the desk; where both are, the shelf draws three times as much."""
    both, bare = {"Desk": 1, "Shelf": 1}, {"Desk": 1}
    weights = fit([("Desk", bare)] * 50 + [("Desk", both)] * 10 + [("Shelf", both)] * 30)
    assert weights == pytest.approx({"Desk": 1 / 3, "Shelf": 1}, rel=1e-3)


def test_numbers_are_listed_from_zero():
    assert as_list(Counter([1, 1, 3])) == [0, 2, 0, 1]


def test_a_generated_room_is_read_as_it_was_furnished(tmp_path):
    folder = generated_games(6, 6, 0, str(tmp_path))
    for game in generate("train", 6, 0):
        room, read = game.room, read_room(folder / "json_2.1.1" / game.folder)
        assert (read.object_kind, read.target_kind) == (
            room.goal.object_kind,
            room.goal.target_kind,
        )
        assert read.number == room.plan.number and read.words == f"{game.words}."
        assert Counter(read.objects.values()) == Counter(thing.kind for thing in room.things)
        assert Counter(read.receptacles[at] for at in read.place_of.values()) == Counter(
            thing.place.kind for thing in room.things
        )
        assert len(read.openable) == sum(place.is_openable for place in room.plan.receptacles)
        assert read.walkthrough == tuple(walk(room))


@pytest.mark.skipif(
    not Path(DATA, "json_2.1.1", "train").is_dir(),
    reason="ALFWORLD_DATA does not hold the released training games",
)
def test_the_shipped_figures_are_those_of_the_released_training_games(tmp_path):
    write(statistics(tuple(read_rooms(Path(DATA), "train"))), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == SHIPPED.read_bytes()
