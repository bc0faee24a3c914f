"""Tokenizers that know the words of one environment and spell all others in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

MAX_WORDS = 4096
NUM_POSITIONS = 4096
SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# How any text falls into words, numbers and signs; what stands before a word belongs to it.
WORDS = (r" ?[A-Za-z]+", r" ?\d+", r"\n", r" ?[^\sA-Za-z\d]", r"\s")


def often(texts: Iterable[str], phrases: Iterable[str]) -> Iterator[str]:
    """So that a rare word is one token too, and so is each of the phrases as a whole."""
    for text in texts:
        yield from (f" {text}" for _ in range(3))
    for phrase in phrases:
        yield from (phrase for _ in range(50))


def make_tokenizer(corpus: Iterable[str], chunks: Sequence[str], tags: Sequence[str]) -> Any:
    """Learns the words of a corpus, without crossing chunks; tags are one token each, and text.

    Any other text is spelt in bytes, without loss. `chunks` are regular expressions, the first
    that matches counts.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(chunks)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_WORDS - len(tags),
        special_tokens=list(SPECIAL),
        # All bytes, so that any text survives encoding and decoding.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in tags])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        clean_up_tokenization_spaces=False,
        model_max_length=NUM_POSITIONS,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
