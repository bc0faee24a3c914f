import lightning
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from opid_lightning.callbacks.routing_statistics import RoutingStatistics, routing_statistics
from opid_lightning.types import Hindsight, Route, Skills
from tests.builders import experience_of, sample_of, step_of, trajectory_of

WON = trajectory_of(step_of(), won=True, attempt=0)
LOST = trajectory_of(step_of(), attempt=1)
THIRD = trajectory_of(step_of(), attempt=2)

#            trajectory  episode deltas  step deltas   A_ep    third was not analysed
# row 0      won         1, -3           -              2
# row 1      lost        -               4             -1
# row 2      lost        2               -6            -1
# row 3      third       (3 tokens, unscored)           0
SAMPLES = (
    sample_of(WON, {"episode": [1.0, -3.0]}, outcome=2.0, weight=0.5),
    sample_of(LOST, {"step": [4.0]}, outcome=-1.0, weight=0.5),
    sample_of(LOST, {"episode": [2.0], "step": [-6.0]}, outcome=-1.0, weight=0.5),
    sample_of(THIRD, outcome=0.0, num_tokens=3),
)
HINDSIGHT = Hindsight(skills={WON.id: Skills("k", {}), LOST.id: Skills("k", {})})
EXPERIENCE = experience_of(*SAMPLES, hindsight=HINDSIGHT)


def test_trajectories_are_counted_by_what_became_of_their_analysis():
    hindsight = Hindsight(skills={WON.id: Skills("k", {})}, failures={LOST.id: "empty"})
    metrics = routing_statistics(experience_of(*SAMPLES, hindsight=hindsight))
    assert metrics["skills/analysed"] == 1
    assert metrics["skills/failed"] == 1
    assert metrics["skills/failed_empty"] == 1
    assert metrics["skills/skipped"] == 1


def test_rows_are_shared_out_by_the_levels_that_scored_them():
    metrics = routing_statistics(EXPERIENCE)
    for level in ("episode", "step", "both", "none"):
        assert metrics[f"routing/{level}_share"] == 0.25


def test_a_skill_prompt_over_budget_is_counted_and_its_row_goes_to_what_was_scored():
    route = Route("Be quick.", "Take it.")
    metrics = routing_statistics(experience_of(sample_of(WON, {"step": [1.0]}, route)))
    assert metrics["routing/over_budget"] == 1
    assert metrics["routing/step_share"] == 1
    assert routing_statistics(EXPERIENCE)["routing/over_budget"] == 0


def test_advantage_sizes_are_means_over_the_same_response_tokens():
    metrics = routing_statistics(EXPERIENCE)
    # tokens:            row 0   row 0    row 1  row 2    row 3
    outcome = (abs(2.0) + abs(2) + abs(-1) + abs(-1) + 0 + 0 + 0) / 7
    skill = (0.5 + 1.5 + 2.0 + abs(0.5 * (2 - 6)) + 0 + 0 + 0) / 7
    assert metrics["advantage/outcome_abs_mean"] == pytest.approx(outcome)
    assert metrics["advantage/skill_abs_mean"] == pytest.approx(skill)
    assert metrics["advantage/skill_to_outcome_ratio"] == pytest.approx(skill / outcome)


def test_trajectories_whose_analysis_failed_are_masked_from_the_sizes():
    failed = Hindsight(skills=HINDSIGHT.skills, failures={THIRD.id: "late"})
    metrics = routing_statistics(experience_of(*SAMPLES, hindsight=failed))
    outcome, skill = (2 + 2 + 1 + 1) / 4, (0.5 + 1.5 + 2.0 + 2.0) / 4
    assert metrics["advantage/outcome_abs_mean"] == pytest.approx(outcome)
    assert metrics["advantage/skill_abs_mean"] == pytest.approx(skill)
    all_failed = Hindsight(failures={t.id: "late" for t in (WON, LOST, THIRD)})
    metrics = routing_statistics(experience_of(*SAMPLES, hindsight=all_failed))
    assert not {name for name in metrics if name.startswith("advantage/")}


def test_deltas_are_means_over_scored_tokens_only():
    metrics = routing_statistics(EXPERIENCE)
    assert metrics["delta/episode_mean"] == pytest.approx((1 - 3 + 2) / 3)
    assert metrics["delta/step_mean"] == pytest.approx((4 - 6) / 2)
    assert metrics["delta/abs_mean"] == pytest.approx((1 + 3 + 4 + 2 + 6) / 5)
    assert metrics["delta/success_mean"] == pytest.approx((1 - 3) / 2)
    assert metrics["delta/failure_mean"] == pytest.approx((4 + 2 - 6) / 3)


def test_a_mean_over_nothing_is_left_out():
    metrics = routing_statistics(experience_of(sample_of(WON, num_tokens=2, outcome=1.0)))
    assert not [name for name in metrics if name.startswith("delta/")]
    assert metrics["advantage/skill_to_outcome_ratio"] == 0
    assert "delta/failure_mean" not in routing_statistics(experience_of(SAMPLES[0]))


def test_there_is_no_ratio_to_an_outcome_of_zero():
    metrics = routing_statistics(experience_of(sample_of(WON, {"step": [1.0]}, outcome=0.0)))
    assert metrics["advantage/outcome_abs_mean"] == 0
    assert "advantage/skill_to_outcome_ratio" not in metrics


def test_empty_responses_only_leave_out_the_sizes():
    metrics = routing_statistics(experience_of(sample_of(WON, num_tokens=0, outcome=1.0)))
    assert not [name for name in metrics if name.startswith(("advantage/", "delta/"))]


@given(
    st.lists(
        st.sampled_from(
            [{}, {"episode": [1.0]}, {"step": [2.0]}, {"episode": [1.0], "step": [2.0]}]
        ),
        min_size=1,
    )
)
def test_the_shares_of_levels_add_up_to_one(levels):
    experience = experience_of(*(sample_of(WON, deltas) for deltas in levels))
    metrics = routing_statistics(experience)
    shares = [metrics[f"routing/{name}_share"] for name in ("episode", "step", "both", "none")]
    assert sum(shares) == pytest.approx(1)


class PlayingModule(lightning.LightningModule):
    """Reports an experience when its epoch starts, and trains on nothing of it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def train_dataloader(self):
        return DataLoader([0.0])

    def on_train_epoch_start(self):
        for callback in self.trainer.callbacks:
            if isinstance(callback, RoutingStatistics):
                callback.on_experience_end(self.trainer, EXPERIENCE)

    def training_step(self, batch, batch_idx):
        return self.weight.square()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*does not have many workers")
def test_the_metrics_of_an_iteration_are_logged_at_its_end(tmp_path):
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[RoutingStatistics()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(PlayingModule())
    logged = {name: value.item() for name, value in trainer.logged_metrics.items()}
    assert logged == pytest.approx(routing_statistics(EXPERIENCE))


def heard_of(*samples, caplog):
    """The warnings of two iterations like this."""
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    callback, experience = RoutingStatistics(), experience_of(*samples)
    with caplog.at_level("WARNING", logger="opid_lightning"):
        callback.on_experience_end(trainer, experience)
        callback.on_experience_end(trainer, experience)
    return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


def test_a_skill_term_too_small_to_be_felt_is_warned_of_once(caplog):
    faint = sample_of(WON, {"episode": [0.5]}, outcome=1.0, weight=0.001)
    (said,) = heard_of(faint, caplog=caplog)
    assert "the skill term is 0.05% of the outcome term" in said
    assert "method.rule.target_ratio=0.1" in said


def test_a_skill_term_that_is_felt_or_that_nobody_asked_for_is_not_warned_of(caplog):
    felt = sample_of(WON, {"episode": [0.5]}, outcome=1.0, weight=0.021)  # 1.05%
    assert heard_of(felt, caplog=caplog) == []
    assert heard_of(sample_of(WON, num_tokens=2, outcome=1.0), caplog=caplog) == []
    tied = sample_of(WON, {"episode": [0.5]}, outcome=0.0, weight=0.001)
    assert heard_of(tied, caplog=caplog) == []
