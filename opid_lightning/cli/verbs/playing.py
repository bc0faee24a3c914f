"""`play`: one game, by a list of commands, by a person or by the policy."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentParser

from opid_lightning.cli.config.arguments import Arguments
from opid_lightning.cli.config.configuration import Configuration, configure
from opid_lightning.cli.config.explanation import explain, locate_mentioned
from opid_lightning.cli.config.fitting import fitted
from opid_lightning.cli.config.names import Tree
from opid_lightning.cli.config.validation import check_names
from opid_lightning.cli.errors import UsageError, own_error, unused
from opid_lightning.cli.verbs.game_list import games_of, print_games, task_of
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.text.prompt_check import CheckedEncoder
from opid_lightning.protocols import Environment, Generation, Sampler
from opid_lightning.rollout.play import Actor, JSONLines, PlainText, Terminal, commands_from, play
from opid_lightning.rollout.rollout import Rollout
from opid_lightning.training.implementation_checks import check_implements
from opid_lightning.types import Observation, SampleRequest, TokenIds, Turn

USAGE = """\
usage: python -m opid_lightning play conf=NAME [game=GAME] [commands=FILE|-] [SETTING=VALUE]

  game       its number or name, a part of the name that only one has, or the path of its file or
             folder; without it the games are listed
  commands   a file with one command a line; - to type them; without it the policy plays

At a terminal it prints text. In a pipe or a file it prints one JSON object a line: step, command,
observation, admissible, reward, done, won; of the list: game, id, kind, split.
"""
PARTS: dict[str, Any] = {
    "env": Environment,
    "sampler": Sampler,
    "policy": PolicySource,
    "rollout": Rollout,
}


def run(arguments: Arguments) -> None:
    """Lists games, or plays one; the policy plays where no `commands=` is given."""
    if arguments.wants_help:
        print(USAGE)
        return
    configuration = configure(arguments)
    refuse_unused(arguments)
    game, commands = arguments.input("game"), arguments.input("commands")
    if game is None and commands is not None:
        raise UsageError(
            "Which game? Add game=NUMBER or game=NAME; without commands=, play lists them."
        )
    is_policy = game is not None and commands is None
    parts = built(configuration, tuple(PARTS) if is_policy else ("env",))
    to_a_person = sys.stdout.isatty()
    if game is None:
        try:
            print_games(games_of(parts["env"]), sys.stdout, to_a_person)
        except BrokenPipeError:  # the reader has seen enough, as with `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    task = task_of(parts["env"], game)
    report = PlainText(sys.stdout, commands != "-") if to_a_person else JSONLines(sys.stdout)
    with ExitStack() as stack:
        if commands is None:
            actor: Actor = stack.enter_context(acting_policy(parts))
        elif commands == "-":
            actor = Terminal(sys.stdin, sys.stderr, sees_game=to_a_person)
        else:
            actor = commands_from(commands)
        play(parts["env"], task, actor, report)


@contextmanager
def acting_policy(parts: dict[str, Any]) -> Iterator[Actor]:
    """Loads the policy and serves it by the configured sampler until the block ends."""
    policy = load_policy(parts["policy"])
    with parts["sampler"].serving(policy) as generation:
        thinking, stop = parts["policy"].thinking, parts["rollout"].stop
        encode = CheckedEncoder(policy, thinking, stop, parts["env"])
        yield PolicyActor(parts["env"], parts["rollout"], generation, encode)


def refuse_unused(arguments: Arguments) -> None:
    """Raises UsageError for a setting of a part that `play` does not build."""
    for setting in arguments.settings:
        if setting.key.split(".")[0] not in (*PARTS, "model"):
            if setting.key == "ckpt_path":
                raise UsageError(
                    f"play does not use {setting.typed}. A policy that a run trained is in the "
                    "run's folder: policy.path=RUN/policy. `export` makes such a folder of any "
                    "checkpoint."
                )
            raise UsageError(unused("play", setting.typed, (*PARTS, "game", "commands")))


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
    if "env" in names:
        check_implements("env", parsed["env"], Environment)
    return {name: parsed[name] for name in names}


@dataclass(frozen=True)
class PolicyActor:
    """Answers as in a greedy evaluation, with as much history as fits the prompt."""

    environment: Environment
    rollout: Rollout
    generation: Generation
    encode: Callable[[str], TokenIds]

    def __call__(self, goal: str, history: tuple[Turn, ...], observation: Observation) -> str:
        """The action of the policy's likeliest response, as the environment reads it."""
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
