"""A live question: searches are answered with passages, an answer ends it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from opid_lightning.envs.search.answers import last_answer, matches, normalise
from opid_lightning.envs.search.questions import Question
from opid_lightning.types import Observation, Opening, Task

AnswerRule = Literal["response", "reference"]

_QUERY = re.compile(r"<search>(.*?)</search>", re.DOTALL)
_OWN_ANSWER = re.compile(r"<answer>(.*)</answer>", re.DOTALL)


@dataclass
class SearchSession:
    """Plays `<search>`, `<information>` and `<answer>` turns.

    Which answer counts, by `answer_rule`:

    response   the action that ends the episode, if it is an answer. Nothing that was retrieved,
               and nothing that was written in a query, can win.
    reference  the last pair of answer tags in everything said so far, passages included, joined
               without a blank: a passage that holds answer tags can win at the last step.
    """

    search: Callable[[str], str]  # a query to the text that is shown; blank: nothing is shown
    max_steps: int
    win_reward: float
    answer_rule: AnswerRule

    question: Question = field(init=False)
    said: list[str] = field(init=False, default_factory=list)
    num_steps: int = field(init=False, default=0)
    is_done: bool = field(init=False, default=False)

    def reset(self, task: Task) -> Opening:
        """Starts the question in `task.payload`."""
        self.question = task.payload
        self.said, self.num_steps, self.is_done = [], 0, False
        return Opening(self.question.text, Observation(self.question.text))

    def step(self, action: str) -> Observation:
        """Looks up passages, or ends with a reward of `win_reward` where the answer is right."""
        self.said.append(action)
        self.num_steps += 1
        is_last = self.num_steps >= self.max_steps
        self.is_done = self.is_done or is_last or self._is_answer(action)
        if self.is_done:
            answer = self._answer(action)
            won = answer is not None and self._is_right(answer)
            return Observation("", reward=self.win_reward * won, done=True, won=won)
        shown = self._look_up(action)
        if shown:
            self.said.append(f"\n{shown}\n")
        return Observation(shown)

    def close(self) -> None:
        """Holds nothing to close: what searches is shared by all sessions."""

    def _is_answer(self, action: str) -> bool:
        if self.answer_rule == "reference":
            return "<answer>" in action and "</answer>" in action
        return _OWN_ANSWER.fullmatch(action) is not None

    def _answer(self, action: str) -> str | None:
        if self.answer_rule == "reference":
            return last_answer("".join(self.said))
        own = _OWN_ANSWER.fullmatch(action)
        return own[1].strip() if own else None

    def _is_right(self, answer: str) -> bool:
        """By the rule `response`, what normalises to nothing has to be golden as it is.

        "The The" does, and so would be matched by "a".
        """
        golden = self.question.golden_answers
        if self.answer_rule == "response" and not normalise(answer):
            return answer.lower() in (right.lower() for right in golden)
        return matches(answer, golden)

    def _look_up(self, action: str) -> str:
        query = _QUERY.search(action)
        found = self.search(query[1]) if query else ""
        return f"<information>{found}</information>" if found else ""
