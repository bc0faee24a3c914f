"""From the recorded inputs of search-based question answering to this project's, and back."""

from __future__ import annotations

from typing import Any

from opid_lightning.envs.search.answers import last_answer, matches, normalise
from opid_lightning.envs.search.questions import Question
from opid_lightning.envs.search.responses import read_action
from opid_lightning.envs.search.session import SearchSession
from opid_lightning.types import Observation, Task
from tests.golden.adapters_advantage import Inputs, Outputs


def search_normalize_answer(inputs: Inputs) -> Outputs:
    return {"normalized": normalise(inputs["text"])}


def search_projection(inputs: Inputs) -> Outputs:
    action = read_action(inputs["output"])
    return {"action": action.text, "valid": int(action.is_valid)}


def search_compute_score(inputs: Inputs) -> Outputs:
    """The reference gives a whole 0 where there is no answer."""
    answer, golden = last_answer(inputs["solution_str"]), golden_of(inputs["ground_truth"])
    if answer is None:
        return {"score": 0, "extracted": None, "subem_score": 0}
    contains = any(normalise(right) in normalise(answer) for right in golden)
    return {
        "score": float(matches(answer, golden)),
        "extracted": answer,
        "subem_score": float(contains),
    }


def search_env_episode(inputs: Inputs) -> Outputs:
    """By the rule `reference`. What holds no query reaches the reference's tool as null."""
    queries = list[str | None]()

    def search(query: str) -> str:
        queries.append(query)
        return inputs["retrieval"].get(query, inputs["retrieval_default"])

    session = SearchSession(search, inputs["max_turns"], 1.0, "reference")
    question = Question(inputs["question"], golden_of(inputs["ground_truth"]))
    session.reset(Task("recorded", "recorded", question))
    steps = []
    for action in inputs["actions"]:
        num_queries = len(queries)
        after = session.step(action)
        if not after.done and len(queries) == num_queries:
            queries.append(None)
        steps.append(step_of(after))
    return {"steps": steps, "queries": queries}


def step_of(after: Observation) -> dict[str, Any]:
    return {
        "obs": after.text,
        "reward": after.reward,
        "done": after.done,
        "won": after.won,
        "tool_calling": not after.done,
    }


def golden_of(ground_truth: dict[str, Any]) -> tuple[str, ...]:
    target = ground_truth["target"]
    return (target,) if isinstance(target, str) else tuple(target)
