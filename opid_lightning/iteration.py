"""One on-policy iteration: the algorithm of the paper, stage by stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from opid_lightning.gate import check_any_step
from opid_lightning.learning.advantage import Advantage
from opid_lightning.learning.batching import Batching
from opid_lightning.protocols import Listener, Sampler
from opid_lightning.ranks import ALONE, Ranks
from opid_lightning.rollout import Rollout, in_order
from opid_lightning.sampling.shared_generation import SharedGeneration
from opid_lightning.scoring import score_rows
from opid_lightning.sessions import SessionPool
from opid_lightning.skills.injection import Injection
from opid_lightning.skills.routing import Routing
from opid_lightning.types import (
    Experience,
    Hindsight,
    Policy,
    RoutedStep,
    Task,
    TokenIds,
    Trajectory,
)


@dataclass(frozen=True)
class Actors:
    """The models of one iteration, and how they are run."""

    policy: Policy  # being trained; samples
    old: Policy  # its frozen snapshot; scores
    reference: Policy | None  # frozen at the start of training; None where nothing needs it
    encode: Callable[[str], TokenIds]  # user message to chat prompt
    precision: Callable[[], AbstractContextManager[None]]  # of the training forward


@dataclass(frozen=True)
class Iteration:
    """Rollout, hindsight, routing, injection, re-scoring, advantage."""

    rollout: Rollout
    routing: Routing
    injection: Injection
    batching: Batching
    advantage: Advantage

    def __call__(
        self,
        number: int,
        seed: int,
        tasks: Sequence[Task],
        sessions: SessionPool,
        sampler: Sampler,
        actors: Actors,
        listener: Listener,
        ranks: Ranks = ALONE,
    ) -> Experience:
        """Whole groups are shared out among ranks, and so are scoring and training.

        What is played and scored is exchanged, so that every rank returns the same experience.
        """
        with (
            sampler.serving(actors.policy) as generation,
            SharedGeneration(generation, actors.policy, actors.encode) as shared,
        ):
            listener.on_rollout_start(shared)
            mine = self.rollout(sessions, ranks.share(tasks), shared, actors.encode, seed, listener)
            whole, lost = without_lost(mine)
            part = whole, self.look_back(whole, listener), dict(generation.metrics), lost
        played, hindsights, metrics, lost_parts = zip(*ranks.gather(part), strict=True)
        trajectories, hindsight = in_order(played, tasks), together(hindsights)
        check_any_step(sessions.environment, trajectories)
        rows = self.route(trajectories, hindsight, actors.encode)
        sequences = [row.prompt_ids + row.response_ids for row in rows]
        plan = self.batching.plan(sequences, seed, ranks.count)
        temperature, layout = self.rollout.temperature, self.batching.layout
        old, reference = actors.old, actors.reference
        with actors.precision():
            scored = score_rows(old, reference, rows, plan, temperature, listener, layout, ranks)
        samples = self.advantage(scored)
        lost = sum(lost_parts, Counter())
        return Experience(
            number, trajectories, hindsight, samples, plan, temperature, means(metrics), lost
        )

    def look_back(self, trajectories: tuple[Trajectory, ...], listener: Listener) -> Hindsight:
        """Collects the skills that were being written while the rollout still went on.

        The policy is still served, as it may be the one that writes them.
        """
        listener.on_stage_start("hindsight", len(trajectories))
        hindsight = listener.on_rollout_end(trajectories)
        listener.on_stage_end("hindsight", 0)
        return hindsight

    def route(
        self,
        trajectories: Sequence[Trajectory],
        hindsight: Hindsight,
        encode: Callable[[str], TokenIds],
    ) -> list[RoutedStep]:
        """Every step with its skills in the prompt, trajectories one after another."""
        return [
            self.injection(
                trajectory,
                step,
                self.routing(step.index, hindsight.skills.get(trajectory.id)),
                encode,
            )
            for trajectory in trajectories
            for step in trajectory.steps
        ]


def without_lost(
    trajectories: Sequence[Trajectory],
) -> tuple[tuple[Trajectory, ...], Counter[str]]:
    """Those that ended by themselves, and of the others how many lost their session by what.

    What was seen of a lost one says nothing of the policy: its group has a member less.
    """
    lost = Counter(t.session_lost for t in trajectories if t.session_lost)
    return tuple(t for t in trajectories if not t.session_lost), lost


def together(parts: Sequence[Hindsight]) -> Hindsight:
    """The hindsight of all ranks."""
    return Hindsight(
        skills={name: skills for part in parts for name, skills in part.skills.items()},
        failures={name: reason for part in parts for name, reason in part.failures.items()},
    )


def means(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over ranks, which all run the same sampler."""
    return {name: sum(part[name] for part in metrics) / len(metrics) for name in metrics[0]}
