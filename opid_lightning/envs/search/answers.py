"""Whether an answer is right: exact match with any golden answer, after normalising both."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation and articles, single blanks: as in SQuAD.

    "The U.S.A., an ally"  ->  "usa ally"
    """
    plain = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", plain).split())


def matches(answer: str, golden_answers: Iterable[str]) -> bool:
    """Whether the answer equals one of the golden answers once both are normalised."""
    return normalise(answer) in map(normalise, golden_answers)


def last_answer(text: str) -> str | None:
    """What stands in the last pair of answer tags, or None without one."""
    found = _ANSWER.findall(text)
    return found[-1].strip() if found else None
