"""What is typed to remake a policy."""

from pathlib import Path

import pytest

from opid_lightning.warm_start.__main__ import parse


def test_a_course_and_the_training_are_set_side_by_side() -> None:
    typed = ["alfworld", "--out", "there", "--source.noise", "0.3", "--imitation.num_episodes", "7"]
    warm_start = parse(typed)
    assert warm_start.out == Path("there")
    assert warm_start.source.title == "ALFWorld"
    assert warm_start.source.facts({})["random commands"].startswith("30%")
    assert warm_start.imitation.num_episodes == 7


def test_a_misspelt_setting_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["alfworld", "--out", "there", "--source.nose", "0.3"])
    assert "--source.nose" in capsys.readouterr().err
