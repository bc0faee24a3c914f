import time
from email.utils import formatdate

import pytest

from opid_lightning.hindsight.chat.retry_after import seconds_of
from opid_lightning.hindsight.chat.retrying import Retrying
from tests.hindsight.analyst_behaviours import error
from tests.hindsight.analyst_server import AnalystServer
from tests.hindsight.test_endpoint import SLACK_S, ask


def test_waits_are_random_below_a_limit_that_doubles_up_to_the_longest():
    retrying = Retrying(timeout_s=1, retries=9, backoff_s=2.0, max_backoff_s=10.0)
    for num_retries, limit in enumerate([2, 4, 8, 10, 10]):
        delays = [retrying.delay_s(num_retries, None) for _ in range(500)]
        assert all(0 <= delay <= limit for delay in delays)
        assert max(delays) > 0.9 * limit and min(delays) < 0.1 * limit


def test_a_wait_that_is_asked_for_is_kept_even_beyond_the_longest():
    retrying = Retrying(timeout_s=1, retries=9, backoff_s=2.0, max_backoff_s=10.0)
    delays = [retrying.delay_s(3, 30.0) for _ in range(500)]
    assert all(30 <= delay <= 32 for delay in delays)
    assert max(delays) - min(delays) > 1.5


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),  # long ago
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("", None),
    ],
)
def test_how_long_to_wait_is_read_off_the_header(value, seconds):
    assert seconds_of({"retry-after": value}) == seconds


def test_without_a_header_no_wait_is_asked_for():
    assert seconds_of({}) is None


def test_a_date_is_as_far_away_as_it_is():
    now = time.time()
    seconds = seconds_of({"retry-after": formatdate(now + 100, usegmt=True)})
    assert 99 - (time.time() - now) <= seconds <= 100  # dates are cut to whole seconds


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_is_left_alone_for_as_long_as_it_asks(status):
    busy = error(status, None, "Slow down", **{"Retry-After": "1"})
    with AnalystServer([busy, "good"]) as server:
        analysis, seconds = ask(server)
    assert analysis.usage.retries == 1 and analysis.failure == ""
    assert 1.0 <= seconds < 1.0 + SLACK_S


def test_a_wait_beyond_the_time_of_the_analysis_is_not_begun():
    busy = error(429, None, "Slow down", **{"Retry-After": "3600"})
    with AnalystServer(busy) as server:
        analysis, seconds = ask(server, analysis_timeout_s=60)
    assert (analysis.failure, analysis.usage.requests) == ("rate_limited", 1)
    assert seconds < SLACK_S
