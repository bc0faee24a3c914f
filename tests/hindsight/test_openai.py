import dataclasses
import json
import math
import threading

import pytest

from opid_lightning.hindsight.analysts.openai import OpenAI
from opid_lightning.hindsight.prompt import analysis_messages, reply_schema
from opid_lightning.types import Analysis, Skills, Usage
from tests.builders import step_of, trajectory_of
from tests.hindsight.analyst_behaviours import Answer, completion, error, key_of
from tests.hindsight.analyst_server import AnalystServer

TRAJECTORY = trajectory_of(step_of(0, "look"), step_of(1, "wait", "B."), step_of(2, "go", "C."))
REPLY = {
    "episode_summary": "s",
    "episode_skill": "k",
    "step_skills": {"7": "x", "2": "a", "0": "b"},
}
GOOD = completion(json.dumps(REPLY))
ONE = Usage(requests=1, prompt_tokens=100, completion_tokens=20)


def analyst_of(server, **settings):
    quick = {"backoff_s": 0.001, "max_backoff_s": 0.002}
    return OpenAI("glm", server.url, **{**quick, **settings})


def ask(analyst, trajectory=TRAJECTORY):
    try:
        return analyst(trajectory, range(len(trajectory.steps)))
    finally:
        analyst.close()


def test_one_request_is_sent_and_its_reply_read():
    with AnalystServer(GOOD) as server:
        analysis = ask(analyst_of(server, temperature=0.7, max_tokens=99, structured="off"))
    assert analysis.skills == Skills("k", {2: "a", 0: "b"}, "s")
    assert (analysis.failure, analysis.usage) == ("", ONE)
    (request,) = server.requests
    assert request.body == {
        "model": "glm",
        "messages": analysis_messages(TRAJECTORY, range(3), 5, 0.95),
        "temperature": 0.7,
        "max_tokens": 99,
    }


def test_a_json_schema_and_the_servers_own_settings_are_sent_along():
    with AnalystServer(GOOD) as server:
        ask(analyst_of(server, structured="on", extra_body={"top_k": 5}))
    body = server.requests[0].body
    assert body["response_format"]["type"] == "json_schema"
    assert body["response_format"]["json_schema"]["schema"] == reply_schema([0, 1, 2], 5)
    assert body["top_k"] == 5


def test_texts_are_kept_short_by_the_schema():
    with AnalystServer(GOOD) as server:
        ask(analyst_of(server, structured="on", max_characters=40))
    schema = server.requests[0].body["response_format"]["json_schema"]["schema"]
    texts = schema["properties"]
    assert texts["episode_summary"] == {"type": "string", "maxLength": 40}
    assert texts["episode_skill"] == {"type": "string", "maxLength": 40, "minLength": 1}
    assert texts["step_skills"]["additionalProperties"] == texts["episode_skill"]


def test_at_most_k_step_skills_are_kept():
    with AnalystServer(GOOD) as server:
        analysis = ask(analyst_of(server, max_step_skills=1))
    assert analysis.skills.step_skills == {2: "a"}
    assert "At most 1 entries" in server.requests[0].messages[0]["content"]


def test_only_candidates_are_asked_about():
    with AnalystServer(GOOD) as server:
        analyst = analyst_of(server, structured="on")
        analysis = analyst(TRAJECTORY, [0])
        analyst.close()
    assert analysis.skills.step_skills == {0: "b"}
    (request,) = server.requests
    schema = request.body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["step_skills"]["propertyNames"] == {"enum": ["0"]}
    assert request.candidates == [0]


def test_a_long_record_is_cut_where_so_set():
    long = trajectory_of(step_of(0, "look", "A wall. " * 100), step_of(1, "go"))
    with AnalystServer(GOOD) as server:
        ask(analyst_of(server), long)
        ask(analyst_of(server, max_record_characters=500), long)
    whole, cut = (len(request.record) for request in server.requests)
    assert cut < 600 < 900 < whole


def test_half_characters_of_a_policy_or_an_analyst_can_be_sent():
    broken = trajectory_of(step_of(0, "look", "half of one: \ud83d"))
    with AnalystServer([completion("half of one: \ud83d"), "good"]) as server:
        assert ask(analyst_of(server), broken).failure == ""
    assert server.requests[1].messages[2]["content"] == "half of one: ?"


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        ("empty", "empty"),
        ("truncated", "truncated"),
        ("plain_text", "not_json"),
        ("wrong_schema", "missing_field"),
        ("out_of_range", "step_out_of_range"),
        (completion('{"episode_skill": " "}'), "blank_skill"),
        (completion(json.dumps({"episode_skill": "k" * 9000})), "too_long"),
    ],
)
def test_an_unusable_reply_is_sent_back_once_with_its_reason(behaviour, failure):
    with AnalystServer(behaviour) as server:
        analysis = ask(analyst_of(server, input_price=2.0, output_price=5.0))
    assert (analysis.skills, analysis.failure) == (None, failure)
    assert analysis.usage == Usage(
        2, repairs=1, prompt_tokens=200, completion_tokens=40, cost=2 * 300e-6
    )
    first, second = server.requests
    assert first.messages == second.messages[:2]
    if failure == "empty":  # an empty message is refused by many servers
        assert second.messages == first.messages
    else:
        replied, request = second.messages[2:]
        assert replied["role"] == "assistant" and request["role"] == "user"
        assert failure in request["content"]


def test_a_repaired_reply_is_used():
    with AnalystServer(["plain_text", "good"]) as server:
        analysis = ask(analyst_of(server))
    assert analysis.skills.episode_skill == f"Recall {server.requests[0].key}."
    assert analysis.usage == Usage(2, repairs=1, prompt_tokens=200, completion_tokens=40)
    assert server.requests[1].messages[2]["content"] == "It went well, I think."
    assert set(server.asked.values()) == {2}


def test_repairs_are_as_many_as_set_and_show_the_newest_reply_alone():
    with AnalystServer(["plain_text", "wrong_schema", "plain_text"]) as server:
        analysis = ask(analyst_of(server, repairs=2))
    assert (analysis.failure, analysis.usage.repairs) == ("not_json", 2)
    assert len(server.requests[2].messages) == 4
    assert "advice" in server.requests[2].messages[2]["content"]


def test_without_repairs_the_first_reply_counts():
    with AnalystServer(["plain_text", "good"]) as server:
        analysis = ask(analyst_of(server, repairs=0))
    assert analysis == Analysis(None, "not_json", analysis.detail, ONE)


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        ("refused", "refused"),
        (completion(None, "content_filter"), "refused"),
        (completion("x" * 20_000), "not_json"),  # readable, but too much to pay for twice
    ],
)
def test_what_asking_again_would_not_mend_is_not_sent_back(behaviour, failure):
    with AnalystServer(behaviour) as server:
        analysis = ask(analyst_of(server))
    assert (analysis.failure, analysis.usage) == (failure, ONE)


def test_a_reply_cut_at_the_token_limit_says_so():
    with AnalystServer("truncated") as server:
        assert "cut at max_tokens=77" in ask(analyst_of(server, max_tokens=77)).detail


@pytest.mark.parametrize("number", [None, "many", -3, 10**400, 1.5])
def test_a_server_that_counts_no_tokens_costs_nothing(number):
    body = json.loads(GOOD.body)
    body["usage"] = {"prompt_tokens": None, "completion_tokens": number}
    with AnalystServer(Answer(json.dumps(body).encode())) as server:
        assert ask(analyst_of(server, input_price=1.0)).usage == Usage(requests=1)


def test_64_threads_share_one_client():
    trajectories = [trajectory_of(step_of(0, "look", str(n)), won=False) for n in range(64)]
    found = {}
    with AnalystServer(lambda r: Answer(completion_of(r), delay_s=0.2)) as server:
        analyst = analyst_of(server)
        threads = [
            threading.Thread(target=lambda t=t, n=n: found.update({n: analyst(t, [0])}))
            for n, t in enumerate(trajectories)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        analyst.close()
    for n, trajectory in enumerate(trajectories):
        key = key_of(analysis_messages(trajectory, [0])[1]["content"])
        assert found[n].skills.episode_skill == f"Recall {key}."
        assert server.answered[key] == 1


def completion_of(request):
    return completion(json.dumps({"episode_skill": f"Recall {request.key}."})).body


def test_an_analysis_under_way_ends_when_the_analyst_is_closed():
    found = []
    with AnalystServer("hanging") as server:
        analyst = analyst_of(server)
        thread = threading.Thread(target=lambda: found.append(analyst(TRAJECTORY, [0])))
        thread.start()
        while not server.requests:
            thread.join(0.01)
        analyst.close()
        thread.join(10)
    assert found[0].failure == "stopped"


def test_a_closed_analyst_can_be_started_again():
    with AnalystServer("good") as server:
        analyst = analyst_of(server)
        assert ask(analyst).failure == ""
        analyst.start()
        assert ask(analyst).failure == ""


def test_identity_holds_what_an_analysis_depends_on_and_no_more():
    analyst = OpenAI("glm", "http://127.0.0.1:1/v1")

    def identity(**settings):
        return dataclasses.replace(analyst, **settings).identity

    other = {
        "model": "m",
        "base_url": "http://127.0.0.1:2/v1",
        "temperature": 0.5,
        "max_tokens": 9,
        "max_step_skills": 1,
        "max_record_characters": 9,
        "gamma": 0.5,
        "structured": "off",
        "repairs": 0,
        "extra_body": {"top_k": 1},
    }
    identities = [analyst.identity, *(identity(**{name: other[name]}) for name in other)]
    assert len(set(identities)) == len(identities)
    same = {
        "base_url": "http://127.0.0.1:1/v1",
        "timeout_s": 1.0,
        "analysis_timeout_s": 2.0,
        "retries": 1,
        "input_price": 1.0,
        "key_variable": "OTHER_KEY",
    }
    assert identity(**same) == analyst.identity


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_step_skills", -1),
        ("temperature", -0.1),
        ("max_tokens", 0),
        ("max_record_characters", 0),
        ("timeout_s", 0),
        ("analysis_timeout_s", math.inf),
        ("gamma", 1.1),
        ("structured", "maybe"),
        ("repairs", -1),
        ("retries", -1),
        ("backoff_s", math.nan),
        ("max_backoff_s", 0.5),
        ("input_price", -1.0),
        ("output_price", -1.0),
        ("base_url", "127.0.0.1:8000/v1"),
        ("base_url", "ftp://127.0.0.1/v1"),
        ("base_url", "http://127.0.0.1:port/v1"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(setting, value):
    with pytest.raises(ValueError, match=rf"OpenAI\.{setting} is .*{value}.*; expected"):
        OpenAI("glm", **{"base_url": "http://127.0.0.1:1", setting: value})


@pytest.mark.parametrize(("word", "read"), [(True, "on"), (False, "off"), ("auto", "auto")])
def test_on_and_off_may_come_as_yaml_reads_them(word, read):
    assert OpenAI("glm", "http://127.0.0.1:1", structured=word).structured == read


@pytest.mark.parametrize(
    ("extra_body", "said"),
    [
        ({"temperature": 1}, "Set temperature instead"),
        ({"stream": True}, "needs it as it is"),
        ({"top_p": math.nan}, "no JSON"),
    ],
)
def test_what_extra_body_may_not_say(extra_body, said):
    with pytest.raises(ValueError, match=said):
        OpenAI("glm", "http://127.0.0.1:1", extra_body=extra_body)


def test_an_error_told_with_status_200_is_no_completion():
    with AnalystServer(Answer(error(500, None, "upstream failed").body)) as server:
        analysis = ask(analyst_of(server))
    assert analysis.failure == "bad_response"
    assert "upstream failed" in analysis.detail
