"""What a row asks and which answers are right, in the forms that public data has.

question                   golden answers                     form
question                   golden_answers                     FlashRAG, Search-R1's files
env_kwargs.question,       reward_model.ground_truth.target   OPID's preprocessing
  extra_info.question
prompt[0].content          reward_model.ground_truth          Search-R1's README
question                   answer                             HotpotQA, 2WikiMultihopQA, NQ
question                   answer, answer_aliases             MuSiQue
question                   answer.value, answer.aliases       TriviaQA
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from opid_lightning.envs.search.files.fields import field, first_field

# What Search-R1 and its successors put before a question in a prompt.
_INSTRUCTION = re.compile(r"^Answer the given question\..*?Question:\s*", re.DOTALL)
_ANSWERS = (
    ("golden_answers",),
    ("reward_model", "ground_truth"),
    ("env_kwargs", "ground_truth"),
    ("answers",),
    ("answer",),
)
_TEXTS = ("target", "value", "aliases", "text")  # of an answer that is an object


def question_of(values: Mapping[str, Any]) -> Any:
    """A text, or whatever else stands in its place; None where there is nothing."""
    for path in (("question",), ("env_kwargs", "question"), ("extra_info", "question")):
        if (found := field(values, *path)) is not None:
            return field(found, "text") if isinstance(found, Mapping) else found
    return _from_prompt(field(values, "prompt"))


def _from_prompt(prompt: Any) -> Any:
    """The last message of the user, without the instruction before the question."""
    if isinstance(prompt, list):
        told = [message for message in prompt if field(message, "role") in ("user", None)]
        prompt = field(told[-1], "content") if told else None
    return _INSTRUCTION.sub("", prompt.strip()) if isinstance(prompt, str) else prompt


def golden_answers_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """All that are right, each once. Raises ValueError where an answer is of no known form."""
    for path in _ANSWERS:
        if found := tuple(_texts(field(values, *path))):
            aliases = _texts(field(values, "answer_aliases"))
            return tuple(dict.fromkeys((*found, *aliases)))
    return ()


def _texts(answer: Any) -> Iterator[str]:
    if isinstance(answer, str):
        yield from filter(None, (answer.strip(),))
    elif isinstance(answer, bool):
        yield from ("yes", "true") if answer else ("no", "false")
    elif isinstance(answer, int | float):
        yield _number(answer)
    elif isinstance(answer, list):
        for one in answer:
            yield from _texts(one)
    elif isinstance(answer, Mapping):
        yield from _texts([field(answer, name) for name in _TEXTS])
    elif answer is not None:
        raise ValueError(f"golden answers that are no texts: {answer!r:.60}")


def _number(answer: float) -> str:
    """3.0 is 3: punctuation is deleted before answers are compared, and 30 would be left."""
    if not math.isfinite(answer):
        raise ValueError(f"golden answers that are no texts: {answer!r}")
    return str(int(answer)) if answer == int(answer) else str(answer)


def supporting_titles_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the passages that the answer follows from, where the row says which."""
    titles = field(values, "supporting_titles")
    if titles is None:
        titles = _titles_of_facts(field(values, "supporting_facts"))
    if not isinstance(titles, list) or not all(isinstance(title, str) for title in titles):
        raise ValueError(f"supporting titles that are no texts: {titles!r:.60}")
    return tuple(dict.fromkeys(titles))


def _titles_of_facts(facts: Any) -> Any:
    """HotpotQA's: `[[title, sentence], ...]`, or `{"title": [...], ...}` in Parquet."""
    if isinstance(facts, list):
        return [fact[0] for fact in facts if isinstance(fact, list) and fact]
    return field(facts, "title") or []


def source_of(values: Mapping[str, Any]) -> str | None:
    """The data set that a row says it is from, such as "nq"; None where it says nothing."""
    found = first_field(values, "data_source") or field(values, "env_kwargs", "data_source")
    return str(found) if found else None


def id_of(values: Mapping[str, Any]) -> str | None:
    """The row's own id as text; None where it has none."""
    found = first_field(values, "id", "question_id", "qid")
    return None if found is None else str(found)
