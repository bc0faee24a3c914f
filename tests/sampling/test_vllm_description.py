"""The description of a policy for vLLM: its path decides whether compiled graphs are found."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.sampling.vllm.description import description_of, digest
from opid_lightning.sampling.vllm.engine import engine_arguments, import_vllm
from opid_lightning.servers.vllm import memory_arguments
from opid_lightning.types import Policy


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(PolicySource("keydoor"))


def test_one_architecture_has_one_folder_whatever_its_weights(policy: Policy) -> None:
    first = description_of(policy)
    again = load_policy(PolicySource("keydoor"))
    again.model.get_input_embeddings().weight.data.zero_()  # type: ignore[operator]
    assert description_of(again) == first
    names = {path.name for path in first.iterdir()}
    assert "config.json" in names
    assert not any("safetensors" in name for name in names)


def test_another_architecture_has_another_folder(policy: Policy) -> None:
    other = load_policy(PolicySource("keydoor"))
    other.model.config.rope_theta = 5.0  # type: ignore[union-attr]
    other.model.config.max_position_embeddings = 77  # type: ignore[union-attr]
    assert description_of(other) != description_of(policy)


def test_a_copy_of_a_policy_elsewhere_has_its_folder(policy: Policy, tmp_path: Path) -> None:
    policy.model.save_pretrained(tmp_path / "copy")  # type: ignore[operator]
    policy.tokenizer.save_pretrained(tmp_path / "copy")
    copied = load_policy(PolicySource(str(tmp_path / "copy")))
    again = load_policy(PolicySource(str((tmp_path / "copy").rename(tmp_path / "moved"))))
    assert description_of(again) == description_of(copied)


def test_a_damaged_folder_is_written_again(policy: Policy) -> None:
    folder = description_of(policy)
    (folder / "config.json").write_text("{")
    assert description_of(policy) == folder
    assert digest(folder) == folder.name


def test_a_cache_that_cannot_be_written_is_named(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"cannot be written to .*set XDG_CACHE_HOME"):
        description_of(policy)


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
@pytest.mark.filterwarnings("ignore")  # of vLLM's imports
def test_vllm_would_find_what_an_earlier_run_has_compiled(policy: Policy, tmp_path: Path) -> None:
    """By the key of its own cache; a copy elsewhere shows that the path is a part of it."""
    import_vllm()
    from vllm.engine.arg_utils import EngineArgs

    def key(folder: Path) -> str:
        given = {"dtype": "float32", "max_num_seqs": 8, **memory_arguments(0.4, 0.1)}
        found: str = (
            engine_arguments(EngineArgs, str(folder), given).create_engine_config().compute_hash()
        )
        return found

    first = key(description_of(policy))
    assert key(description_of(load_policy(PolicySource("keydoor")))) == first
    elsewhere = description_of(policy).rename(tmp_path / "elsewhere")
    assert key(elsewhere) != first
