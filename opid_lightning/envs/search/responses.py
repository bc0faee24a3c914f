"""From a response to an action, exactly as the paper's code reads it: a search or an answer."""

from __future__ import annotations

import re

from opid_lightning.types import Action

_SEARCH = re.compile(r"<search>(.*?)</search>", re.IGNORECASE | re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_OPEN = re.compile(r"<(?:search|answer)>", re.IGNORECASE)


def read_action(response: str) -> Action:
    """The first search, or without one the first answer, as `<search>..</search>`.

        <think>who?</think><search> Ada Brook </search>  ->  "<search>Ada Brook</search>", valid
        <search>Ada</search><answer>Ada</answer>         ->  "<search>Ada</search>", invalid
        <think>no <search></think><answer>x</answer>     ->  "<answer>x</answer>", invalid
        </search><answer>x</answer>                      ->  "", invalid

    What follows the first `</search>`, or without one the first `</answer>`, is not read, but a
    second opening tag anywhere makes the response invalid. It is played all the same.
    """
    for end in ("</search>", "</answer>"):
        if end in response:
            read = response.partition(end)[0] + end
            break
    else:
        read = response
    is_valid = len(_OPEN.findall(response)) == 1
    if found := _SEARCH.search(read):
        return Action(f"<search>{found[1].strip()}</search>", is_valid)
    if found := _ANSWER.search(read):
        return Action(f"<answer>{found[1].strip()}</answer>", is_valid)
    return Action("", is_valid=False)
