"""The nouns. Each is made once, by one stage, and never edited.

    Task ─rollout─► Trajectory ─analyst─► Skills ─routing─► Route ─injection─► RoutedStep
         ─scoring─► ScoredStep ─advantage─► Sample ─collate─► Batch ─loss─► update

Axes of tensors: B rows (one row is one step of one trajectory), R response positions,
S prompt and response positions, V vocabulary. Of a model's inputs: I rows (B, or 1 where what
rows share is merged), K positions at which it predicts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TokenIds = tuple[int, ...]

# ------------------------------------------------------------------ the world


@dataclass(frozen=True)
class Task:
    """One problem to attempt, `q` in the paper."""

    id: str  # unique and stable within its split
    kind: str  # task type, over which macro averages go
    payload: Any = None  # what its Environment needs to start it; opaque to everyone else


@dataclass(frozen=True)
class Observation:
    """What the environment shows, and what the last action earned.

    Rewards are finite and within 1e9 of 0; only differences within a group count.
    """

    text: str
    admissible: tuple[str, ...] = ()  # empty where the environment does not list them
    reward: float = 0.0  # of the action that led here
    done: bool = False
    won: bool = False


@dataclass(frozen=True)
class Opening:
    """The start of an episode: what is asked, and the first observation."""

    goal: str
    observation: Observation


@dataclass(frozen=True)
class Action:
    """What a response asks the environment to do."""

    text: str
    is_valid: bool  # the response was well-formed; an invalid action is still played


@dataclass(frozen=True)
class Turn:
    """One past exchange: what was seen, and what was done about it."""

    observation: Observation
    action: Action


@dataclass(frozen=True)
class PromptText:
    """A user message in the parts between which skills are written.

    The episode skill goes between `task` and `situation`, the step skill between
    `situation` and `request`: nothing is searched for, so no text can capture it.
    """

    task: str  # up to and with the line that states the goal
    situation: str  # history and current observation
    request: str  # "Now it's your turn ..."

    @property
    def text(self) -> str:
        """The parts that are not blank, with an empty line between them."""
        return "\n\n".join(part for part in (self.task, self.situation, self.request) if part)


# ------------------------------------------------------------------ rollout


@dataclass(frozen=True)
class Prompt:
    """What the policy was asked at one step."""

    text: PromptText
    token_ids: TokenIds  # the whole chat prompt, up to the first response token
    num_dropped_turns: int  # oldest history left out to stay within the budget
    num_cut_characters: int = 0  # of the newest observation, left out for the same reason


@dataclass(frozen=True)
class SampleRequest:
    """One response to sample."""

    id: str
    prompt_ids: TokenIds
    max_tokens: int
    temperature: float  # 0 is greedy
    seed: int  # the response depends on this and the prompt, not on its neighbours
    schema: str = ""  # JSON schema that the response has to follow; blank: anything goes
    stop: tuple[str, ...] = ()  # texts that end it; the token that completes one is its last


@dataclass(frozen=True)
class Completion:
    """One sampled response. Its token ids are the truth everywhere; nothing re-tokenises."""

    request_id: str
    token_ids: TokenIds  # with the end-of-turn token, or that which completed a stop text
    logprobs: tuple[float, ...]  # of each token under the sampler, at its temperature
    text: str  # without special tokens
    is_cut: bool  # ended by the length limit
    weight_version: int = 0  # of the weights it was sampled with


@dataclass(frozen=True)
class Exchange:
    """What the policy was asked beside a rollout, and what it answered."""

    request: SampleRequest
    completion: Completion


@dataclass(frozen=True)
class Step:
    """One step `t` of a trajectory: prompt `h_t`, response `y_t`, what came of it."""

    index: int
    observation: Observation  # seen before acting
    prompt: Prompt
    completion: Completion
    action: Action
    reward: float  # earned by this action


@dataclass(frozen=True)
class Trajectory:
    """One finished attempt at a task; its log-probs are in nats, a number per response token."""

    task: Task
    attempt: int
    goal: str
    steps: tuple[Step, ...]
    won: bool
    session_lost: str = ""  # why its session was, before it ended; such a one is not trained on

    @property
    def id(self) -> str:
        """Unique in a rollout: "TASK#ATTEMPT"."""
        return f"{self.task.id}#{self.attempt}"

    @property
    def reward(self) -> float:
        """The sum of the steps' rewards, undiscounted."""
        return sum(step.reward for step in self.steps)


# ------------------------------------------------------------------ hindsight


@dataclass(frozen=True)
class Skills:
    """What the analyst learned from one trajectory."""

    episode_skill: str  # the workflow of a success, or rules that avoid a failure
    step_skills: Mapping[int, str]  # by 0-based step, in the analyst's order of importance
    episode_summary: str = ""


@dataclass(frozen=True)
class Usage:
    """What analyses took of a language model."""

    requests: int = 0  # sent, retries and repairs among them
    retries: int = 0  # sent again after an error
    repairs: int = 0  # sent to have an unusable reply repaired
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0  # at the analyst's prices, in their currency

    def __add__(self, other: Usage) -> Usage:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Usage(*(mine + theirs for mine, theirs in pairs))


@dataclass(frozen=True)
class Analysis:
    """What an analyst made of one trajectory: skills, or why there are none."""

    skills: Skills | None
    failure: str = ""  # a short name, which is counted
    detail: str = ""
    usage: Usage = Usage()


AnalysisStatus = Literal["analysed", "failed", "skipped"]


@dataclass(frozen=True)
class Hindsight:
    """What became of the analysis of every trajectory of a rollout, by trajectory id."""

    skills: Mapping[str, Skills] = dataclasses.field(default_factory=dict)
    failures: Mapping[str, str] = dataclasses.field(default_factory=dict)  # id -> reason

    def status(self, trajectory_id: str) -> AnalysisStatus:
        """Whether the trajectory has skills, failed, or was not analysed."""
        if trajectory_id in self.skills:
            return "analysed"
        return "failed" if trajectory_id in self.failures else "skipped"


SkillLevel = Literal["episode", "step"]
SKILL_LEVELS: tuple[SkillLevel, ...] = get_args(SkillLevel)
RouteLevel = Literal["none", "episode", "step", "both"]


@dataclass(frozen=True)
class Route:
    """The skills with which one step is re-scored. Each is scored in a prompt of its own."""

    episode_skill: str = ""  # blank: not scored
    step_skill: str = ""
    fallback_skill: str = ""  # scored as the episode skill where the step skill does not fit

    @property
    def level(self) -> RouteLevel:
        """Which of the two skills there are."""
        if self.episode_skill and self.step_skill:
            return "both"
        return "episode" if self.episode_skill else "step" if self.step_skill else "none"


@dataclass(frozen=True)
class RoutedStep:
    """A step with the prompts of every context its response is scored under."""

    trajectory: Trajectory
    step: Step
    route: Route
    skill_prompt_ids: Mapping[SkillLevel, TokenIds]  # `h~_t`, for the levels that are scored
    over_budget: tuple[SkillLevel, ...] = ()  # levels whose prompt is too long, so not scored

    @property
    def name(self) -> str:
        """ "TASK#ATTEMPT@STEP", for messages."""
        return f"{self.trajectory.id}@{self.step.index}"

    @property
    def prompt_ids(self) -> TokenIds:
        """The plain prompt `h_t`, without any skill."""
        return self.step.prompt.token_ids

    @property
    def response_ids(self) -> TokenIds:
        """The sampled response `y_t`."""
        return self.step.completion.token_ids


# ------------------------------------------------------------------ learning


@dataclass(frozen=True)
class ScoredStep:
    """A step with the old policy's log-probs of its response tokens under every context."""

    routed: RoutedStep
    old_logprobs: Float[Tensor, " R"]  # log pi_old(y | h_t)
    skill_logprobs: Mapping[SkillLevel, Float[Tensor, " R"]]  # log pi_old(y | h~_t)
    reference_logprobs: Float[Tensor, " R"] | None = None  # log pi_ref(y | h_t)

    def delta(self, level: SkillLevel) -> Float[Tensor, " R"]:
        """How much the skill moves the response's log-probs; 0 where none was scored."""
        if level not in self.skill_logprobs:
            return torch.zeros_like(self.old_logprobs)
        return self.skill_logprobs[level] - self.old_logprobs


@dataclass(frozen=True)
class RowAdvantages:
    """What the outcomes say of each step of an iteration, in float64."""

    outcome: Float[Tensor, " B"]  # A_ep
    state: Float[Tensor, " B"]  # GiGPO's, already weighted


@dataclass(frozen=True)
class Sample:
    """A scored step with the terms of its advantage, of which OPID's is `lambda * delta`."""

    scored: ScoredStep
    outcome_advantage: float  # A_ep, one number a row
    state_advantage: float  # GiGPO's, already weighted
    skill_advantage: Float[Tensor, " R"]  # what the method's rule adds to both

    @property
    def advantages(self) -> Float[Tensor, " R"]:
        """The advantage of each response token, the sum of all terms."""
        return self.outcome_advantage + self.state_advantage + self.skill_advantage


# Rows by position in the iteration: optimizer steps, of micro-batches, of rows.
BatchPlan = tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True)
class Experience:
    """All that one on-policy iteration produced."""

    iteration: int
    trajectories: tuple[Trajectory, ...]
    hindsight: Hindsight
    samples: tuple[Sample, ...]  # in the order played
    plan: BatchPlan  # in what order, and how batched, they are trained on
    temperature: float  # of the sampler
    sampler_metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    sessions_lost: Mapping[str, int] = dataclasses.field(default_factory=dict)  # by reason


@dataclass(frozen=True)
class Totals:
    """Sizes of the whole optimizer step, by which the losses of its micro-batches are divided.

    How rows are cut into micro-batches then changes nothing.
    """

    num_rows: int
    num_tokens: int
    max_response: int  # tokens that a response may have: one number the whole run
    num_batches: int  # micro-batches that an optimizer step accumulates
    num_routed_tokens: int  # response tokens that a skill context scored


_Tensors = TypeVar("_Tensors", "ModelInputs", "Batch")


@dataclass(frozen=True)
class ModelInputs:
    """Prompts with responses as a model takes them; laid out by lm/forward/layouts.py."""

    input_ids: Int[Tensor, "I S"]
    attention_mask: Int[Tensor, "I S"] | Bool[Tensor, "I 1 S S"]
    position_ids: Int[Tensor, "I S"]
    kept: Int[Tensor, " K"]  # the columns of S at which logits are computed
    predictors: Int[Tensor, "B R"]  # which of the I * K logits predict each response token
    response_ids: Int[Tensor, "B R"]
    num_tokens: int  # of all prompts and responses; what they share counts in each

    def to(self, device: torch.device | str) -> ModelInputs:
        """A copy with all tensors on the device."""
        return _moved(self, device)


# Lays out prompts and their responses, with this id where rows differ in length.
Layout = Callable[[Sequence[TokenIds], Sequence[TokenIds], int], ModelInputs]


@dataclass(frozen=True)
class Batch:
    """Rows to train on, responses filled up at the end.

    response_ids    x y $ .
                    x $ . .
    response_mask   1 1 1 0
                    1 1 0 0
    """

    names: tuple[str, ...]  # "trajectory@step" of each row, for messages; none of a filler row
    inputs: ModelInputs
    response_mask: Float[Tensor, "B R"]
    old_logprobs: Float[Tensor, "B R"]
    sampler_logprobs: Float[Tensor, "B R"]
    advantages: Float[Tensor, "B R"]
    skill_logprobs: Float[Tensor, "B R"]  # of the routed context; 0 where unrouted
    routed_mask: Float[Tensor, "B R"]  # 1 on response tokens that a skill context scored
    reference_logprobs: Float[Tensor, "B R"] | None
    temperature: float  # of the sampler; log-probs are of logits / temperature
    totals: Totals

    def to(self, device: torch.device | str) -> Batch:
        """A copy with all tensors on the device, those of `inputs` included."""
        return _moved(self, device)


def _moved(tensors: _Tensors, device: torch.device | str) -> _Tensors:
    moved: dict[str, Any] = {
        name: value.to(device)
        for name, value in vars(tensors).items()
        if isinstance(value, Tensor | ModelInputs)
    }
    return dataclasses.replace(tensors, **moved)


@dataclass(frozen=True)
class Policy:
    """A causal language model and its tokenizer."""

    model: torch.nn.Module
    tokenizer: Any
