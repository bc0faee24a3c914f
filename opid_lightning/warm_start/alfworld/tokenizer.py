"""The words of ALFWorld, of what prompts ask about it, and of what agents and analysts say."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from opid_lightning.envs.alfworld.stock import import_alfworld
from opid_lightning.warm_start.tokenizer import WORDS, make_tokenizer

# One token each, and part of the text.
TAGS = ("<think>", "</think>", "<action>", "</action>", "</think><action>")

# What games and prompts say around names, one token each: prompts are half as long with them.
PHRASES = (
    "You are in the middle of a room. Looking quickly around you, you see a",
    "You arrive at",
    ". On the",
    ". The",
    ", you see a",
    ", you see nothing.",
    ", a",
    ", and a",
    " is closed.",
    " is open. In it, you see a",
    " is open. In it, you see nothing.",
    *(f"You {verb} the" for verb in ("open", "close", "pick up", "move", "heat", "cool", "clean")),
    "You turn on the",
    " from the",
    " to the",
    " using the",
    "Nothing happens.",
    "Your goal:",
    "Your turn. Your goal:",
    "\n> ",
    "go to",
    " put it in",
    " put them in",
    "Advice for this task, learned from an earlier attempt:",
    "Advice for this very moment:",
    "This way of working solved the task.",
    '", then "',
    " now, as it opens up new possibilities.",
    " now, as it changes nothing; try",
    " now, as it leads back to what you have seen; try",
)
MANY = ("cabinet", "drawer", "shelf")  # of which a room can have MAX_MANY
MAX_MANY, MAX_FEW = 16, 5  # of a name; a higher number is a token of its own
# A name with its number is one token: what was seen is then found in one look.
_CHUNKS = (
    *map(re.escape, sorted(PHRASES, key=len, reverse=True)),
    r" [a-z]+ (?:[1-9]|1[0-6])(?!\d)",
    *WORDS,
)

# What ALFWorld says, prompts ask and agents reply; {o} is an object, {r} a receptacle.
SENTENCES = (
    "Your goal: put a {o} in {r}. Your goal: find two {o} and put them in {r}.",
    "Your goal: put some {o} on {r}. Your goal: put two {o} in {r}.",
    "Your goal: put a clean {o} in {r}. Your goal: clean some {o} and put it in {r}.",
    "Your goal: put a hot {o} in {r}. Your goal: heat some {o} and put it in {r}.",
    "Your goal: put a cool {o} in {r}. Your goal: cool some {o} and put it in {r}.",
    "Your goal: look at {o} under the {r}. Your goal: examine the {o} with the {r}.",
    "You are in the middle of a room. Looking quickly around you, you see a {r}, a {r}, and a {r}.",
    "\n> go to {r}\nYou arrive at {r}. On the {r}, you see a {o}, a {o}, and a {o}.",
    "\n> go to {r}\nYou arrive at {r}. The {r} is closed.\n> close {r}\nYou close the {r}.",
    "\n> open {r}\nYou open the {r}. The {r} is open. In it, you see nothing.",
    "\n> open {r}\nYou open the {r}. The {r} is open. In it, you see a {o}."
    "\n\nYour turn. Your goal: put",
    "\n> take {o} from {r}\nYou pick up the {o} from the {r}. On the {r}, you see nothing.",
    "\n> move {o} to {r}\nYou move the {o} to the {r}. Nothing happens.",
    "\n> heat {o} with {r}\nYou heat the {o} using the {r}.",
    "\n> cool {o} with {r}\nYou cool the {o} using the {r}.",
    "\n> clean {o} with {r}\nYou clean the {o} using the {r}.",
    "\n> use {o}\nYou turn on the {o}. This is a hot clean cool sliced cold normal {o}.",
    "\n> examine {o}\nThere's nothing special about {o}. This {o} is on. This {o} is off.",
    "\n> look\nYou are facing the {r}. Next to it, you see nothing.",
    "\n> inventory\nYou are carrying: a {o}. You are not carrying anything. slice {o} with {o}",
    "<think>the {o}: find</think><action>go to {r}</action><think>the {o}: take</think>",
    "<think>the {o}: bring to {r}</think><think>the {o}: put away</think><think>the {o}: use",
    "<think>the {o}: heat</think><think>the {o}: cool</think><think>the {o}: clean</think>",
    "Advice for this task, learned from an earlier attempt:\nThis way of working solved the task. "
    'Earlier steps led up to this: "go to {r}", then "take {o} from {r}", then "open {r}" 2 times.',
    "Do not insist on actions that change nothing. Do not repeat a choice in a "
    'situation you have been in: "go to {r}". Do not go back to what you have already seen: '
    '"move {o} to {r}". Explore what was never tried: "clean {o} with {r}". Choose only actions '
    'that are available; these were not: "heat {o} with {r}". Answer every time with one action in '
    "the required format. No single action was at fault, so take a more direct way to the goal.",
    'Advice for this very moment:\nChoose "go to {r}" now, as it opens up new possibilities. '
    'Choose "take {o} from {r}" now, as it is what the task rewards. Do not choose "open {r}" now, '
    'as it changes nothing; try "go to {r}". Do not choose "look" now, as it is not available; try '
    "something else. Leave the loop: you chose here before; try. Do not choose now, as it leads "
    "back to what you have seen; try. Answer with exactly one action in the required format.",
)


def corpus() -> Iterator[str]:
    """Sentences with every object and receptacle of ALFWorld filled in, seeded."""
    constants = import_alfworld("gen.constants")
    source = random.Random(0)
    objects = [name.lower() for name in constants.OBJECTS]
    receptacles = sorted(name.lower() for name in constants.RECEPTACLES)
    for _ in range(400):
        for sentence in SENTENCES:
            while "{" in sentence:
                thing = f"{source.choice(objects)} {source.randint(1, MAX_FEW)}"
                place = f"{source.choice(receptacles)} {source.randint(1, MAX_FEW)}"
                sentence = sentence.replace("{o}", thing, 1).replace("{r}", place, 1)
            yield sentence
    for name in (*objects, *receptacles):
        largest = MAX_MANY if name in MANY else MAX_FEW
        for _ in range(50):
            yield f" {name}"
            yield from (f" {name} {number}" for number in range(1, largest + 1))
    yield from (f" {number}" for number in range(1, 40) for _ in range(50))


def alfworld_tokenizer() -> Any:
    """Words of ALFWorld as whole tokens, other text in pieces."""
    return make_tokenizer(corpus(), _CHUNKS, TAGS)
