"""One on-policy iteration: the algorithm of the paper, stage by stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from opid_lightning.gate import check_any_step
from opid_lightning.method.advantage import Advantage
from opid_lightning.method.batching import Batching
from opid_lightning.method.injection import Injection
from opid_lightning.method.method import Method
from opid_lightning.method.routing import Routing
from opid_lightning.method.scoring import score_rows
from opid_lightning.protocols import (
    SILENT,
    HindsightSource,
    IterationObserver,
    Sampler,
    no_hindsight,
)
from opid_lightning.ranks import ALONE, Ranks
from opid_lightning.rollout.rollout import Rollout, in_order
from opid_lightning.rollout.sessions import SessionPool
from opid_lightning.sampling.shared_generation import SharedGeneration
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
class Models:
    """The models of one iteration, and how they are run."""

    policy: Policy  # being trained; samples
    old: Policy  # its frozen snapshot; scores
    reference: Policy | None  # frozen at the start of training; None where nothing needs it
    encode: Callable[[str], TokenIds]  # user message to chat prompt
    precision: Callable[[], AbstractContextManager[None]]  # of the training forward


@dataclass(frozen=True)
class Iteration:
    """Rollout, hindsight, routing, injection, re-scoring, advantage, credit.

    1. Rollout     groups of attempts at each task, by the policy
    2. Hindsight   skills on the finished trajectories: `E` for episodes, `S` for critical steps
    3. Routing     the step's skill where there is one, else the episode's
    4. Injection   the prompt with that skill in it
    5. Scoring     log-probs of each response by the old policy, with and without the skill
    6. Advantage   of each step, by its outcome beside those of its group
    7. Credit      of each token: the method's rule on the advantage and
                   `delta = log pi_old(y | h~) - log pi_old(y | h)`; OPID adds `lambda * delta`
    """

    rollout: Rollout
    routing: Routing
    injection: Injection
    batching: Batching
    advantage: Advantage
    method: Method
    hindsight: HindsightSource = no_hindsight

    def __call__(
        self,
        number: int,
        seed: int,
        tasks: Sequence[Task],
        sessions: SessionPool,
        sampler: Sampler,
        models: Models,
        observer: IterationObserver = SILENT,
        ranks: Ranks = ALONE,
    ) -> Experience:
        """Whole groups are shared out among ranks, and so are scoring and training.

        What is played and scored is exchanged, so that every rank returns the same experience.
        """
        with (
            sampler.serving(models.policy) as generation,
            SharedGeneration(generation, models.policy, models.encode) as shared,
        ):
            observer.on_rollout_start(shared)
            mine = self.rollout(sessions, ranks.share(tasks), shared, models.encode, seed, observer)
            whole, lost = without_lost(mine)
            part = whole, self.collect_hindsight(whole, observer), dict(generation.metrics), lost
        played, hindsights, metrics, lost_parts = zip(*ranks.gather(part), strict=True)
        trajectories, hindsight = in_order(played, tasks), merge_hindsight(hindsights)
        check_any_step(sessions.environment, trajectories)
        rows = self.route(trajectories, hindsight, models.encode)
        sequences = [row.prompt_ids + row.response_ids for row in rows]
        plan = self.batching.plan(sequences, seed, ranks.count)
        temperature, layout = self.rollout.temperature, self.batching.layout
        old, reference = models.old, models.reference
        with models.precision():
            scored = score_rows(old, reference, rows, plan, temperature, observer, layout, ranks)
        samples = self.method(scored, self.advantage(scored), number)
        lost = sum(lost_parts, Counter())
        sampler_metrics = mean_over_ranks(metrics)
        return Experience(
            number, trajectories, hindsight, samples, plan, temperature, sampler_metrics, lost
        )

    def collect_hindsight(
        self, trajectories: tuple[Trajectory, ...], observer: IterationObserver
    ) -> Hindsight:
        """The skills on this rank's trajectories, some of them written while others still played.

        The policy is still served, as it may be the one that writes them.
        """
        observer.on_rollout_end(trajectories)
        observer.on_stage_start("hindsight", len(trajectories))
        hindsight = self.hindsight(trajectories)
        observer.on_stage_end("hindsight", 0)
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


def merge_hindsight(parts: Sequence[Hindsight]) -> Hindsight:
    """The hindsight of all ranks."""
    return Hindsight(
        skills={name: skills for part in parts for name, skills in part.skills.items()},
        failures={name: reason for part in parts for name, reason in part.failures.items()},
    )


def mean_over_ranks(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """All ranks run the same sampler."""
    return {name: sum(part[name] for part in metrics) / len(metrics) for name in metrics[0]}
