import pytest

from opid_lightning.callbacks.analysis_account import Account, account_of, of_all_ranks, summary
from opid_lightning.hindsight.cache import CacheFaults
from opid_lightning.hindsight.stream import Outcome
from opid_lightning.types import Analysis, Skills, Usage

SUCCESS = Analysis(Skills("k", {}))
USAGE = Usage(requests=5, retries=2, repairs=1, prompt_tokens=300, completion_tokens=40, cost=0.125)
OUTCOMES = {
    "a": Outcome(SUCCESS, False, ended_at=103.0),
    "b": Outcome(SUCCESS, True, ended_at=101.5),
    "c": Outcome(Analysis(None, "not_json"), True, ended_at=104.0),
    "d": Outcome(Analysis(None, "late"), False, ended_at=101.0),
    "e": Outcome(Analysis(None, "late"), False, ended_at=109.0),
    "f": Outcome(Analysis(None, "budget"), False, ended_at=100.1),
}


def test_every_trajectory_counts_once_and_only_answers_have_a_time():
    account = account_of(OUTCOMES, began_at=100.0, usage=USAGE, exposed_s=6.0)
    assert account.submitted == account.succeeded + sum(account.failed.values())
    assert account.metrics() == {
        "analysis/submitted": 5,
        "analysis/succeeded": 2,
        "analysis/cached": 1,
        "analysis/late": 2,
        "analysis/failed": 3,
        "analysis/failed_late": 2,
        "analysis/failed_not_json": 1,
        "analysis/over_budget": 1,
        "analysis/unstored": 0,
        "analysis/rejected": 0,
        "analysis/general_alone": 0,
        "analysis/dropped_step_skills": 0,
        "analysis/requests": 5,
        "analysis/retries": 2,
        "analysis/repairs": 1,
        "analysis/prompt_tokens": 300,
        "analysis/completion_tokens": 40,
        "analysis/cost": 0.125,
        "analysis/first_s": 1.5,
        "analysis/last_s": 4.0,
        "analysis/exposed_s": 6.0,
    }


def test_an_iteration_without_answers_has_no_times():
    account = account_of({"d": OUTCOMES["d"]}, 100.0, Usage(), 1.0)
    assert (account.first_s, account.last_s) == (None, None)
    assert not {"analysis/first_s", "analysis/last_s"} & account.metrics().keys()


def test_iterations_add_up():
    faults = CacheFaults(unstored=2, rejected=3)
    one = account_of(OUTCOMES, 100.0, USAGE, 6.0, faults=faults)
    other = account_of({"a": Outcome(SUCCESS, False, 20.0)}, 10.0, USAGE, 0.5, faults=faults)
    both = one + other
    assert (both.submitted, both.succeeded, both.cached) == (6, 3, 1)
    assert both.failed == {"late": 2, "not_json": 1}
    assert (both.over_budget, both.unstored, both.rejected) == (1, 4, 6)
    assert both.usage == USAGE + USAGE
    assert (both.first_s, both.last_s, both.exposed_s) == (1.5, 10.0, 6.5)
    assert Account() + one == one


def test_ranks_share_the_counts_and_wait_at_the_same_time():
    ranks = [account_of(OUTCOMES, 100.0, USAGE, seconds) for seconds in (6.0, 2.0)]
    together = of_all_ranks(ranks)
    assert (together.submitted, together.usage, together.exposed_s) == (10, USAGE + USAGE, 6.0)


def test_an_account_comes_back_from_a_checkpoint():
    account = account_of(OUTCOMES, 100.0, USAGE, 6.0)
    assert Account.of_state(account.as_state()) == account


def test_the_summary_tells_failures_and_what_was_paid():
    text = summary(account_of(OUTCOMES, 100.0, USAGE, 6.0), USAGE + USAGE)
    assert "2 of 5 trajectories succeeded, 1 of them without a request" in text
    assert "failed: 2 late, 1 not_json" in text
    assert "not asked, as the budget was used up: 1" in text
    assert "10 requests (4 retries, 2 repairs), 600 tokens in, 80 out, cost 0.25" in text
    assert "waited 6.00 s for answers" in text


@pytest.mark.parametrize("word", ["failed", "requests"])
def test_a_summary_says_nothing_of_what_did_not_happen(word):
    assert word not in summary(account_of({"a": OUTCOMES["a"]}, 100.0, Usage(), 0.0), Usage())
