import pytest

from opid_lightning.hindsight.analysts.rules import Rules
from opid_lightning.hindsight.analysts.step_signals import read_signals
from tests.builders import step_of, trajectory_of

ROOM, HALL = ("go hall", "look", "open box"), ("go room", "take key")


def skills_of(trajectory, analyst=Rules()):
    return analyst(trajectory, range(len(trajectory.steps))).skills


def faults(*steps):
    return [signal.fault for signal in read_signals(steps)]


def test_a_malformed_answer_is_a_fault():
    assert faults(step_of(0, "xyz", is_valid=False)) == ["malformed"]


def test_an_action_that_is_not_listed_is_a_fault():
    assert faults(step_of(0, "fly", admissible=ROOM)) == ["unavailable"]


def test_without_a_list_every_action_is_available():
    assert faults(step_of(0, "fly", admissible=())) == [None]


@pytest.mark.parametrize("result", ["A room.", "Nothing happens.", "nothing happens"])
def test_an_action_that_changes_nothing_is_a_fault(result):
    assert faults(step_of(0, "push"), step_of(1, "go", result))[0] == "no_effect"


def test_an_action_that_changes_what_is_listed_has_an_effect():
    steps = step_of(0, "look", "A.", ROOM), step_of(1, "take key", "A.", HALL)
    assert faults(*steps) == [None, None]


def test_the_same_choice_in_the_same_situation_is_a_loop():
    places = ["A.", "B.", "A.", "B.", "C."]
    moves = ["to b", "to a", "to b", "to c", "stay"]
    steps = [
        step_of(i, move, place) for i, (move, place) in enumerate(zip(moves, places, strict=True))
    ]
    assert faults(*steps) == [None, "returned", "repeated", None, None]


def test_coming_back_to_an_earlier_situation_is_told_from_new_ones():
    steps = [step_of(i, f"walk {i}", place) for i, place in enumerate("ABCBD")]
    assert faults(*steps) == [None, None, "returned", None, None]


def test_a_way_back_is_no_fault_of_a_success():
    steps = [step_of(i, f"walk {i}", place) for i, place in enumerate("ABCBD")]
    skills = skills_of(trajectory_of(*steps, won=True))
    assert '"walk 2"' in skills.episode_skill
    assert skills.step_skills == {}


def test_the_alternative_is_an_untried_action_else_another_one():
    here = ("north", "south")
    tried_both = step_of(0, "north", "A", here), step_of(1, "south", "B", here)
    assert [s.alternative for s in read_signals(tried_both)] == ["south", "north"]
    assert read_signals([step_of(0, "north", "A", ("south", "north", "up"))])[0].alternative == (
        "south"
    )
    assert read_signals([step_of(0, "north", "A", ("north",))])[0].alternative is None


def test_actions_listed_for_the_first_time_are_counted():
    steps = (
        step_of(0, "go hall", "A.", ROOM),
        step_of(1, "go room", "B.", HALL),
        step_of(2, "look", "A.", ROOM),
    )
    assert [s.num_new_actions for s in read_signals(steps)] == [2, 0, 0]


def test_untried_actions_were_played_nowhere_in_the_attempt():
    steps = step_of(0, "look", "A.", ROOM), step_of(1, "open box", "B.", ROOM)
    assert read_signals(steps)[0].untried == ("go hall",)


SUCCESS = trajectory_of(
    step_of(0, "go hall", "A.", ROOM),
    step_of(1, "fly", "B.", HALL),
    step_of(2, "take key", "Nothing happens.", HALL),
    step_of(3, "north", "C."),
    step_of(4, "north", "D."),
    step_of(5, "open door", "E.", reward=10.0),
    won=True,
)


def test_the_workflow_of_a_success_is_its_faultless_actions_in_order():
    assert skills_of(SUCCESS).episode_skill == (
        'This way of working solved the task. "go hall", then "take key", '
        'then "north" 2 times, then "open door".'
    )


def test_step_skills_of_a_success_start_with_what_earned_reward_then_what_opened_up_most():
    skills = skills_of(SUCCESS).step_skills
    assert list(skills) == [5, 0, 1]
    assert skills[5] == 'Choose "open door" now, as it is what the task rewards.'
    assert skills[1] == ('Do not choose "fly" now, as it is not available; try "go room".')


def test_a_long_workflow_keeps_its_last_actions_and_says_so():
    steps = [step_of(i, f"a{i}", f"room {i}") for i in range(20)]
    skill = skills_of(trajectory_of(*steps, won=True)).episode_skill
    assert "Earlier steps" in skill
    assert '"a4"' not in skill
    assert '"a5", then "a6"' in skill


FAILURE = trajectory_of(
    step_of(0, "gibberish " * 20, "A.", ROOM, is_valid=False),
    step_of(1, "go hall", "A.", ROOM),
    step_of(2, "go room", "B.", HALL),
    step_of(3, "go hall", "A.", ROOM),
    step_of(4, "fly", "B.", HALL),
    step_of(5, "look", "B.", HALL),
)


def test_the_rules_of_a_failure_name_its_faults_and_what_was_never_tried():
    assert skills_of(FAILURE).episode_skill == (
        "Answer every time with one action in the required format. "
        'Choose only actions that are available; these were not: "fly", "look". '
        'Do not repeat a choice in a situation you have been in: "go hall". '
        'Do not go back to what you have already seen: "go room". '
        'Explore what was never tried: "open box", "take key".'
    )


def test_step_skills_of_a_failure_stand_at_its_faults_the_worst_first():
    skills = skills_of(FAILURE).step_skills
    assert list(skills) == [0, 4, 5, 3, 2]
    assert skills[3] == 'Leave the loop: you chose "go hall" here before; try "open box".'


def test_a_failure_without_fault_still_has_a_rule():
    skills = skills_of(trajectory_of(step_of()))
    assert skills.episode_skill.startswith("No single action was at fault")
    assert skills.step_skills == {}


def test_at_most_k_step_skills_are_written():
    assert list(skills_of(FAILURE, Rules(2)).step_skills) == [0, 4]
    assert skills_of(SUCCESS, Rules(0)).step_skills == {}


def test_a_faulty_success_leaves_room_for_its_key_steps():
    assert list(skills_of(SUCCESS, Rules(2)).step_skills) == [5, 1]


def test_the_same_trajectory_gives_the_same_skills():
    assert skills_of(FAILURE) == skills_of(FAILURE)


def test_a_trajectory_without_steps_cannot_be_analysed():
    assert Rules()(trajectory_of(), ()).failure == "no_steps"


def test_step_skills_are_about_candidates_alone():
    assert list(Rules()(FAILURE, [2, 3]).skills.step_skills) == [3, 2]
    assert list(Rules()(SUCCESS, [0, 1]).skills.step_skills) == [0, 1]


def test_a_negative_number_of_step_skills_is_refused():
    with pytest.raises(ValueError, match="max_step_skills is -1; expected at least 0"):
        Rules(-1)
