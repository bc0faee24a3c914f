import pytest

from opid_lightning.callbacks.analysis_failures import FailurePolicy, Recent, reasons_of
from opid_lightning.hindsight.stream import Outcome
from opid_lightning.types import Analysis

POLICY = FailurePolicy(min_success_share=0.5, window=4)


def complaint(*reasons, policy=POLICY):
    recent = Recent(policy.window)
    recent.add(reasons)
    return policy.complaint(recent)


@pytest.mark.parametrize(
    ("reasons", "is_bad"),
    [
        (["late"] * 3, False),  # too few to judge
        (["late", "late", "", ""], False),  # exactly the share
        (["late", "late", "late", ""], True),
        (["late", "late", "late", "", "", ""], False),  # the last four
        (["", "", "", "", "late", "late", "late"], True),
    ],
)
def test_the_last_analyses_are_judged_once_the_window_is_full(reasons, is_bad):
    assert bool(complaint(*reasons)) == is_bad


def test_a_share_of_zero_never_complains_and_one_of_one_at_the_first_failure():
    assert not complaint(*["late"] * 4, policy=FailurePolicy(0.0, 4))
    assert complaint("", "", "", "late", policy=FailurePolicy(1.0, 4))


def test_a_complaint_counts_reasons_and_names_settings():
    said = complaint("not_json", "late", "late", "unheard_of")
    assert "Of the last 4 analyses 0 succeeded" in said
    assert "failed: 2 late, 1 not_json, 1 unheard_of" in said
    assert "raise callbacks.skill_extraction.deadline_s" in said
    assert said.count("choose another analyst.model") == 1


def test_it_is_judged_anew_with_every_analysis_and_remembered_by_reason():
    recent = Recent(3)
    ended = {"late": 1.0, "": 2.0, "no_steps": 4.0, "empty": 3.0}
    outcomes = {name: Outcome(Analysis(None, name), False, at) for name, at in ended.items()}
    recent.add(reasons_of(outcomes))
    assert recent.reasons == ["", "empty", "no_steps"]
    assert recent.failures == {"empty": 1, "no_steps": 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_success_share": 1.1}, "min_success_share is 1.1; expected at least 0 and"),
        (
            {"min_success_share": -0.1},
            "min_success_share is -0.1; expected at least 0 and",
        ),
        ({"window": 0}, "window is 0; expected at least 1"),
        ({"on_low_success": "pause"}, "on_low_success is 'pause'; expected stop or continue"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        FailurePolicy(**settings)
