"""The model of a policy: drawn or read, with nothing in it that a policy cannot have."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from opid_lightning.files.omissions import warn_once
from opid_lightning.lm.loading.loading_report import check_numbers, check_report, check_types

_log = logging.getLogger(__name__)
# What transformers raises of files that it cannot read, or not make a model of.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RuntimeError,
    ImportError,
    EOFError,
    ZeroDivisionError,
    IndexError,
    AssertionError,
    SafetensorError,
    UnpicklingError,
)
GGUF = "gguf_file"  # among the options by which transformers loads a quantized file
LFS_POINTER = b"version https://git-lfs"


def read_config(path: str, location: str, options: dict[str, Any]) -> Any:
    """The model's configuration, without dropout; raises ValueError for what cannot be trained."""
    from transformers import AutoConfig, PreTrainedConfig

    is_gguf = GGUF in options
    with reading(f"the config.json of {path!r} cannot be used", location):
        entries = {} if is_gguf else PreTrainedConfig.get_config_dict(location, **options)[0]
    if not is_gguf:
        _check_entries(path, entries)
    with reading(f"the config.json of {path!r} cannot be used", location):
        config = AutoConfig.from_pretrained(location, trust_remote_code=False, **options)
    _check_layers(path, config)
    for part in {id(each): each for each in (config, config.get_text_config())}.values():
        _still(part)
    return config


@contextmanager
def reading(what_fails: str, location: str, advice: str = "") -> Iterator[None]:
    """Turns what libraries raise of a model's files into one message."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (*UNREADABLE, StrictDataclassError) as error:
        raise ValueError(f"{what_fails}: {brief(error)}{damage(location)}{advice}") from error


def _check_entries(path: str, entries: dict[str, Any]) -> None:
    import transformers

    kind = entries.get("model_type")
    if kind not in transformers.CONFIG_MAPPING:
        known = f"transformers {transformers.__version__} knows no model_type {kind!r}"
        if "auto_map" in entries:
            raise ValueError(
                f"the model {path!r} comes with code of its own ({known}), and no code of a "
                "model's files is ever run here: take a model that transformers itself knows"
            )
        raise ValueError(
            f"the config.json of {path!r} cannot be used: {known}. Set model_type to the "
            "architecture of the weights, or install a version of transformers that has it"
        )
    if transformers.CONFIG_MAPPING[kind] not in transformers.AutoModelForCausalLM._model_mapping:
        raise ValueError(
            f"the model {path!r} is a {kind}, which writes no text by itself: a policy is a causal "
            "language model"
        )
    quantised = entries.get("quantization_config") or entries.get("compression_config")
    if quantised:
        method = dict(quantised).get("quant_method", "in some way")
        raise ValueError(
            f"the weights of {path!r} are quantised ({method}), and a policy trains in float32: "
            "take the model that they were made from"
        )


def _check_layers(path: str, config: Any) -> None:
    """Without any, all blocks in the files would be parts that the model has no use for."""
    number = getattr(config.get_text_config(), "num_hidden_layers", 1)
    if number is not None and number < 1:
        raise ValueError(
            f"the config.json of {path!r} has num_hidden_layers={number}, expected at least 1: put "
            "the config.json there that the weights were saved with"
        )


def _still(config: Any) -> None:
    """Without what makes two forwards differ, or adds terms to a loss that is not ours."""
    for name, value in config.to_dict().items():
        # A response must have one log-prob: with dropout the first ratio would not be 1.
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    if getattr(config, "output_router_logits", False):
        config.output_router_logits = False  # only an auxiliary loss of transformers' reads them


def load_model(path: str, location: str, options: dict[str, Any], config: Any) -> torch.nn.Module:
    """With the weights of its files, in fp32 and eval mode."""
    from transformers import AutoModelForCausalLM

    _check_generation_file(path, location)
    advice = ". To start from random weights, set random_init=true beside path"
    with reading(f"the weights of {path!r} cannot be loaded", location, advice):
        model, report = AutoModelForCausalLM.from_pretrained(
            location,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # which the report names
            **attention_of(path, config),
            **options,
        )
    check_report(path, model, report)
    check_types(path, location)
    check_numbers(path, model)
    if GGUF in options:
        _forget_quantization(model)
    _make_savable(path, model.generation_config)
    return model.eval()


def draw_model(path: str, location: str, config: Any, seed: int) -> torch.nn.Module:
    """With random weights, in fp32 and eval mode."""
    from transformers import AutoModelForCausalLM

    # Forked, so that building a model moves nobody else's random numbers.
    with (
        reading(f"the config.json of {path!r} makes no model", location),
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, **attention_of(path, config)
        ).eval()


def attention_of(path: str, config: Any) -> dict[str, str]:
    """Which attention a model needs, where it is not the one that transformers chooses."""
    text = config.get_text_config()
    cap = getattr(text, "attn_logit_softcapping", None)
    if not cap:
        return {}
    warn_once(
        _log,
        f"{path}: the attention of this model caps its logits at {cap:g}, which sdpa would leave "
        "out. It is computed by transformers' eager attention, which is slower and takes more "
        "memory, and batching.share_prefixes is not for it.",
    )
    return {"attn_implementation": "eager"}


def _check_generation_file(path: str, location: str) -> None:
    """transformers goes by defaults where it cannot read it, and its stop tokens are lost."""
    from transformers import GenerationConfig

    if not (Path(location) / "generation_config.json").is_file():
        return
    what_fails = f"the generation_config.json of {path!r} cannot be read"
    with reading(what_fails, location, ". Correct or remove it"):
        GenerationConfig.from_pretrained(location)


def read_generation_settings(model: Any, location: str, options: dict[str, Any]) -> None:
    """Gives the model those of its files, as loading its weights would."""
    from transformers import GenerationConfig

    with suppress(OSError):  # without such a file, config.json says what there is
        model.generation_config = GenerationConfig.from_pretrained(location, **options)


def _make_savable(path: str, settings: Any) -> None:
    """Settings that transformers reads, but refuses to write, would end a run at its export."""
    if settings is None or (problem := _problem_of_saving(settings)) is None:
        return
    settings.do_sample = True
    if _problem_of_saving(settings) is not None:
        raise ValueError(
            f"the generation_config.json of {path!r} cannot be saved with the trained policy: "
            f"{brief(problem)}. Correct or remove it"
        )
    warn_once(
        _log,
        f"{path}: its generation_config.json has settings for sampling, and does not set "
        "do_sample, so that transformers would refuse to save it. The policy is exported with "
        "do_sample=true; neither plays a part in training.",
    )


def _problem_of_saving(settings: Any) -> ValueError | None:
    try:
        settings.validate(strict=True)
    except ValueError as error:
        return error
    return None


def _forget_quantization(model: Any) -> None:
    """Makes the model save as the plain fp32 Llama that it is once dequantized."""
    del model.config.quantization_config
    for name in ("is_quantized", "hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)


def brief(error: Exception) -> str:
    """What a library says, on one line and without its advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]).rstrip(".") or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]} ..."


def damage(location: str) -> str:
    """Which of a folder's files is not what its name says, if any; to follow what a library says.

    Few libraries name the file that they could not read.
    """
    for file in sorted(Path(location).glob("*")):
        if not file.is_file():
            continue
        with file.open("rb") as opened:
            if opened.read(len(LFS_POINTER)) == LFS_POINTER:
                return f" ({file} is a pointer of Git LFS: run git lfs pull in its folder)"
        if said := _damage_of(file):
            return f" ({file}, {file.stat().st_size:,} bytes, {said})"
    return ""


def _damage_of(file: Path) -> str:
    """What is wrong with it, and what to do; blank where it is what its name says."""
    if file.suffix in (".bin", ".json", ".model", ".pt") and not file.stat().st_size:
        return "is empty: copy or download it again"
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt"):
                pass
        elif file.suffix == ".json" and not isinstance(json.loads(file.read_bytes()), dict):
            return "holds no JSON object: copy or download it again"
    except SafetensorError:
        return "is not whole: copy or download it again"
    except (ValueError, RecursionError):
        return "is no JSON: copy or download it again"
    return ""
