"""The bugs that benchmarks/planted_bugs.py plants: wiring gone wrong, and what should notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """A passage that occurs once in a file, what stands there instead, and tests that notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


PACKAGE = "opid_lightning"
MODULE = f"{PACKAGE}/module.py"
SCORING = f"{PACKAGE}/scoring.py"
DATA = f"{PACKAGE}/datamodule.py"
MICRO_BATCHES = f"{PACKAGE}/micro_batches.py"
ITERATION = f"{PACKAGE}/iteration.py"
ROLLOUT = f"{PACKAGE}/rollout.py"
EPISODES = f"{PACKAGE}/episodes.py"
BATCHING = f"{PACKAGE}/learning/batching.py"
ADVANTAGE = f"{PACKAGE}/learning/advantage.py"
LOSS = f"{PACKAGE}/learning/loss.py"
SURROGATE = f"{PACKAGE}/learning/surrogate.py"
GUMBEL = f"{PACKAGE}/sampling/gumbel.py"
HUGGING_FACE = f"{PACKAGE}/sampling/hugging_face.py"
SHARED_PREFIXES = f"{PACKAGE}/sampling/shared_prefixes.py"
WEIGHTS = f"{PACKAGE}/sampling/weights.py"
SERVER = f"{PACKAGE}/sampling/server_generation.py"

INDEPENDENT = "tests/test_independent_update.py"
INVARIANTS = "tests/test_invariants.py"
DATA_TESTS = "tests/test_datamodule.py"
ROLLOUT_TESTS = "tests/test_rollout.py"
EVALUATION_TESTS = "tests/test_evaluation.py"
RANKS_TESTS = "tests/test_ranks.py"
WIRING = "tests/test_wiring.py"
ADVANTAGE_TESTS = "tests/learning/test_advantage.py"
SURROGATE_TESTS = "tests/learning/test_surrogate.py"
GOLDEN = "tests/golden"
BATCHING_TESTS = "tests/learning/test_batching.py"
LOSS_TESTS = "tests/learning/test_loss.py"
HEAD_TESTS = "tests/lm/test_chunked_head.py"
SAMPLING_TESTS = "tests/sampling/test_hugging_face.py"
PREFIX_TESTS = "tests/sampling/test_shared_prefixes.py"
WEIGHTS_TESTS = "tests/sampling/test_weights.py"
SERVER_TESTS = "tests/sampling/test_vllm_server.py"

# Of issue-sized faults that once survived all tests of whole runs.
FIRST_FIFTEEN = (
    Bug(
        "kl reference is the old policy",
        SCORING,
        "self._forward(self.reference, plain) if",
        "self._forward(self.old, plain) if",
        (WIRING, INDEPENDENT),
    ),
    Bug(
        "skills scored by the reference",
        SCORING,
        "self._forward(self.old, routed[level])",
        "self._forward(self.reference or self.old, routed[level])",
        (WIRING, INDEPENDENT),
    ),
    Bug(
        "scoring ignores the temperature",
        SCORING,
        "given, self.temperature, self.layout",
        "given, 1.0, self.layout",
        (WIRING, INDEPENDENT),
    ),
    Bug(
        "training ignores the temperature",
        MODULE,
        "batch.temperature,",
        "1.0,",
        (INDEPENDENT,),
    ),
    Bug(
        "gradients are not clipped",
        MODULE,
        "clip_gradients(self.policy.model, gradient_clip_val)",
        "pass",
        (WIRING, INDEPENDENT),
    ),
    Bug(
        "learning rate by optimizer step",
        MODULE,
        "self.current_epoch, self.trainer.max_epochs",
        "self.global_step, self.trainer.max_epochs",
        (WIRING, INDEPENDENT),
    ),
    Bug(
        "share of the learning rate compounds",
        MODULE,
        'group["lr"] = group["initial_lr"] * share',
        'group["lr"] *= share',
        (WIRING, INDEPENDENT),
    ),
    Bug(
        "state advantage never reaches the loss",
        f"{PACKAGE}/types.py",
        "self.outcome_advantage + self.state_advantage + self.skill_advantage",
        "self.outcome_advantage + self.skill_advantage",
        (GOLDEN, INDEPENDENT),
    ),
    Bug(
        "totals of the whole iteration",
        MICRO_BATCHES,
        "rows = [self.samples[index] for micro_batch in step for index in micro_batch]",
        "rows = list(self.samples)",
        (WIRING, INDEPENDENT),
    ),
    Bug(
        "same sampling seed in every iteration",
        DATA,
        "return seed * 1_000_003 + number",
        "return seed * 1_000_003",
        (DATA_TESTS,),
    ),
    Bug(
        "distillation alone gets no skills",
        DATA,
        "return self.advantage.needs(level) or self.module.loss.distillation_weight > 0",
        "return self.advantage.needs(level)",
        (f"{WIRING}::test_distillation_alone_has_its_skills",),
    ),
    Bug(
        "kl aggregated like gspo's surrogate",
        LOSS,
        "aggregate(kl, mask, self.aggregation, totals)",
        "aggregate(kl, mask, how, totals)",
        (LOSS_TESTS,),
    ),
    Bug(
        "gspo's clamp dropped",
        SURROGATE,
        "log_ratio.clamp(max=10).exp()",
        "log_ratio.exp()",
        (SURROGATE_TESTS,),
    ),
    Bug(
        "target ratio over scored rows only",
        ADVANTAGE,
        "compared = [term[row] for row in rows.of_scored_trajectories]",
        "compared = [part for part, s in zip(term, rows.steps) if s.skill_logprobs]",
        (ADVANTAGE_TESTS,),
    ),
    Bug(
        "bfloat16 accumulation in the chunked head",
        f"{PACKAGE}/lm/chunked_head.py",
        "total.float().add_(part)",
        "total.add_(part)",
        (HEAD_TESTS,),
    ),
)

LEARNING_BUGS = (
    Bug(
        "snapshot is never renewed",
        MODULE,
        "copy_weights(self.policy.model, self.snapshot)",
        "pass",
        (f"{INVARIANTS}::test_shared_and_copied_snapshots_are_equal",),
    ),
    Bug(
        "reference trains along",
        MODULE,
        "self.reference = self._sharded(frozen_copy(policy.model))",
        "self.reference = policy.model",
        (WIRING,),
    ),
    Bug(
        "clipping at a norm of its own",
        MODULE,
        "clip_gradients(self.policy.model, gradient_clip_val)",
        "clip_gradients(self.policy.model, 1.0)",
        (WIRING,),
    ),
    Bug(
        "warm-up is ignored",
        MODULE,
        "or 0, self.warmup_iterations, self.decay",
        "or 0, 0, self.decay",
        (WIRING,),
    ),
    Bug(
        "evaluations add up",
        MODULE,
        "self._played.clear()",
        "pass",
        (EVALUATION_TESTS, "-k", "evaluated_alike"),
    ),
    Bug(
        "loss is divided twice by the micro-batches",
        LOSS,
        "LossTerms(loss * num_batches, metrics)",
        "LossTerms(loss, metrics)",
        (LOSS_TESTS,),
    ),
    Bug(
        "mismatch weights never reach the loss",
        LOSS,
        "mismatch.weights * batch.advantages",
        "batch.advantages",
        (LOSS_TESTS,),
    ),
    Bug(
        "clip bounds swapped",
        LOSS,
        "ppo_surrogate(*likelihoods, self.clip_low, self.clip_high, self.dual_clip)",
        "ppo_surrogate(*likelihoods, self.clip_high, self.clip_low, self.dual_clip)",
        (LOSS_TESTS, GOLDEN),
    ),
    Bug(
        "gspo's clip bounds swapped",
        LOSS,
        "batch.response_mask, self.clip_low, self.clip_high)",
        "batch.response_mask, self.clip_high, self.clip_low)",
        (LOSS_TESTS, GOLDEN),
    ),
    Bug(
        "weight of the kl ignored",
        LOSS,
        'yield "kl", self.kl_weight,',
        'yield "kl", 1.0,',
        (LOSS_TESTS,),
    ),
    Bug(
        "entropy is lowered",
        LOSS,
        'yield "entropy", -self.entropy_weight,',
        'yield "entropy", self.entropy_weight,',
        (LOSS_TESTS,),
    ),
    Bug(
        "distillation over all tokens",
        LOSS,
        "num_tokens=batch.totals.num_routed_tokens",
        "num_tokens=batch.totals.num_tokens",
        (LOSS_TESTS,),
    ),
    Bug(
        "weights of the skill levels swapped",
        ADVANTAGE,
        'return self.episode_weight if level == "episode" else self.step_weight',
        'return self.step_weight if level == "episode" else self.episode_weight',
        (ADVANTAGE_TESTS, GOLDEN),
    ),
    Bug(
        "returns are not discounted",
        ADVANTAGE,
        "discounted_returns(rows.rewards, rows.trajectories, self.gamma)",
        "discounted_returns(rows.rewards, rows.trajectories, 1.0)",
        (ADVANTAGE_TESTS,),
    ),
    Bug(
        "states are grouped over tasks",
        ADVANTAGE,
        "state_groups(rows.tasks, rows.observations",
        'state_groups([""] * len(rows.tasks), rows.observations',
        (GOLDEN,),
    ),
    Bug(
        "weight of the state term ignored",
        ADVANTAGE,
        "self.state_weight * self.state(returns, groups)",
        "self.state(returns, groups)",
        (ADVANTAGE_TESTS, GOLDEN),
    ),
    Bug(
        "invalid actions cost nothing",
        ADVANTAGE,
        "penalties(rows.is_valid, self.invalid_action_penalty)",
        "penalties(rows.is_valid, 0.0)",
        (ADVANTAGE_TESTS,),
    ),
    Bug(
        "one pass over the rows only",
        BATCHING,
        "for _ in range(self.ppo_epochs)",
        "for _ in range(1)",
        (BATCHING_TESTS,),
    ),
    Bug(
        "rows in the same order in every iteration",
        BATCHING,
        "manual_seed(seed)",
        "manual_seed(0)",
        (BATCHING_TESTS,),
    ),
    Bug(
        "rows are not shuffled",
        BATCHING,
        "torch.randperm(len(sequences), generator=generator).tensor_split",
        "torch.arange(len(sequences)).tensor_split",
        (BATCHING_TESTS,),
    ),
    Bug(
        "more rows a step than allowed",
        BATCHING,
        "num_steps = -(-len(sequences) // (self.mini_batch_rows or len(sequences)))",
        "num_steps = max(len(sequences) // (self.mini_batch_rows or len(sequences)), 1)",
        (BATCHING_TESTS,),
    ),
    Bug(
        "old log-probs are the sampler's",
        BATCHING,
        "old_logprobs=_columns([sample.scored.old_logprobs for sample in samples], width)",
        "old_logprobs=_columns([Tensor(r.step.completion.logprobs) for r in rows], width)",
        (BATCHING_TESTS,),
    ),
    Bug(
        "sampler's log-probs are the old ones",
        BATCHING,
        "_columns([Tensor(row.step.completion.logprobs) for row in rows], width)",
        "_columns([sample.scored.old_logprobs for sample in samples], width)",
        (BATCHING_TESTS,),
    ),
    Bug(
        "state advantage is lost in collating",
        BATCHING,
        "_columns([sample.advantages for sample in samples], width)",
        "_columns([s.advantages - s.state_advantage for s in samples], width)",
        (BATCHING_TESTS, INDEPENDENT),
    ),
    Bug(
        "skill advantage is lost in collating",
        BATCHING,
        "_columns([sample.advantages for sample in samples], width)",
        "_columns([s.advantages - s.skill_advantage for s in samples], width)",
        (BATCHING_TESTS, INDEPENDENT),
    ),
    Bug(
        "distilled from the episode skill",
        BATCHING,
        'contexts.get("step", contexts.get("episode", torch.empty(0)))',
        'contexts.get("episode", contexts.get("step", torch.empty(0)))',
        (BATCHING_TESTS,),
    ),
    Bug(
        "prompts count among the tokens",
        BATCHING,
        "lengths = [len(sample.scored.old_logprobs) for sample in samples]",
        "lengths = [len(s.scored.old_logprobs) + len(s.scored.routed.prompt_ids) for s in samples]",
        (BATCHING_TESTS,),
    ),
    Bug(
        "all tokens count as routed",
        BATCHING,
        "is_routed = [bool(sample.scored.skill_logprobs) for sample in samples]",
        "is_routed = [True for sample in samples]",
        (BATCHING_TESTS,),
    ),
    Bug(
        "batches forget the temperature",
        BATCHING,
        "temperature=temperature,",
        "temperature=1.0,",
        (BATCHING_TESTS,),
    ),
)

ITERATION_BUGS = (
    Bug(
        "scores of a micro-batch in another order",
        SCORING,
        "score([rows[index] for index in micro_batch])",
        "score([rows[index] for index in sorted(micro_batch)])",
        (WIRING,),
    ),
    Bug(
        "skills are scored in the plain prompt",
        SCORING,
        "(row.skill_prompt_ids[level], row.response_ids)",
        "(row.prompt_ids, row.response_ids)",
        (WIRING,),
    ),
    Bug(
        "scoring always pads",
        SCORING,
        "inputs = layout(prompts, responses",
        "inputs = pad_sequences(prompts, responses",
        (INVARIANTS, "-k", "first_ratio and merged"),
    ),
    Bug(
        "scoring in full precision",
        ITERATION,
        "with actors.precision():",
        "if True:",
        (INVARIANTS, "-k", "first_ratio and bf16"),
    ),
    Bug(
        "iteration scores at temperature 1",
        ITERATION,
        "temperature, layout = self.rollout.temperature, self.batching.layout",
        "temperature, layout = 1.0, self.batching.layout",
        (WIRING,),
    ),
    Bug(
        "skill of the next step",
        ITERATION,
        "self.routing(step.index,",
        "self.routing(step.index + 1,",
        (WIRING,),
    ),
    Bug(
        "skills of another attempt",
        ITERATION,
        "hindsight.skills.get(trajectory.id)",
        'hindsight.skills.get(f"{trajectory.task.id}#0")',
        (WIRING,),
    ),
    Bug(
        "lost sessions are trained on",
        ITERATION,
        "return tuple(t for t in trajectories if not t.session_lost), lost",
        "return tuple(trajectories), lost",
        ("tests/test_lost_sessions.py",),
    ),
    Bug(
        "plan does not know of the ranks",
        ITERATION,
        "self.batching.plan(sequences, seed, ranks.count)",
        "self.batching.plan(sequences, seed)",
        (f"{RANKS_TESTS}::test_two_ranks_train_as_one_does",),
    ),
    Bug(
        "all plans are of seed 0",
        ITERATION,
        "self.batching.plan(sequences, seed, ranks.count)",
        "self.batching.plan(sequences, 0, ranks.count)",
        (WIRING,),
    ),
    Bug(
        "failed analyses are forgotten",
        ITERATION,
        "failures={name: reason for part in parts for name, reason in part.failures.items()}",
        "failures={}",
        (WIRING,),
    ),
    Bug(
        "metrics of ranks are summed",
        ITERATION,
        "sum(part[name] for part in metrics) / len(metrics)",
        "sum(part[name] for part in metrics)",
        (f"{WIRING}::test_figures_of_the_sampler_are_means_over_ranks",),
    ),
    Bug(
        "every rank has the first's share",
        f"{PACKAGE}/ranks.py",
        "items[self.rank :: self.count]",
        "items[:: self.count]",
        (RANKS_TESTS,),
    ),
    Bug(
        "every rank trains on everything",
        MICRO_BATCHES,
        "for rows in ranks.share(step)",
        "for rows in step",
        (RANKS_TESTS,),
    ),
    Bug(
        "an experience is trained on for ever",
        DATA,
        "if self._experience is None or self._experience.iteration != number:",
        "if self._experience is None:",
        (WIRING,),
    ),
    Bug(
        "same tasks in every iteration",
        DATA,
        "self.tasks_per_iteration, self.seed, number)",
        "self.tasks_per_iteration, self.seed, 0)",
        (WIRING,),
    ),
    Bug(
        "every pass in the same order",
        DATA,
        'random.Random(f"{seed} {number_of_pass}")',
        'random.Random(f"{seed}")',
        (DATA_TESTS,),
    ),
    Bug(
        "trained on the evaluation's tasks",
        DATA,
        'self.train_tasks = self._tasks("train")',
        'self.train_tasks = self._tasks("valid_seen")',
        (WIRING,),
    ),
    Bug(
        "evaluated at the rollout's temperature",
        DATA,
        "temperature=self.evaluation.temperature,",
        "temperature=self.rollout.temperature,",
        (EVALUATION_TESTS,),
    ),
    Bug(
        "evaluated with the run's seed",
        DATA,
        "self.evaluation.seed,",
        "self.seed,",
        (EVALUATION_TESTS,),
    ),
    Bug(
        "evaluated as often as a group is large",
        DATA,
        "group_size=self.evaluation.attempts,",
        "group_size=self.rollout.group_size,",
        (EVALUATION_TESTS,),
    ),
    Bug(
        "tested on the validation's split",
        DATA,
        'self.evaluation.test_split if stage == "test" else',
        'self.evaluation.validation_split if stage == "test" else',
        (EVALUATION_TESTS,),
    ),
    Bug(
        "skill prompts of another budget",
        DATA,
        "Injection(self.rollout.max_prompt_tokens)",
        "Injection()",
        (f"{WIRING}::test_skill_prompts_have_the_budget_of_the_rollout",),
    ),
    Bug(
        "levels of skills mixed up",
        DATA,
        'self.routing.episode_enabled and self.uses("episode")',
        'self.routing.episode_enabled and self.uses("step")',
        (WIRING, "-k", "level_without_weight"),
    ),
    Bug(
        "batches at temperature 1",
        MICRO_BATCHES,
        "self.temperature = experience.temperature",
        "self.temperature = 1.0",
        (WIRING,),
    ),
)

ROLLOUT_BUGS = (
    Bug(
        "same noise at every step",
        EPISODES,
        "{self.task.id}/{self.attempt}/{len(self.steps)}",
        "{self.task.id}/{self.attempt}",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "same noise in every attempt",
        EPISODES,
        "{self.task.id}/{self.attempt}/{len(self.steps)}",
        "{self.task.id}/{len(self.steps)}",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "same noise for every seed",
        EPISODES,
        'key = f"{seed}/',
        'key = f"',
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "a step has seen what came of it",
        EPISODES,
        "Step(len(self.steps), self.observation, prompt",
        "Step(len(self.steps), after, prompt",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "a step earns what the one before did",
        EPISODES,
        "action, after.reward)",
        "action, self.observation.reward)",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "all that ends is won",
        EPISODES,
        "tuple(self.steps), self.observation.won",
        "tuple(self.steps), self.observation.done",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "rollout samples at temperature 1",
        ROLLOUT,
        "temperature=self.rollout.temperature,",
        "temperature=1.0,",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "stop texts are not passed on",
        ROLLOUT,
        "stop=self.rollout.stop,",
        "stop=(),",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "responses as long as prompts",
        ROLLOUT,
        "max_tokens=self.rollout.max_response_tokens,",
        "max_tokens=self.rollout.max_prompt_tokens,",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "no room is kept for the skill",
        ROLLOUT,
        "budget = self.max_prompt_tokens - self.skill_tokens",
        "budget = self.max_prompt_tokens",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "one step too many",
        ROLLOUT,
        "len(move.episode.steps) >= self.sessions.environment.max_steps",
        "len(move.episode.steps) > self.sessions.environment.max_steps",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "stale responses are taken",
        ROLLOUT,
        "if completion.weight_version != weight_version:",
        "if False:",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "the newest history is dropped",
        ROLLOUT,
        "environment.prompt(goal, history[start:], observation)",
        "environment.prompt(goal, history[: len(history) - start], observation)",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "any number of sessions at once",
        ROLLOUT,
        "while waiting and play.num_live < self.max_concurrent:",
        "while waiting:",
        (ROLLOUT_TESTS,),
    ),
    Bug(
        "attempts of ranks are not in order",
        ROLLOUT,
        "(places[t.task.id], t.attempt)",
        "(places[t.task.id], -t.attempt)",
        (RANKS_TESTS, ROLLOUT_TESTS),
    ),
)

SAMPLING_BUGS = (
    Bug(
        "reported log-probs are at temperature 1",
        GUMBEL,
        "scaled.gather(-1, chosen[:, None]).squeeze(-1) - scaled.logsumexp(-1)",
        "logits.float().log_softmax(-1).gather(-1, chosen[:, None]).squeeze(-1)",
        (SAMPLING_TESTS,),
    ),
    Bug(
        "sampled at temperature 1",
        GUMBEL,
        "scaled = logits.float() / self.temperature",
        "scaled = logits.float()",
        (SAMPLING_TESTS,),
    ),
    Bug(
        "rows share their noise",
        GUMBEL,
        "manual_seed(request.seed)",
        "manual_seed(0)",
        (SAMPLING_TESTS,),
    ),
    Bug(
        "noise stays with the row's place",
        GUMBEL,
        "self.sources = [self.sources[row] for row in rows]",
        "self.sources = self.sources[: len(rows)]",
        (PREFIX_TESTS,),
    ),
    Bug(
        "the end of the turn is cut off",
        HUGGING_FACE,
        "ids if end is None else ids[: end + 1]",
        "ids if end is None else ids[:end]",
        (SAMPLING_TESTS,),
    ),
    Bug(
        "log-probs of the last tokens",
        HUGGING_FACE,
        "tuple(logprobs[: len(ids)])",
        "tuple(logprobs[len(logprobs) - len(ids) :])",
        (SAMPLING_TESTS,),
    ),
    Bug(
        "the policy stays in evaluation mode",
        HUGGING_FACE,
        "module.training = training",
        "pass",
        (SAMPLING_TESTS,),
    ),
    Bug(
        "keys and values of older weights",
        SHARED_PREFIXES,
        "self.stored = PrefixCache(max_tokens)",
        'self.stored = globals().setdefault("_stored", PrefixCache(max_tokens))',
        (PREFIX_TESTS, SAMPLING_TESTS),
    ),
    Bug(
        "positions without their offset",
        SHARED_PREFIXES,
        "places = lengths + column - width",
        "places = lengths * 0 + column",
        (PREFIX_TESTS,),
    ),
    Bug(
        "contents of tensors are not compared",
        WEIGHTS,
        "sent[name].fingerprint != received[name].fingerprint",
        "sent[name].fingerprint is None",
        (WEIGHTS_TESTS,),
    ),
    Bug(
        "a parity of nan passes",
        WEIGHTS,
        "if not parity.mean <= bound:",
        "if parity.mean > bound:",
        (WEIGHTS_TESTS,),
    ),
    Bug(
        "servers sample with one seed",
        SERVER,
        '"seed": request.seed,',
        '"seed": 0,',
        (SERVER_TESTS, "-k", "not real"),
    ),
    Bug(
        "servers sample at temperature 1",
        SERVER,
        '"temperature": request.temperature,',
        '"temperature": 1.0,',
        (SERVER_TESTS, "-k", "not real"),
    ),
    Bug(
        "a server that comes back has old weights",
        SERVER,
        "self.fleet.sync_one(self.weights, server)",
        "pass",
        (SERVER_TESTS, "-k", "not real"),
    ),
    Bug(
        "answers reach other questions",
        f"{PACKAGE}/sampling/shared_generation.py",
        "self._asked.pop(completion.request_id)",
        "self._asked.pop(next(iter(self._asked)))",
        ("tests/sampling/test_shared_generation.py",),
    ),
)

BUGS = (*FIRST_FIFTEEN, *LEARNING_BUGS, *ITERATION_BUGS, *ROLLOUT_BUGS, *SAMPLING_BUGS)
