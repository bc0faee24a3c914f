"""Makes the policy that ships for ALFWorld: a lossless tokenizer that knows its words, and a
Llama of one million random weights.

python -m opid_lightning.lm.small_policy OUT
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

MAX_WORDS = 2048
NUM_POSITIONS = 4096
SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
TAGS = ("<think>", "</think>", "<action>", "</action>")  # one token each, and part of the text
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)

# What ALFWorld says, prompts ask and agents reply; {o} is an object, {r} a receptacle.
SENTENCES = (
    "You are in a house and act through text commands.\nYour goal: put a {o} in {r}.",
    "Your goal: find two {o} and put them in {r}.\nYour goal: put two {o} in {r}.",
    "Your goal: put a clean {o} in {r}.\nYour goal: clean some {o} and put it in {r}.",
    "Your goal: put a hot {o} in {r}.\nYour goal: heat some {o} and put it in {r}.",
    "Your goal: put a cool {o} in {r}.\nYour goal: cool some {o} and put it in {r}.",
    "Your goal: look at {o} under the {r}.\nYour goal: examine the {o} with the {r}.",
    "What you did last:\n- You saw: You arrive at {r}. The {r} is closed.\n  You did: open {r}",
    "You see: You are in the middle of a room. Looking quickly around you, you see a {r}, a {r}, "
    "a {r}, and a {r}.\nYour task is to: put some {o} on {r}.",
    "You see: You arrive at {r}. On the {r}, you see a {o}, a {o}, and a {o}.",
    "You see: You open the {r}. The {r} is open. In it, you see nothing.",
    "You pick up the {o} from the {r}. You move the {o} to the {r}. Nothing happens.",
    "You heat the {o} using the {r}. You cool the {o} using the {r}. You clean the {o} using the "
    "{r}. You turn on the {r}. You are facing the {r}. Next to it, you see nothing.",
    "You are carrying: a {o}. You are not carrying anything. This is a hot sliced {o}.",
    "Admissible actions: go to {r}, go to {r}, go to {r}, examine {r}, inventory, look",
    "Admissible actions: close {r}, open {r}, take {o} from {r}, move {o} to {r}, use {o}, "
    "heat {o} with {r}, clean {o} with {r}, cool {o} with {r}, slice {o} with {o}, examine {o}",
    "Now it's your turn. Reason briefly about the next step inside <think> </think>, then write "
    "one action, copied from the list above, inside <action> </action>.",
    "<think>I need to find a {o}. I should look for it in the {r} first.</think><action>go to "
    "{r}</action>",
    "<think>I have the {o}, so I should put it in the {r}.</think><action>move {o} to {r}</action>",
    "Advice for this task, learned from an earlier attempt: find the {o}, take it, go to the {r}, "
    "open it and put it in the {r}. Do not repeat an action that changed nothing.",
    "Advice for this very moment: take the {o} from the {r} before you go on.",
)


def corpus() -> Iterator[str]:
    """Sentences with every object and receptacle of ALFWorld filled in, seeded."""
    from alfworld.gen.constants import OBJECTS, RECEPTACLES

    source = random.Random(0)
    objects = [name.lower() for name in OBJECTS]
    receptacles = sorted(name.lower() for name in RECEPTACLES)
    for _ in range(400):
        for sentence in SENTENCES:
            while "{" in sentence:
                thing = f"{source.choice(objects)} {source.randint(1, 12)}"
                place = f"{source.choice(receptacles)} {source.randint(1, 30)}"
                sentence = sentence.replace("{o}", thing, 1).replace("{r}", place, 1)
            yield sentence


def make(directory: Path) -> None:
    """The same bytes at each call."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(directory)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=NUM_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(directory)


def make_tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_WORDS - len(TAGS),
        special_tokens=list(SPECIAL),
        # All bytes, so that any text survives encoding and decoding.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
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


if __name__ == "__main__":
    make(Path(sys.argv[1]))
