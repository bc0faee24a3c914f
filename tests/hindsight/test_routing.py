import pytest

from opid_lightning.method.routing import Routing, select_sources
from opid_lightning.types import Skills

SKILLS = Skills("Search first.", {3: "Open the box."})


def test_a_critical_step_goes_to_its_step_skill_alone():
    assert Routing()(3, SKILLS).step_skill == "Open the box."
    assert Routing()(3, SKILLS).level == "step"


def test_every_other_step_goes_to_the_episode_skill():
    route = Routing()(2, SKILLS)
    assert route.level == "episode"
    assert route.episode_skill == "Search first."


@pytest.mark.parametrize(
    ("mode", "critical", "other"),
    [
        ("step_priority", "step", "episode"),
        ("additive", "both", "episode"),
        ("episode_only", "episode", "episode"),
        ("step_only", "step", "none"),
        ("none", "none", "none"),
    ],
)
def test_each_mode_routes_critical_and_other_steps(mode, critical, other):
    routing = Routing(mode)
    assert (routing(3, SKILLS).level, routing(2, SKILLS).level) == (critical, other)


def test_a_disabled_step_level_leaves_critical_steps_to_the_episode_skill():
    assert Routing(step_enabled=False)(3, SKILLS).level == "episode"


def test_a_disabled_episode_level_leaves_other_steps_unscored():
    assert Routing(episode_enabled=False)(2, SKILLS).level == "none"
    assert Routing(episode_enabled=False)(3, SKILLS).level == "step"


def test_a_trajectory_without_skills_is_not_scored():
    assert Routing("additive")(3, None).level == "none"


def test_a_blank_step_skill_does_not_make_a_step_critical():
    assert Routing()(3, Skills("Search first.", {3: " \n"})).level == "episode"


def test_an_unknown_mode_is_refused_and_the_known_ones_named():
    with pytest.raises(ValueError, match="'both'; expected one of step_priority, additive"):
        Routing("both")


def test_none_as_a_step_skill_counts_as_text_like_in_the_reference():
    assert select_sources(None, True, True) == (False, True)
