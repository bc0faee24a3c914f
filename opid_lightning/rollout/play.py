"""One game by hand, from a list of commands or by a policy, as JSON lines or as plain text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from opid_lightning.gate import check_max_steps, gate_of
from opid_lightning.protocols import Environment
from opid_lightning.types import Action, Observation, Task, Turn

# Goal, past turns and what is seen now, to the next command; None ends the game.
Actor = Callable[[str, tuple[Turn, ...], Observation], str | None]


@dataclass(frozen=True)
class Commands:
    """Plays a list. Its length limits the game, not the environment's max_steps."""

    commands: tuple[str, ...]

    def __call__(
        self, goal: str, history: tuple[Turn, ...], observation: Observation
    ) -> str | None:
        """The next command of the list; None after the last."""
        step = len(history)
        return self.commands[step] if step < len(self.commands) else None


@dataclass(frozen=True)
class Terminal:
    """A person, who ends the game with an empty line's end of input (Ctrl-D)."""

    source: TextIO
    screen: TextIO
    sees_game: bool = False  # already, as the game itself is written where the person reads

    def __call__(
        self, goal: str, history: tuple[Turn, ...], observation: Observation
    ) -> str | None:
        """Shows the game and reads a command; None at the end of input."""
        if not self.sees_game:
            if not history:
                print(f"Goal: {goal}\n", file=self.screen)
            print(shown(observation), file=self.screen)
        while True:
            print("> ", end="", file=self.screen, flush=True)
            line = self.source.readline()
            if not line:
                return None
            if command := line.strip():
                return command


def commands_from(file: str | Path) -> Commands:
    """One command a line; blank lines are left out."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise ValueError(
            f"there is no file of commands at {path}: expected a text file with one command a "
            "line, or commands=- to type them"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no text in UTF-8 ({error}): expected one command a line"
        ) from error
    return commands_in(text.splitlines())


def commands_in(lines: Iterable[str]) -> Commands:
    """The commands of a file, blank lines left out."""
    return Commands(tuple(command for line in lines if (command := line.strip())))


def from_terminal(source: TextIO | None = None, screen: TextIO | None = None) -> Terminal:
    """Observations go to the error stream, so that the output is nothing but JSON."""
    return Terminal(source or sys.stdin, screen or sys.stderr)


def shown(observation: Observation) -> str:
    """An observation with its admissible actions, as a person reads it."""
    lines = [observation.text]
    if observation.admissible:
        lines.append(f"Admissible: {', '.join(observation.admissible)}")
    return "\n".join(lines)


@dataclass(frozen=True)
class JSONLines:
    """What a program reads: an object a line, from reset to the end."""

    out: TextIO

    def start(self, goal: str, observation: Observation) -> None:
        """Writes the opening as step 0 without a command."""
        self.step(0, None, observation)

    def step(self, number: int, command: str | None, observation: Observation) -> None:
        """Writes one JSON object on one line, and flushes it."""
        record = {
            "step": number,
            "command": command,
            "observation": observation.text,
            "admissible": list(observation.admissible),
            "reward": observation.reward,
            "done": observation.done,
            "won": observation.won,
        }
        print(json.dumps(record, ensure_ascii=False), file=self.out, flush=True)

    def end(self, num_steps: int, observation: Observation) -> None:
        """The last record says it all."""


@dataclass(frozen=True)
class PlainText:
    """What a person reads, who may have typed the commands there."""

    out: TextIO
    echoes: bool = True

    def start(self, goal: str, observation: Observation) -> None:
        """Prints the goal and the first observation."""
        print(f"Goal: {goal}\n\n{shown(observation)}", file=self.out, flush=True)

    def step(self, number: int, command: str | None, observation: Observation) -> None:
        """Prints the observation, after the command where the terminal does not echo it."""
        typed = f"> {command}\n" if self.echoes else ""
        print(f"{typed}{shown(observation)}", file=self.out, flush=True)

    def end(self, num_steps: int, observation: Observation) -> None:
        """Prints whether the game was won, after how many steps."""
        result = "Won" if observation.won else "Lost" if observation.done else "Not won"
        steps = "1 step" if num_steps == 1 else f"{num_steps} steps"
        print(
            f"\n{result} after {steps}; the last reward was {observation.reward:g}.", file=self.out
        )


def play(
    environment: Environment,
    task: Task,
    actor: Actor,
    report: JSONLines | PlainText | None = None,
) -> Observation:
    """Plays until the game is done or the actor ends it; returns the last observation.

    A policy has the environment's max_steps, as in training; a list of commands and a person
    end by themselves.
    """
    check_max_steps(environment)
    max_steps = None if isinstance(actor, Commands | Terminal) else environment.max_steps
    report = report or JSONLines(sys.stdout)
    session, gate = environment.open(), gate_of(environment)
    try:
        opening = gate.opening(session.reset(task), task)
        observation, history = opening.observation, tuple[Turn, ...]()
        report.start(opening.goal, observation)
        while not observation.done and len(history) != max_steps:
            command = actor(opening.goal, history, observation)
            if command is None:
                break
            history = (*history, Turn(observation, Action(command, is_valid=True)))
            observation = gate.observation(session.step(command), task, len(history) - 1)
            report.step(len(history), command, observation)
        report.end(len(history), observation)
        return observation
    finally:
        session.close()
