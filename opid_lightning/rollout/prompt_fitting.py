"""What of the history and of the newest observation fits into a prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from opid_lightning.types import Observation, Prompt, PromptText, TokenIds, Turn

# The start of a text says most; its end often closes it, and has the newest entries of a list.
_START_SHARE = 2 / 3


@dataclass(frozen=True)
class PromptFitting:
    """Leaves out the oldest history first; if that is not enough, cuts the newest observation.

    An environment that shows an observation beside the action that brought it keeps that turn:
    without it the observation would go, and the policy would be asked the same once more.
    """

    write: Callable[[Sequence[Turn], Observation], PromptText]
    encode: Callable[[str], TokenIds]
    budget: int  # tokens

    def __call__(self, history: Sequence[Turn], observation: Observation) -> Prompt | None:
        """None where the rest of the prompt is already over the budget."""
        kept = self._num_kept(history, observation)
        texts = self._shortened(history, observation, len(history) - kept)
        num_dropped = 0
        for num_dropped, text in enumerate(texts):
            if (prompt := self._fitting(text, num_dropped)) is not None:
                return prompt
        return self._cut(history[len(history) - kept :], observation, num_dropped)

    def _num_kept(self, history: Sequence[Turn], observation: Observation) -> int:
        """1 where a prompt without history looks the same whatever is seen now."""
        others = [turn.observation for turn in history if turn.observation != observation]
        shows = not others or self.write((), observation) != self.write((), others[-1])
        return 0 if shows else 1

    def _shortened(
        self, history: Sequence[Turn], observation: Observation, most: int
    ) -> Iterator[PromptText]:
        """With ever less history. Turns that are not shown anyway do not count as dropped."""
        previous = None
        for start in range(most + 1):
            text = self.write(history[start:], observation)
            if text != previous:
                yield text
            previous = text

    def _cut(
        self, history: Sequence[Turn], observation: Observation, num_dropped: int
    ) -> Prompt | None:
        """With as much of the observation as fits, found by bisection."""
        best, fits = None, -1
        fails = max(len(observation.text), sum(map(len, observation.admissible)))
        while fails - fits > 1:
            limit = (fits + fails) // 2
            shorter, num_cut = cut_observation(observation, limit)
            prompt = self._fitting(self.write(history, shorter), num_dropped, num_cut)
            if prompt is None:
                fails = limit
            else:
                best, fits = prompt, limit
        return best

    def _fitting(self, text: PromptText, num_dropped: int, num_cut: int = 0) -> Prompt | None:
        token_ids = self.encode(text.text)
        if len(token_ids) > self.budget:
            return None
        return Prompt(text, token_ids, num_dropped, num_cut)


def cut_observation(observation: Observation, limit: int) -> tuple[Observation, int]:
    """Its text, and its admissible actions in sum, of at most so many characters and a marker.

    Returns with it how many characters were left out.
    """
    text, num_cut = _cut_text(observation.text, limit)
    actions, num_more_cut = _cut_list(observation.admissible, limit)
    shorter = dataclasses.replace(observation, text=text, admissible=actions)
    return shorter, num_cut + num_more_cut


def _cut_text(text: str, limit: int) -> tuple[str, int]:
    num_cut = len(text) - limit
    if num_cut <= 0:
        return text, 0
    start = int(limit * _START_SHARE)
    marker = f" [... {num_cut:,} characters left out ...] "
    return f"{text[:start].rstrip()}{marker}{text[start + num_cut :].lstrip()}".strip(), num_cut


def _cut_list(actions: tuple[str, ...], limit: int) -> tuple[tuple[str, ...], int]:
    """The first of them, whole; those that are left out may be played all the same."""
    ends = accumulate(map(len, actions))
    kept = sum(end <= limit for end in ends)
    if kept == len(actions):
        return actions, 0
    left_out = actions[kept:]
    return (*actions[:kept], f"[... {len(left_out):,} more ...]"), sum(map(len, left_out))
