import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from opid_lightning.envs.search.passages import Passage
from opid_lightning.envs.search.retriever import RetrieverClient, Service
from opid_lightning.envs.search.retriever.local import is_indexed, open_index, scored
from opid_lightning.envs.search.retriever.service import MAX_BODY, RetrieverService

ROWS = [
    ("0", '"Ada Brook"\nBorn in Rome.'),
    ("1", '"Hugo"\nA baker of Rome.'),
    ("2", '"Ink"\nBlue.'),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "c.jsonl"
    path.write_text("".join(json.dumps({"id": i, "contents": c}) + "\n" for i, c in ROWS))
    return path


@pytest.fixture(scope="module")
def service(corpus):
    index = open_index(corpus, str(corpus.parent / "cache"))

    def search(queries, topk):
        return [scored(index, query, topk) for query in queries]

    service = RetrieverService(search, len(index), topk=2)
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def http():
    with httpx.Client(limits=httpx.Limits(max_keepalive_connections=0)) as client:
        yield client


@pytest.fixture(scope="module")
def post(http):
    def posted(service, **request):
        return http.post(f"{service.url}/retrieve", json=request)

    return posted


def test_queries_bring_documents_with_scores_best_first(service, post):
    answer = post(service, queries=["Ada Brook", "ink", "?"], topk=1, return_scores=True).json()
    (ada,), (ink,), nothing = answer["result"]
    assert ada["document"] == {"id": "0", "contents": ROWS[0][1]}
    assert ada["score"] > 0
    assert ink["document"]["id"] == "2"
    assert nothing == []


def test_without_scores_documents_stand_alone_and_topk_has_a_default(service, post):
    (found,) = post(service, queries=["Rome"]).json()["result"]
    assert sorted(document["id"] for document in found) == ["0", "1"]


def test_the_form_of_the_papers_client_is_answered_alike(service, post):
    one = post(service, query="Ada Brook", topk=1, return_scores=True).json()
    assert one == post(service, queries=["Ada Brook"], topk=1, return_scores=True).json()
    assert one["result"][0][0]["document"]["contents"] == ROWS[0][1]


def test_a_client_finds_the_same_through_either_form(service):
    ask = RetrieverClient(Service(service.url), 2)
    ask._form = "query"
    assert ask("Rome") == RetrieverClient(Service(service.url), 2)("Rome") != ()


def test_a_lone_surrogate_in_a_query_is_no_error(service, http):
    body = b'{"query": "Ada \\ud83d Brook"}'
    assert http.post(f"{service.url}/retrieve", content=body).json()["result"][0][0]["id"] == "0"


def test_health_says_how_many_passages_are_served(service, http):
    assert http.get(f"{service.url}/health").json() == {"status": "ok", "passages": 3}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "no JSON"),
        (b"\xff", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
        (b'{"queries": ' + b"[" * 500 + b"]" * 500 + b"}", 400, "more than 64 levels deep"),
        (b"[]", 400, "no object"),
        (b"{}", 400, "queries is None"),
        (b'{"queries": "Ada"}', 400, "expected a list of texts"),
        (b'{"query": ["Ada"]}', 400, "expected a list of texts"),
        (b'{"query": null}', 400, "expected a list of texts"),
        (b'{"queries": [1]}', 400, "expected a list of texts"),
        (b'{"queries": []}', 400, "0 queries"),
        (b'{"queries": ["a"], "topk": 0}', 400, "topk is 0"),
        (b'{"queries": ["a"], "topk": true}', 400, "topk is True"),
        (b'{"queries": ["a"], "topk": "3"}', 400, "topk is '3'"),
        (json.dumps({"queries": ["x" * 1_000_000]}).encode(), 413, "1000000 characters"),
    ],
)
def test_a_malformed_request_is_refused_with_a_reason(service, body, status, said, http, post):
    response = http.post(f"{service.url}/retrieve", content=body)
    assert response.status_code == status
    assert said in response.json()["error"]


def test_other_addresses_and_endless_bodies_are_refused(service, http, post):
    assert http.get(f"{service.url}/docs").status_code == 404
    assert http.post(f"{service.url}/search", json={}).status_code == 404
    assert http.post(f"{service.url}/retrieve", content=iter([b"x"])).status_code == 411
    with socket.create_connection(service.url.removeprefix("http://").split(":")) as line:
        line.sendall(b"POST /retrieve HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1))
        assert line.recv(100).startswith(b"HTTP/1.1 413")


def test_a_connection_serves_many_requests_also_after_a_refused_one(service, http, post):
    with httpx.Client(base_url=service.url) as http:
        for _ in range(3):
            assert http.post("/retrieve", content=b"{").status_code == 400
            assert http.post("/retrieve", json={"queries": ["ink"]}).status_code == 200


def test_sixty_four_clients_at_once_are_all_answered(service, post):
    ask = RetrieverClient(Service(service.url, cached_queries=0), 1)

    def alone(number):
        return post(service, queries=["Ada Brook"]).status_code, ask("Ada Brook")

    with ThreadPoolExecutor(64) as threads:
        answers = list(threads.map(alone, range(128)))
    assert set(answers) == {(200, (Passage(*ROWS[0]),))}


def test_a_search_that_fails_is_an_error_of_the_server_and_not_its_end(capfd, post):
    def fails(queries, topk):
        raise RuntimeError("no index")

    service = RetrieverService(fails, 0)
    service.start()
    assert post(service, queries=["a"]).json() == {"error": "RuntimeError: no index"}
    assert post(service, queries=["a"]).status_code == 500
    service.stop()
    assert "no index" in capfd.readouterr().err


def test_what_is_under_way_is_answered_before_the_end(post):
    arrived = threading.Event()

    def slow(queries, topk):
        arrived.set()
        time.sleep(0.2)
        return [[] for _ in queries]

    service = RetrieverService(slow, 0)
    service.start()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(post, service, queries=["a"])
        arrived.wait(5)
        service.stop()
        assert answer.result().status_code == 200
    with pytest.raises(httpx.ConnectError):
        post(service, queries=["a"])


def test_a_taken_port_is_said_with_the_way_out(service):
    port = int(service.url.rpartition(":")[2])
    with pytest.raises(ValueError, match=f"port={port}: .*Give another port"):
        RetrieverService(lambda queries, topk: [], 0, port=port)


def test_an_index_is_built_once_and_again_when_the_corpus_has_changed(tmp_path):
    path, cache, read = tmp_path / "c.jsonl", str(tmp_path / "cache"), []

    def watched(passages):
        for passage in passages:
            read.append(passage.id)
            yield passage

    path.write_text('{"id": 1, "contents": "one"}\n')
    assert not is_indexed(path, cache)
    for _ in range(2):
        assert len(open_index(path, cache, watched)) == 1
    assert is_indexed(path, cache)
    path.write_text('{"id": 1, "contents": "one"}\n{"id": 2, "contents": "two"}\n')
    assert not is_indexed(path, cache)
    assert [p.id for p, _ in scored(open_index(path, cache, watched), "two", 3)] == ["2"]
    assert read == ["1", "1", "2"]
    with pytest.raises(ValueError, match="there is no file"):
        open_index(tmp_path / "no.jsonl", cache)
