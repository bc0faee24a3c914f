"""`play`: one game, by a list of commands, by a person or by the policy."""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentParser

from opid_lightning.cli.arguments import Arguments
from opid_lightning.cli.configuration import Configuration, configure
from opid_lightning.cli.errors import UsageError, nearest, own_error
from opid_lightning.cli.explanation import explain, locate_mentioned
from opid_lightning.cli.fitting import fitted
from opid_lightning.cli.names import Tree
from opid_lightning.cli.validation import check_names
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.prompt_check import CheckedEncoder
from opid_lightning.play import commands_from, from_terminal, play
from opid_lightning.protocols import Environment, Generation, Sampler, Split
from opid_lightning.rollout import Rollout
from opid_lightning.types import Observation, SampleRequest, Task, TokenIds, Turn

USAGE = """\
usage: python -m opid_lightning play conf=NAME game=GAME [commands=FILE|-] [SETTING=VALUE]

  game       the path of a game's file or folder, or the id of a task
  commands   a file with one command a line; - to type them; without it the policy plays

Prints one JSON object a line: step, command, observation, admissible, reward, done, won.
"""
PARTS: dict[str, Any] = {
    "env": Environment,
    "sampler": Sampler,
    "policy": PolicySource,
    "rollout": Rollout,
}
SPLITS: tuple[Split, ...] = ("train", "valid_seen", "valid_unseen")


def run(arguments: Arguments) -> None:
    if arguments.wants_help:
        print(USAGE)
        return
    configuration = configure(arguments)
    refuse_unused(arguments)
    commands = arguments.input("commands")
    parts = built(configuration, ("env",) if commands else tuple(PARTS))
    task = task_of(parts["env"], arguments.input("game"))
    with ExitStack() as stack:
        if commands is None:
            policy = load_policy(parts["policy"])
            generation = stack.enter_context(parts["sampler"].serving(policy))
            encode = CheckedEncoder(policy, parts["policy"].thinking, parts["rollout"].stop)
            play(
                parts["env"], task, PolicyActor(parts["env"], parts["rollout"], generation, encode)
            )
        else:
            play(
                parts["env"], task, from_terminal() if commands == "-" else commands_from(commands)
            )


def refuse_unused(arguments: Arguments) -> None:
    for setting in arguments.settings:
        if setting.key.split(".")[0] not in (*PARTS, "model"):
            raise UsageError(
                f"play does not use {setting.typed}. It reads {', '.join(PARTS)}, game, commands."
            )


def built(configuration: Configuration, names: tuple[str, ...]) -> dict[str, Any]:
    """Those parts of a run that a game needs; raises UsageError like `fit` does."""
    tree: Tree = {name: value for name, value in configuration.resolved().items() if name in names}
    parser = ArgumentParser(exit_on_error=False)
    for name in names:
        parser.add_argument(f"--{name}", type=PARTS[name], required=True)
    check_names(configuration, tree, parser)
    tree = fitted(configuration, tree, parser)
    try:
        parsed = parser.instantiate(parser.parse_object(tree))
    except ArgumentError as error:
        raise UsageError(explain(str(error), configuration, tree)) from error
    except ValueError as error:
        if (found := own_error(error)) is None:
            raise
        raise UsageError(locate_mentioned(str(found), configuration)) from error
    return {name: parsed[name] for name in names}


def task_of(environment: Environment, game: str | None) -> Task:
    """An environment may know games by path, with `task_from`; else a game is a task's id."""
    if game is None:
        raise UsageError("Which game? Add game=PATH of its file or folder, or game=ID of a task.")
    if hasattr(environment, "task_from"):
        found: Task = environment.task_from(game)
        return found
    tasks = {task.id: task for split in SPLITS for task in environment.tasks(split)}
    if game not in tasks:
        raise UsageError(f"There is no game={game}. {nearest(game, tasks)}")
    return tasks[game]


@dataclass(frozen=True)
class PolicyActor:
    """Answers as in a greedy evaluation, with as much history as fits the prompt."""

    environment: Environment
    rollout: Rollout
    generation: Generation
    encode: Callable[[str], TokenIds]

    def __call__(self, goal: str, history: tuple[Turn, ...], observation: Observation) -> str:
        prompt = self.rollout.prompt(self.environment, self.encode, goal, history, observation)
        request = SampleRequest(
            id=f"step {len(history)}",
            prompt_ids=prompt.token_ids,
            max_tokens=self.rollout.max_response_tokens,
            temperature=0.0,
            seed=0,
            stop=self.rollout.stop,
        )
        self.generation.submit(request)
        (completion,) = self.generation.collect()
        return self.environment.action(completion.text, observation).text
