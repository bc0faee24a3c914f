"""Replies that no model should write, and what is made of them.

python -m tests.hindsight.reply_fuzz [NUMBER]
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from opid_lightning.hindsight.plain_text import plain_line
from opid_lightning.hindsight.reply import REASONS, AnalysisError, keep_valid, parse_reply
from tests.golden.reader import read_cases
from tests.hindsight.reference_cases import parsing_agrees

DATA = Path(__file__).parents[1] / "golden" / "data"
MAX_STEP_SKILLS = 3
CANDIDATES = (0, 2, 3, 7)
MAX_CHARACTERS = 400
READ = "read"

GOOD = json.dumps(
    {
        "episode_summary": "It found the key late.",
        "episode_skill": "Search the drawers first, then open the door.",
        "step_skills": {"2": "Take the key.", "0": "Go left.", "7": 'Say "open".'},
    }
)
SHAPES = (
    GOOD,
    f"```json\n{GOOD}\n```",
    f"<think>{{draft: 1}} or [</think>Here it is: {GOOD} Done.",
    GOOD.replace('"', "'"),
    GOOD.replace('"2"', "2").replace("}}", ",},}"),
    json.dumps(json.loads(GOOD), indent=2),
)
PIECES = (
    *("{", "}", "[", "]", "(", ")", '"', "'", ":", ",", "\\", "\\u", "\\ud83d", "\\x", "\n", "```"),
    *("```json", "</think>", "<think>", "null", "None", "true", "NaN", "-Infinity", "1e999", "0x1"),
    *(
        "9" * 400,
        "9" * 5000,
        "1_0",
        "-1",
        "2.9",
        "٣",
        "\ufeff",
        "\x00",
        "\ud83d",
        "\u2028",
        "\u202e",
    ),
    *(
        '"episode_skill"',
        '"step_skills"',
        '"episode_skill": ',
        '{"0": "a"}',
        "<|im_end|>",
        "[INST]",
    ),
    *("k" * 500, " " * 300, "{" * 200, "[{" * 100, '{"a":' * 50, "🗝️", "é", "\udc00", "...", "//"),
)


def fuzzed_replies(number: int, seed: int = 0) -> Iterator[str | None]:
    """The same for the same seed."""
    random_ = random.Random(seed)
    makers: tuple[Callable[[random.Random], str | None], ...] = (
        mutated,
        mutated,
        mutated,
        cut,
        noise,
        brackets,
        odd_values,
        glued,
    )
    for _ in range(number):
        yield random_.choice(makers)(random_)


def mutated(random_: random.Random) -> str:
    """A good reply with a few pieces put in, taken out, doubled or swapped."""
    reply = random_.choice(SHAPES)
    for _ in range(random_.randint(1, 6)):
        start = random_.randrange(len(reply) + 1)
        end = min(len(reply), start + random_.choice((0, 0, 1, 2, 8, 40)))
        middle = random_.choice((random_.choice(PIECES), "", reply[start:end] * 2))
        reply = reply[:start] + middle + reply[end:]
    return reply


def cut(random_: random.Random) -> str:
    reply = mutated(random_) if random_.random() < 0.5 else random_.choice(SHAPES)
    return reply[: random_.randrange(len(reply) + 1)]


def noise(random_: random.Random) -> str | None:
    if random_.random() < 0.02:
        return None
    length = random_.choice((0, 1, 5, 50, 500))
    if random_.random() < 0.5:
        return random_.randbytes(length).decode(
            "utf-8", random_.choice(("replace", "surrogateescape"))
        )
    return "".join(chr(random_.randrange(sys.maxunicode + 1)) for _ in range(length))


def brackets(random_: random.Random) -> str:
    return "".join(random_.choices(PIECES[:16], k=random_.randint(1, 300)))


def glued(random_: random.Random) -> str:
    return "".join(random_.choices(PIECES, k=random_.randint(1, 12)))


def odd_values(random_: random.Random) -> str:
    """JSON whose fields hold anything."""
    odd: tuple[object, ...] = (
        *(None, True, 0, -1, 1e308, float("inf"), 10**300, "", " ", "None", "k", "k" * 500),
        *(
            [],
            ["a", 1],
            {},
            {"0": "a"},
            {"step 2": "a"},
            {"7": None, "2": []},
            {"99": "a"},
            "\u200b",
        ),
        {str(random_.randint(-9, 9)): random_.choice(PIECES) for _ in range(5)},
    )
    names = ("episode_skill", "episode_skill", "step_skills", "episode_summary", "note")
    return json.dumps({random_.choice(names): random_.choice(odd) for _ in range(5)})


def outcome_of(reply: str | None) -> str:
    """READ, or the reason for which it is rejected. Raises where either is not as promised."""
    try:
        said = parse_reply(reply)
        kept = keep_valid(said, CANDIDATES, MAX_STEP_SKILLS, MAX_CHARACTERS)
    except AnalysisError as error:
        if error.reason not in REASONS:
            raise
        return error.reason
    skills = kept.skills
    assert skills.episode_skill
    assert set(skills.step_skills) <= set(CANDIDATES)
    assert len(skills.step_skills) <= MAX_STEP_SKILLS
    num_said = len(said.skills.step_skills) + sum(said.left_out.values())
    assert num_said == len(skills.step_skills) + sum(kept.left_out.values())
    for text in (skills.episode_skill, skills.episode_summary, *skills.step_skills.values()):
        assert all(line == plain_line(line) for line in text.split("\n"))
        text.encode()
    return READ


def main(number: int) -> None:
    start = time.process_time()
    outcomes = Counter(map(outcome_of, fuzzed_replies(number)))
    seconds = time.process_time() - start
    print(f"{number} replies in {seconds:.1f} s of processor time, none raised anything else:")
    for outcome, count in outcomes.most_common():
        print(f"  {outcome:<18} {count:>7}")
    golden = read_cases(DATA / "parse_analysis_response.json")
    read = [case for case in golden if is_read(case.inputs["response"])]
    num_theirs = sum(
        (case.outputs.get("parsed") or {}).get("episode_skill", "").strip() != "" for case in golden
    )
    print(
        f"golden replies: {len(read)} of {len(golden)} read, {num_theirs} by the reference; "
        f"{sum(map(parsing_agrees, golden))} agree"
    )


def is_read(reply: str) -> bool:
    try:
        return bool(parse_reply(reply).skills.episode_skill.strip())
    except AnalysisError:
        return False


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
