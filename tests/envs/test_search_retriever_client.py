import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from opid_lightning.envs.search.passages import Passage
from opid_lightning.envs.search.retriever import RetrieverClient, Service
from opid_lightning.envs.search.retriever.gathering import Gathering
from tests.envs.search_server import hits, sensible, serving

QUICK = {"backoff_s": 0.001, "max_backoff_s": 0.002, "timeout_s": 5.0}


def client(url, topk=1, **settings):
    return RetrieverClient(Service(url, **{**QUICK, **settings}), topk)


def test_a_query_is_asked_as_search_r1_asks_it():
    with serving() as asked:
        assert client(asked.url, topk=2)("Ada") == (Passage("0", '"Ada"\nFound.'),)
    assert asked.requests == [{"queries": ["Ada"], "topk": 2, "return_scores": True}]


def test_documents_without_scores_around_them_are_read_too():
    def bare(number, request):
        return 200, json.dumps({"result": [[{"id": 3, "contents": "x"}]]}).encode()

    with serving(bare) as asked:
        assert client(f"{asked.url}/retrieve/")("Ada") == (Passage("3", "x"),)


def test_queries_that_come_while_one_is_out_go_together_in_the_next_request():
    arrived, released = threading.Event(), threading.Event()

    def slow_at_first(number, request):
        if number == 1:
            arrived.set()
            released.wait(5)
        return sensible(number, request)

    with serving(slow_at_first) as asked, ThreadPoolExecutor(41) as threads:
        ask = client(asked.url, max_queries=32)
        first = threads.submit(ask, "first")
        arrived.wait(5)
        others = [threads.submit(ask, f"q{i % 40}") for i in range(40)]
        while len(ask._gathering._waiting) < 40:
            time.sleep(0.001)
        released.set()
        assert first.result()[0].title == "first"
        assert [other.result()[0].title for other in others] == [f"q{i}" for i in range(40)]
    assert [len(queries) for queries in asked.queries] == [1, 32, 8]


def test_equal_queries_are_asked_once_and_the_least_recent_is_forgotten():
    with serving() as asked:
        ask = client(asked.url, cached_queries=2)
        for query in "aabacab":
            ask(query)
    assert asked.queries == [["a"], ["b"], ["c"], ["b"]]


def test_an_error_of_one_request_reaches_all_who_were_part_of_it_and_nobody_else():
    arrived, released = threading.Event(), threading.Event()

    def ask(queries):
        if queries == ["first"]:
            arrived.set()
            released.wait(5)
        if "bad" in queries:
            raise ValueError("bad")
        return [query.upper() for query in queries]

    gathering = Gathering(ask, 8)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(gathering, "first")
        arrived.wait(5)
        others = [threads.submit(gathering, query) for query in ("bad", "good")]
        while len(gathering._waiting) < 2:
            time.sleep(0.001)
        released.set()
        assert first.result() == "FIRST"
        for other in others:
            with pytest.raises(ValueError, match="bad"):
                other.result()
    assert gathering("good") == "GOOD"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_may_pass_is_asked_again(status):
    def unwell_twice(number, request):
        return (status, b"busy") if number < 3 else sensible(number, request)

    with serving(unwell_twice) as asked:
        assert client(asked.url, retries=2)("Ada")[0].title == "Ada"
    assert len(asked.requests) == 3


def test_what_does_not_pass_ends_with_the_url_and_what_to_do():
    def unwell(number, request):
        return 503, b"still loading"

    with serving(unwell) as asked, pytest.raises(ValueError) as caught:
        client(asked.url, retries=2)("Ada")
    assert len(asked.requests) == 3
    for part in (f"{asked.url}/retrieve", "503: still loading", "3 tries", "retriever corpus=FILE"):
        assert part in str(caught.value)


def test_a_refused_request_is_not_repeated():
    with (
        serving(lambda *_: (404, b"no such page")) as asked,
        pytest.raises(ValueError, match="404"),
    ):
        client(asked.url)("Ada")
    assert len(asked.requests) == 1


NONSENSE = {
    "no JSON": b"<html>",
    "brackets in brackets": b'{"result": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "brackets that Python still reads": b'{"result": ' + b"[" * 500 + b"]" * 500 + b"}",
    "no result": b"{}",
    "a list": b"[]",
    "no hits": b'{"result": [3]}',
    "too few": b'{"result": []}',
    "too many queries": b'{"result": [[], []]}',
    "no contents": b'{"result": [[{"document": {"id": 1}}]]}',
    "a text": b'{"result": [["x"]]}',
}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_named_and_never_taken_for_passages(body):
    with serving(lambda *_: (200, body)) as asked:
        with pytest.raises(ValueError, match=r"it answers with .*; expected \{"):
            client(asked.url, retries=1)("Ada")
        assert len(asked.requests) == 2  # a proxy may say so for a moment


def test_passages_beyond_topk_are_cut():
    """Search-R1's online servers do not look at topk."""

    def many(number, request):
        return 200, json.dumps(hits(request["queries"], topk=10)).encode()

    with serving(many) as asked:
        assert len(client(asked.url, topk=3)("Ada")) == 3


def one_at_a_time(number, request):
    """As the retriever of OPID's authors: FastAPI refuses a request without `query`."""
    if "query" not in request:
        return 422, b'{"detail": [{"type": "missing", "loc": ["body", "query"]}]}'
    return 200, json.dumps(hits([request["query"]])).encode()


def test_a_server_that_takes_one_query_is_asked_one_by_one_once_that_is_known():
    with serving(one_at_a_time) as asked, ThreadPoolExecutor(8) as threads:
        ask = client(asked.url, topk=2)
        ask.start("Who?")
        names = [f"q{i}" for i in range(20)]
        assert [found[0].title for found in threads.map(ask, names)] == names
    assert asked.requests[1] == {"query": "Who?", "topk": 2, "return_scores": True}
    assert ["queries" in request for request in asked.requests] == [True] + [False] * 21


def test_queries_that_gathered_before_the_form_is_known_are_answered_too():
    with serving(one_at_a_time) as asked:
        ask = client(asked.url)
        assert [found[0].title for found in ask._ask(["a", "b"])] == ["a", "b"]


def test_a_single_result_may_stand_without_a_list_of_its_own():
    def flat(number, request):
        return 200, json.dumps({"result": hits(["x"], topk=2)["result"][0]}).encode()

    with serving(flat) as asked:
        assert [passage.title for passage in client(asked.url, topk=5)("Ada")] == ["x", "x"]


def test_a_server_that_refuses_both_forms_is_quoted_on_the_first():
    def refuses(number, request):
        return (422, b"no topk, please") if "queries" in request else (404, b"what?")

    with serving(refuses) as asked, pytest.raises(ValueError, match="422: no topk, please"):
        client(asked.url).start("Who?")


def test_documents_of_title_and_text_and_lone_surrogates_are_read():
    body = b'{"result": [[{"document": {"_id": 7, "title": "Ada", "text": "cut \\ud83d"}}]]}'
    with serving(lambda *_: (200, body)) as asked:
        assert client(asked.url)("Ada") == (Passage("7", '"Ada"\ncut \ufffd'),)


def test_a_slow_server_is_given_up_in_time():
    released = threading.Event()

    def slow(number, request):
        released.wait(5)
        return sensible(number, request)

    with serving(slow) as asked, pytest.raises(ValueError, match="did not answer in time"):
        client(asked.url, timeout_s=0.05, retries=1)("Ada")
    released.set()


def test_a_server_that_is_down_is_said_to_be_at_the_start():
    with serving() as asked:
        pass
    with pytest.raises(ValueError, match=f"{asked.url}/retrieve cannot be used: it cannot be re"):
        client(asked.url).start("Who?")


def test_a_server_that_finds_nothing_for_a_question_is_refused_at_the_start():
    with serving(lambda *_: (200, b'{"result": [[]]}')) as asked:
        with pytest.raises(ValueError, match="finds nothing for the question 'Who"):
            client(asked.url).start("Who?")
        assert client(asked.url)("Who?") == ()  # in a run, a policy may ask what it likes


def test_the_start_asks_once_and_does_not_wait():
    with serving() as asked:
        ask = client(asked.url)
        ask.start("Who?")
        ask.start("Who?")
    assert len(asked.requests) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"timeout_s": 0}, "timeout_s is 0"),
        ({"retries": -1}, "retries is -1"),
        ({"max_queries": 0}, "max_queries is 0"),
        ({"url": "localhost:8000"}, "expected http://"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Service(**settings)
