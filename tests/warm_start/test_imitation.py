"""The loss of imitation, and that it falls."""

import numpy as np
import pytest
import torch

from opid_lightning.lm.text.chat import encode_chat
from opid_lightning.types import Policy, PromptText
from opid_lightning.warm_start.alfworld.tokenizer import alfworld_tokenizer
from opid_lightning.warm_start.demonstration_source import Demonstration, Example
from opid_lightning.warm_start.imitation import Imitation, lesson_of, schedule, token_losses
from opid_lightning.warm_start.model import make_model

TOKENIZER = alfworld_tokenizer()
ENCODE = encode_chat(TOKENIZER)


def example(situation, command):
    text = PromptText("Your goal: put a mug in shelf.", situation, "Your turn.")
    return Example(text, f"<think>find mug</think><action>{command}</action>")


EPISODE = Demonstration(
    (
        example("You see a desk 1.", "go to desk 1"),
        example("You see a desk 1.\n> go to desk 1\nYou arrive at desk 1.", "look"),
    ),
    won=True,
)


def test_the_loss_of_a_tree_is_that_of_its_episodes_read_one_by_one():
    """Against plain forwards on whole sequences, without a tree or a mask."""
    model = make_model(TOKENIZER, seed=0, hidden=64, layers=2).eval()
    losses, kinds = token_losses(model, [lesson_of(TOKENIZER, ENCODE, EPISODE)], 0)
    expected = []
    for one in EPISODE.examples:
        prompt = ENCODE(one.prompt.text)
        response = (*TOKENIZER.encode(one.response), TOKENIZER.eos_token_id)
        logits = model(torch.tensor([[*prompt, *response]])).logits[0].log_softmax(-1)
        for i, token in enumerate(response):
            expected.append(-logits[len(prompt) + i - 1, token].item())
    found = losses[kinds].tolist()
    assert sorted(found) == pytest.approx(sorted(expected), abs=1e-4)


def test_what_episodes_share_is_counted_once():
    lesson = lesson_of(TOKENIZER, ENCODE, EPISODE)
    longest = max(len(path) for path in lesson.tree.paths)
    assert longest < len(lesson.tree.tokens) < sum(len(path) for path in lesson.tree.paths)
    ends = [path[-1] for path in lesson.tree.paths]
    assert list(lesson.tree.tokens[ends]) == [TOKENIZER.eos_token_id] * 2
    assert np.all(lesson.is_response[ends])


def test_a_policy_learns_by_heart_what_it_is_shown():
    policy = Policy(make_model(TOKENIZER, seed=0, hidden=64, layers=1), TOKENIZER)
    imitation = Imitation(num_episodes=400, bucket=8, learning_rate=5e-3)
    reports = [losses for _, losses in imitation(policy, [EPISODE] * 400, ENCODE)]
    assert reports[0]["response"] > 6  # log of the number of words
    assert reports[-1]["response"] < 0.1


@pytest.mark.parametrize(("progress", "rate"), [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (1.0, 0.05)])
def test_the_learning_rate_rises_and_falls(progress, rate):
    assert schedule(progress, warmup=0.1) == pytest.approx(rate)
