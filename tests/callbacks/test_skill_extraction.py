import random
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch

from opid_lightning.callbacks.skill_extraction import SkillExtraction
from opid_lightning.hindsight.analysts.replay import Replay
from opid_lightning.hindsight.analysts.rules import Rules
from opid_lightning.hindsight.analysts.self_hindsight import SelfHindsight
from opid_lightning.hindsight.cache import AnalysisCache
from opid_lightning.method.method import Method
from opid_lightning.method.rules.additive import Additive
from opid_lightning.protocols import AnalystUnavailableError, PolicyClient
from opid_lightning.types import Analysis, Hindsight, Skills, Trajectory, Usage
from tests.builders import step_of, trajectory_of
from tests.callbacks.analyses import PAID, NamingAnalyst, play
from tests.hindsight.cache_faults import fill_up
from tests.keydoor_run import GRPO, KeepExperience, assert_same_weights, fit

WON = trajectory_of(step_of(0, "open"), won=True, attempt=0)
LOST = trajectory_of(step_of(0, "wait"), attempt=1)


def many(count: int) -> list[Trajectory]:
    return [trajectory_of(step_of(0), attempt=n, goal=f"goal {n}") for n in range(count)]


def test_nothing_is_begun_while_all_weights_are_zero(begin, tmp_path):
    analyst = NamingAnalyst()
    callback = SkillExtraction(analyst)
    hindsight = play(callback, begin(callback, method=GRPO), WON)
    callback.teardown(None, None, "fit")
    assert hindsight.status(WON.id) == "skipped"
    assert analyst.events == []
    assert list(tmp_path.iterdir()) == []


def test_one_weight_is_enough(begin):
    callback = SkillExtraction(NamingAnalyst())
    trainer = begin(callback, method=Method(Additive(episode_weight=0.0, step_weight=0.1)))
    assert play(callback, trainer, WON).skills


def test_every_trajectory_gets_its_own_skills(begin):
    callback = SkillExtraction(NamingAnalyst())
    hindsight = play(callback, begin(callback), WON, LOST)
    skills = {key: s.episode_skill for key, s in hindsight.skills.items()}
    assert skills == {"task#0": "task#0", "task#1": "task#1"}
    assert hindsight.failures == {}


def test_a_failure_keeps_its_reason_and_has_no_skills(begin):
    callback = SkillExtraction(NamingAnalyst({LOST.id: Analysis(None, "empty")}))
    hindsight = play(callback, begin(callback), WON, LOST)
    assert hindsight.failures == {LOST.id: "empty"}
    assert list(hindsight.skills) == [WON.id]


def test_the_analyst_starts_before_the_first_rollout_and_ends_with_the_run(begin):
    analyst = NamingAnalyst()
    callback = SkillExtraction(analyst)
    trainer = begin(callback)
    assert analyst.events == ["start"]
    play(callback, trainer, WON)
    callback.teardown(trainer, trainer.lightning_module, "fit")
    callback.teardown(trainer, trainer.lightning_module, "fit")
    assert analyst.events == ["start", "task#0 [0]", "close"]


def test_an_analyst_that_cannot_start_stops_the_run_before_it_plays(begin):
    class Unavailable(NamingAnalyst):
        def start(self) -> None:
            raise AnalystUnavailableError("wrong key")

    with pytest.raises(AnalystUnavailableError, match="wrong key"):
        begin(SkillExtraction(Unavailable()))


@pytest.mark.parametrize("error", [AnalystUnavailableError("wrong key"), RuntimeError("a bug")])
def test_an_error_of_the_analyst_stops_the_run(begin, error):
    callback = SkillExtraction(NamingAnalyst({LOST.id: error}))
    trainer = begin(callback)
    with pytest.raises(type(error), match=str(error)):
        play(callback, trainer, WON, LOST)


def test_analysis_starts_while_other_trajectories_still_play(begin):
    started = threading.Event()

    class Telling(NamingAnalyst):
        def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
            started.set()
            return super().__call__(trajectory, candidates)

    callback = SkillExtraction(Telling())
    callback.on_trajectory_end(begin(callback), WON)
    assert started.wait(timeout=20)


def test_what_is_late_counts_as_such_and_is_there_the_next_time(begin):
    analyst = NamingAnalyst()
    callback = SkillExtraction(analyst, deadline_s=0.1)
    trainer = begin(callback)
    analyst.gate.clear()
    began = time.monotonic()
    assert play(callback, trainer, WON).failures == {WON.id: "late"}
    assert callback._metrics["analysis/late"] == 1
    assert 0.1 <= callback._metrics["analysis/exposed_s"] <= time.monotonic() - began
    assert callback._metrics["analysis/cost"] == 0
    analyst.gate.set()
    callback.deadline_s = None
    assert play(callback, trainer, WON).skills
    assert callback._metrics["analysis/cached"] == 1
    assert callback._metrics["analysis/cost"] == 0.5
    assert analyst.events == ["start", "task#0 [0]"]


@pytest.mark.parametrize(
    ("iteration", "is_on"), [(1, False), (2, False), (3, True), (5, True), (6, False)]
)
def test_the_schedule_is_on_after_start_and_through_stop(begin, iteration, is_on):
    analyst = NamingAnalyst()
    callback = SkillExtraction(analyst, start_after=2, stop_after=5)
    hindsight = play(callback, begin(callback, iteration=iteration), WON, LOST)
    expected = "analysed" if is_on else "skipped"
    assert {hindsight.status(t.id) for t in (WON, LOST)} == {expected}
    assert len(analyst.events) == (3 if is_on else 1)


@pytest.mark.parametrize(("iteration", "won_status"), [(3, "analysed"), (4, "skipped")])
def test_failed_only_analyses_all_through_n_then_failures(begin, iteration, won_status):
    callback = SkillExtraction(NamingAnalyst(), failed_only_after=3)
    hindsight = play(callback, begin(callback, iteration=iteration), WON, LOST)
    assert (hindsight.status(WON.id), hindsight.status(LOST.id)) == (won_status, "analysed")


def test_each_rollout_starts_anew(begin):
    callback = SkillExtraction(NamingAnalyst())
    trainer = begin(callback)
    assert list(play(callback, trainer, WON).skills) == [WON.id]
    assert callback.collect(trainer, [WON]) == Hindsight()


def test_runs_share_a_cache_that_is_named_and_else_keep_their_own(begin, tmp_path):
    shared = tmp_path / "shared" / "analyses.sqlite"
    first, second = NamingAnalyst(), NamingAnalyst()
    for analyst in (first, second):
        callback = SkillExtraction(analyst, cache=str(shared))
        assert play(callback, begin(callback), WON).skills
    assert (len(first.events), len(second.events)) == (2, 1)
    assert not (tmp_path / "analyses.sqlite").exists()
    alone = NamingAnalyst()
    callback = SkillExtraction(alone)
    play(callback, begin(callback), WON)
    assert len(alone.events) == 2
    assert (tmp_path / "analyses.sqlite").exists()


def test_a_file_of_another_kind_is_refused_before_the_analyst_starts(begin, tmp_path):
    (tmp_path / "diary").write_text("dear diary" * 1000)
    analyst = NamingAnalyst()
    with pytest.raises(ValueError, match=r"diary cannot be used.*skill_extraction\.cache"):
        begin(SkillExtraction(analyst, cache=str(tmp_path / "diary")))
    assert analyst.events == []


def test_the_budget_counts_what_the_run_spent_before_it_was_resumed(begin):
    played = many(4)
    first = SkillExtraction(NamingAnalyst(), max_workers=1, budget=1.0)
    trainer = begin(first)
    with pytest.warns(UserWarning, match="budget for analyses is used up"):
        assert len(play(first, trainer, *played).skills) == 2
    resumed = SkillExtraction(NamingAnalyst(), budget=1.0)
    trainer = begin(resumed)
    with pytest.warns(UserWarning, match="budget for analyses is used up"):
        assert len(play(resumed, trainer, *played).skills) == 2
    assert len(resumed.analyst.events) == 1
    raised = SkillExtraction(NamingAnalyst(), budget=2.0)
    assert len(play(raised, begin(raised), *played).skills) == 4


def test_a_run_continues_without_skills_once_its_budget_is_used_up(begin):
    callback = SkillExtraction(NamingAnalyst(), max_workers=1, budget=0.5, window=4)
    trainer = begin(callback)
    with pytest.warns(UserWarning, match="without new skills.*max_tokens_spent"):
        play(callback, trainer, *many(4))
    hindsight = play(callback, trainer, *many(8))  # a second warning would be an error
    assert [hindsight.status(t.id) for t in many(8)] == ["analysed", *["skipped"] * 7]
    assert hindsight.failures == {}
    total = callback.total
    assert (total.submitted, total.succeeded, total.failed, total.over_budget) == (2, 2, {}, 10)


@pytest.mark.parametrize(
    ("limit", "usage", "said"),
    [
        ({"budget": 1.0}, Usage(1), "does not say how many tokens"),
        ({"budget": 1.0}, Usage(1, prompt_tokens=9), "input_price .* are 0"),
        ({"max_tokens_spent": 99}, Usage(1, cost=0.5), "does not say how many tokens"),
        ({"budget": 1.0, "max_tokens_spent": 99}, Usage(1, cost=0.5), "does not say"),
        ({"budget": 9.0}, Usage(1, cost=0.5), ""),
        ({"max_tokens_spent": 99}, Usage(1, completion_tokens=9), ""),
        ({"budget": 1.0}, Usage(), ""),
        ({}, Usage(1), ""),
    ],
)
def test_a_budget_that_nothing_counts_towards_is_said_once(begin, limit, usage, said):
    (played,), (more,) = many(1), many(2)[1:]
    answers = {each.id: Analysis(Skills("s", {}), usage=usage) for each in (played, more)}
    callback = SkillExtraction(NamingAnalyst(answers), **limit)
    trainer = begin(callback)
    context = (
        pytest.warns(UserWarning, match=f"never be used up: .*{said}") if said else nullcontext()
    )
    with context:
        play(callback, trainer, played)
    play(callback, trainer, more)  # a second warning would be an error


def test_a_run_stores_no_analysis_on_a_full_disk_says_so_once_and_counts(begin, tmp_path, caplog):
    callback = SkillExtraction(NamingAnalyst(), max_workers=1)
    trainer = begin(callback)
    fill_up(callback._stream.cache)
    for size in (4, 8):
        assert len(play(callback, trainer, *many(size)).skills) == size
    assert callback.analyst.events[1:] == [f"{t.id} [0]" for t in many(8)]
    assert caplog.text.count("disk is full") == 1
    assert callback.total.unstored == 8


FAILING = {t.id: Analysis(None, "not_json", usage=PAID) for t in many(4)[:3]}


def test_a_run_stops_where_too_few_analyses_succeed(begin):
    callback = SkillExtraction(NamingAnalyst(FAILING), window=4, min_success_share=0.5)
    trainer = begin(callback)
    with pytest.raises(ValueError, match=r"Of the last 4 analyses 1 .*3 not_json.*=continue"):
        play(callback, trainer, *many(4))


def test_a_run_goes_on_with_a_warning_in_each_iteration_where_so_told(begin):
    settings = {"window": 4, "min_success_share": 0.5, "on_low_success": "continue"}
    callback = SkillExtraction(NamingAnalyst(FAILING), **settings)
    trainer = begin(callback)
    with pytest.warns(UserWarning, match=r"Iteration 1 is GRPO where.*3 not_json"):
        assert len(play(callback, trainer, *many(4)).failures) == 3
    trainer.fit_loop.epoch_progress.current.processed = 1
    with pytest.warns(UserWarning, match="Iteration 2 is GRPO where"):
        play(callback, trainer, *many(4))


def test_what_is_counted_and_judged_goes_on_in_a_resumed_run(begin):
    first = SkillExtraction(NamingAnalyst(FAILING), window=8)
    play(first, begin(first), *many(4))
    resumed = SkillExtraction(NamingAnalyst(FAILING), window=8)
    resumed.load_state_dict(first.state_dict())
    trainer = begin(resumed)
    with pytest.raises(ValueError, match="Of the last 8 analyses 2 succeeded"):
        play(resumed, trainer, *many(4))
    assert (resumed.total.submitted, resumed.total.succeeded) == (8, 2)
    assert resumed.total.usage.cost == 2.0  # the same trajectories are not paid for again


def test_random_numbers_are_not_touched(begin):
    callback = SkillExtraction(Rules())
    trainer = begin(callback)
    state, torch_state = random.getstate(), torch.get_rng_state()
    play(callback, trainer, WON, LOST)
    assert random.getstate() == state
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("end", ["teardown", "on_exception"])
def test_no_thread_is_left_behind(begin, end):
    callback = SkillExtraction(NamingAnalyst())
    trainer = begin(callback)
    before = threading.enumerate()
    callback.on_trajectory_end(trainer, WON)
    threads = [thread for thread in threading.enumerate() if thread not in before]
    assert threads
    argument = "fit" if end == "teardown" else RuntimeError()
    getattr(callback, end)(trainer, trainer.lightning_module, argument)
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_workers": 0}, "max_workers is 0; expected at least 1"),
        ({"deadline_s": -1.0}, "deadline_s is -1.0; expected at least 0"),
        ({"start_after": -1}, "start_after is -1; expected at least 0"),
        ({"failed_only_after": -1}, "failed_only_after is -1; expected at least 0"),
        ({"start_after": 3, "stop_after": 3}, "would never run: stop_after is 3"),
        ({"budget": 0.0}, "budget is 0.0; expected more than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SkillExtraction(Rules(), **settings)


def test_a_replayed_run_is_the_recorded_one_bit_for_bit(tmp_path):
    recorded = fit(tmp_path / "recorded", [SkillExtraction(Rules())])
    replay = Replay(str(tmp_path / "recorded" / "analyses.sqlite"))
    replayed = fit(tmp_path / "replayed", [SkillExtraction(replay)])
    assert_same_weights(recorded, replayed)
    plain = fit(tmp_path / "plain", [])
    with pytest.raises(AssertionError):
        assert_same_weights(plain, replayed)


def test_a_run_logs_its_account_and_prints_the_sum(tmp_path, capsys):
    run = fit(tmp_path, [SkillExtraction(Rules())])
    assert run.metrics["analysis/submitted"] == run.metrics["analysis/succeeded"] == 16
    assert 0 <= run.metrics["analysis/first_s"] <= run.metrics["analysis/last_s"]
    assert run.metrics["analysis/requests"] == 0
    assert "analyses: 32 of 32 trajectories succeeded" in capsys.readouterr().out
    cache = AnalysisCache(tmp_path / "analyses.sqlite")
    assert cache.spent(str(tmp_path)) == Usage()
    cache.close()


def test_an_analyst_that_asks_the_policy_needs_a_sampler_that_follows_schemas(tmp_path):
    with pytest.raises(AnalystUnavailableError, match=r"sampler=hf cannot.*set sampler=vllm"):
        fit(tmp_path, [SkillExtraction(SelfHindsight(max_tokens=1))])


@dataclass
class AskingAnalyst(NamingAnalyst):
    """Has the policy say a word, and writes it as its skill."""

    def listen(self, client: PolicyClient) -> None:
        self.client = client

    def __call__(self, trajectory: Trajectory, candidates: Sequence[int]) -> Analysis:
        answer = self.client.ask("west", max_tokens=2, temperature=1.0, seed=len(candidates))
        return Analysis(Skills(f"say {answer.result().completion.text}", {}))


def test_the_policy_is_asked_beside_a_rollout_that_it_does_not_move(tmp_path):
    asking, silent = KeepExperience(), KeepExperience()
    fit(tmp_path / "asking", [SkillExtraction(AskingAnalyst(), 2), asking], iterations=1)
    fit(tmp_path / "silent", [silent], iterations=1)
    skills = asking.experience.hindsight.skills
    assert len(skills) == len(asking.experience.trajectories) == 16
    assert all(found.episode_skill.startswith("say ") for found in skills.values())
    responses = [
        [s.completion.token_ids for t in kept.experience.trajectories for s in t.steps]
        for kept in (asking, silent)
    ]
    assert responses[0] == responses[1]
