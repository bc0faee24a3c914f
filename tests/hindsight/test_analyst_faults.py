"""A stream through a server that misbehaves; benchmarks.analyst_faults does it at length."""

from collections import Counter

from benchmarks.analyst_faults import faults_of, misbehave, play
from opid_lightning.hindsight.cache import AnalysisCache
from tests.hindsight.analyst_server import AnalystServer

DEADLINE_S = 4.0


def test_no_trajectory_is_lost_and_each_has_one_outcome_of_its_own(tmp_path):
    path = tmp_path / "analyses.sqlite"
    with AnalystServer(misbehave) as server:
        rounds = list(play(server, path, num_rounds=2, size=150, deadline_s=DEADLINE_S))
    assert [complaint for part in rounds for complaint in faults_of(part)] == []
    outcomes = [outcome for part in rounds for outcome in part.outcomes.values()]
    assert len(outcomes) == 300
    assert sum(outcome.analysis.skills is not None for outcome in outcomes) > 0
    assert max(part.waited_s for part in rounds) < DEADLINE_S * 1.05
    cache = AnalysisCache(path)
    paid = [o.analysis.usage for o in outcomes if not o.is_cached]
    assert cache.spent("run").requests >= sum(usage.requests for usage in paid)
    cache.close()


def test_requests_are_the_servers_own_count(tmp_path):
    """Nothing late: then what was booked is what arrived, but for the probe."""
    path = tmp_path / "analyses.sqlite"
    with AnalystServer(["server_error", "good", "plain_text", "good", "good"]) as server:
        (part,) = play(server, path, num_rounds=1, size=20, deadline_s=60.0)
    cache = AnalysisCache(path)
    assert Counter(o.analysis.failure for o in part.outcomes.values()) == {"": 20}
    spent = cache.spent("run")
    assert (spent.requests, spent.retries, spent.repairs) == (22, 1, 1)
    assert len(server.requests) - server.num_probes == 22
    cache.close()
