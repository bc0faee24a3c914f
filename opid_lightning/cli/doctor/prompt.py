"""Whether tokenizer, chat template and environment fit together, on one prompt, without playing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from opid_lightning.cli.doctor.data import waits_for_games
from opid_lightning.cli.doctor.findings import Finding, State
from opid_lightning.cli.doctor.parts import Parts, made

if TYPE_CHECKING:
    from opid_lightning.lm.policy import PolicySource
    from opid_lightning.protocols import Environment

SUBJECT = "prompt"


def check_prompt(parts: Parts) -> Iterator[Finding]:
    """The check that `fit` makes at its start, on the first task; it needs no weights."""
    from opid_lightning.lm.policy import PolicySource, place_of

    source = made(PolicySource, (parts.tree or {})["policy"])
    try:
        environment = parts.build("env")
        waits = waits_for_games(environment)
        place_of(source)
    except ValueError as error:
        yield Finding(SUBJECT, State.OPTIONAL, f"not checked: {error}")
        return
    if waits:
        found = "not checked: the first run generates the games"
        yield Finding(SUBJECT, State.OPTIONAL, found, "repeat it after a --dry-run, or a run")
        return
    try:
        found = first_prompt(parts, environment, source)
    except ValueError as error:
        yield Finding(SUBJECT, State.BROKEN, str(error))
    else:
        yield Finding(SUBJECT, State.OK, found)


def first_prompt(parts: Parts, environment: Environment, source: PolicySource) -> str:
    """What is found of it; raises ValueError where it does not fit."""
    from opid_lightning.cli.verbs.dry_run import opened
    from opid_lightning.lm.policy import outline_policy
    from opid_lightning.lm.text.prompt_check import CheckedEncoder
    from opid_lightning.rollout.rollout import Rollout

    rollout = made(Rollout, (parts.tree or {})["rollout"])
    encode = CheckedEncoder(outline_policy(source), source.thinking, rollout.stop)
    task = environment.tasks("train")[0]
    opening = opened(environment, task)
    prompt = rollout.prompt(environment, encode, opening.goal, (), opening.observation)
    return (
        f"task {task.id!r} takes {len(prompt.token_ids)} of at most {rollout.max_prompt_tokens} "
        "tokens; its message and tags survive the chat template"
    )
