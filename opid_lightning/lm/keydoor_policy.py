"""Makes the policy that ships for keydoor: a tokenizer of whole words, and a tiny architecture.

python -m opid_lightning.lm.keydoor_policy OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

SPECIAL = ("<pad>", "<unk>", "<agent>", "<end>")
# Few words, so that an untrained policy says an action by chance often enough to learn from.
WORDS = (
    *("left", "right", "take", "open"),
    *("the", "key", "door", "is", "here", "held", "nothing", "then", "first"),
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['content'] + (' <agent> ' if message['role'] == 'user' else ' <end> ') }}"
    "{% endfor %}"
)


def make(directory: Path) -> None:
    """Writes config and tokenizer; weights are drawn when the policy is loaded."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    letters = normalizers.Replace(Regex("[^a-z]+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), letters])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        additional_special_tokens=["<agent>"],
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(directory)
    LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        initializer_range=0.05,  # so that two layers start with a view of more than one token
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=words["<end>"],
        pad_token_id=words["<pad>"],
    ).save_pretrained(directory)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
