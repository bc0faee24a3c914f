"""A model is the one in its files, or is refused in words that help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma2Config, MixtralConfig

from opid_lightning.lm.loading.export import check_exports, export_policy
from opid_lightning.lm.policy import PolicySource, load_policy
from tests.lm.brought import TINY, copied, drawn, edit, rewrite_weights

UP = "model.layers.1.mlp.up_proj.weight"


def cut_in_half(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: rewrite_weights(folder, lambda w: {k: w[k] for k in w if k != name})


def with_more(name: str) -> Callable[[Path], None]:
    return lambda folder: rewrite_weights(folder, lambda w: w | {name: torch.ones(3)})


def renamed(folder: Path) -> None:
    rewrite_weights(folder, lambda w: {f"module.{k}": w[k] for k in w})


def not_finite(folder: Path) -> None:
    rewrite_weights(folder, lambda w: w | {UP: w[UP] / 0})


def cast(dtype: torch.dtype) -> Callable[[Path], None]:
    return lambda folder: rewrite_weights(folder, lambda w: {k: w[k].to(dtype) for k in w})


def zeros(name: str) -> Callable[[Path], None]:
    """As where a download was stopped after the room for it had been made."""
    return lambda folder: rewrite_weights(folder, lambda w: w | {name: torch.zeros_like(w[name])})


def in_shards(index: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        (folder / "model.safetensors.index.json").write_text(index)

    return change


def empty_bin(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")


def config(**entries: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", **entries)


def file(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


REMOTE = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(UP), f"lack 1 of 39 tensors.*random numbers: {UP}.*random_init=true"),
        (renamed, r"lack 39 of 39 tensors.*Its files have module\.model\..* instead"),
        (with_more("model.layers.0.self_attn.q_proj.bias"), "hold 1 tensors.*another model"),
        (with_more("model.layers.4.mlp.up_proj.weight"), "hold 1 tensors.*another model"),
        (not_finite, f"not finite numbers in 1 tensors: {UP}"),
        (config(intermediate_size=320), r"other sizes.*is \[128, 384\], expected \[128, 320\]"),
        (cast(torch.int8), r"quantised in 38 tensors.*\(I8\).*float32"),
        (cast(torch.float8_e4m3fn), r"quantised in 38 tensors.*\(F8_E4M3\)"),
        (zeros("model.embed_tokens.weight"), "1 of 29 matrices.*zeros alone.*not whole"),
        (in_shards("[]"), r"index.json, 2 bytes, holds no JSON object"),
        (in_shards('{"weight_map": {"lm'), r"index.json, 19 bytes, is no JSON"),
        (empty_bin, r"pytorch_model.bin, 0 bytes, is empty: copy or download"),
        (config(num_hidden_layers=0), "num_hidden_layers=0, expected at least 1"),
        (config(num_hidden_layers=-1), "num_hidden_layers=-1, expected at least 1"),
        (config(pad_token_id=10**6), "cannot be loaded: Padding_idx must be within"),
        (cut_in_half, r"model.safetensors, 2,161,900 bytes, is not whole: copy or download"),
        (file("model.safetensors", LFS), "pointer of Git LFS: run git lfs pull"),
        (file("tokenizer.json", LFS), "tokenizer.*pointer of Git LFS: run git lfs pull"),
        (file("model.safetensors", ""), "0 bytes, is not whole"),
        (config(model_type="llamaX"), r"transformers 5\S+ knows no model_type 'llamaX'"),
        (config(model_type=None), "knows no model_type None"),
        (config(model_type="t5"), "is a t5, which writes no text by itself"),
        (config(model_type="mine", auto_map=REMOTE), "code of its own.*no code.*is ever run"),
        (config(quantization_config={"quant_method": "awq"}), r"quantised \(awq\)"),
        (config(quantization_config={"quant_method": "gptq"}), r"quantised \(gptq\)"),
        (config(quantization_config={"quant_method": "fp8"}), r"quantised \(fp8\)"),
        (config(hidden_size="large"), "config.json of .* cannot be used: .*hidden_size"),
        (config(hidden_act="swoosh"), "cannot be loaded: .*swoosh"),
        (file("config.json", '{"model_type"'), "config.json of .* not a valid JSON file"),
        (file("generation_config.json", "{"), "generation_config.json of .* cannot be read"),
        (file("tokenizer.json", "{"), "the tokenizer of .* cannot be loaded"),
    ],
)
def test_a_model_that_its_files_do_not_make_is_refused(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    folder = copied(tmp_path / "model")
    change(folder)
    with pytest.raises(ValueError, match=f"(?s){said}") as refusal:
        load_policy(PolicySource(str(folder)))
    assert str(folder) in str(refusal.value)


def test_a_matrix_of_zeros_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zeros(UP)(folder := copied(tmp_path / "model"))
    load_policy(PolicySource(str(folder)))
    assert f"1 of 29 matrices of '{folder}' hold zeros alone: {UP}" in caplog.text


def test_code_of_a_model_is_not_run_where_transformers_knows_the_model(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model")
    edit(folder / "config.json", auto_map=REMOTE)
    (folder / "mine.py").write_text("raise SystemExit('it ran')")
    assert type(load_policy(PolicySource(str(folder))).model).__name__ == "LlamaForCausalLM"


def test_parts_that_a_policy_has_no_use_for_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copied(tmp_path / "model")
    with_more("vision_tower.layers.0.weight")(folder)
    load_policy(PolicySource(str(folder)))
    assert "1 tensors belong to no part of LlamaForCausalLM and are left out: vision" in caplog.text


def test_sampling_settings_without_do_sample_are_exported_as_they_are_meant(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copied(tmp_path / "model")
    edit(folder / "generation_config.json", temperature=0.7, top_k=20)
    policy = load_policy(PolicySource(str(folder)))
    assert "exported with do_sample=true" in caplog.text
    export_policy(policy, tmp_path / "exported")
    again: Any = load_policy(PolicySource(str(tmp_path / "exported"))).model
    assert (again.generation_config.temperature, again.generation_config.top_k) == (0.7, 20)


def test_generation_settings_that_no_one_can_save_are_refused_at_the_start(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model")
    edit(folder / "generation_config.json", early_stopping=True, num_beams=1)
    with pytest.raises(ValueError, match=r"generation_config.json of .* cannot be saved"):
        load_policy(PolicySource(str(folder)))


def test_what_could_not_be_exported_is_noticed_before_training() -> None:
    policy = load_policy(PolicySource("small"))
    check_exports(policy)
    policy.model.config.odd = object()  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="LlamaForCausalLM, could not be exported"):
        check_exports(policy)


# ------------------------------------------------------------------ other architectures

IDS = torch.arange(40)[None]


def logits(model: Any, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS, **inputs).logits
    return found


def test_a_mixture_of_experts_is_read_without_its_auxiliary_loss(tmp_path: Path) -> None:
    mixtral = MixtralConfig(**TINY, num_local_experts=4, output_router_logits=True)
    model = load_policy(PolicySource(str(drawn(tmp_path / "model", mixtral)))).model
    # The loss takes another shape for granted than log-probs of responses alone need.
    assert logits(model, attention_mask=torch.ones_like(IDS)).shape == (1, 40, 1772)


def test_the_soft_cap_of_gemma_2_is_computed_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gemma = Gemma2Config(**TINY, attn_logit_softcapping=0.01, initializer_range=2.0)
    model: Any = load_policy(PolicySource(str(drawn(tmp_path / "model", gemma)))).model
    assert "caps its logits at 0.01, which sdpa would leave out" in caplog.text
    capped = logits(model)
    model.set_attn_implementation("sdpa")
    assert (logits(model) - capped).abs().max() > 1e-3
    drawn_anew: Any = load_policy(PolicySource(str(tmp_path / "model"), random_init=True)).model
    assert drawn_anew.config._attn_implementation == "eager"
