"""What two processes do together is what one does alone."""

import csv
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.lm.forward.layouts import pad_sequences
from opid_lightning.method.batching import Batching
from opid_lightning.method.scoring import first_epoch
from opid_lightning.ranks import Ranks, pickled_on_cpu
from opid_lightning.rollout.rollout import in_order
from opid_lightning.training.micro_batches import MicroBatches
from tests.builders import experience_of, sample_of, step_of, trajectory_of

ROW = (1,)
PARTS = st.integers(1, 5)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 20), PARTS, PARTS)
def test_ranks_train_on_equally_many_micro_batches_and_together_on_all(lengths, mini, micro, count):
    plan = Batching(mini, micro, ppo_epochs=2).plan([ROW * n for n in lengths], 0, count)
    shares = [[Ranks(rank, count).share(step) for step in plan] for rank in range(count)]
    assert len({len(step) for share in shares for step in share}) == 1
    rows = [row for share in shares for step in share for batch in step for row in batch]
    assert sorted(rows) == sorted([*range(len(lengths))] * 2)


def test_ranks_take_micro_batches_of_about_the_same_size():
    lengths = list(range(1, 65))
    (step,) = Batching(None, 4).plan([ROW * n for n in lengths], seed=0, num_ranks=2)
    tokens = [
        sum(lengths[row] for batch in Ranks(rank, 2).share(step) for row in batch)
        for rank in range(2)
    ]
    assert max(tokens) / min(tokens) < 1.15


@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 3), PARTS)
def test_what_is_scored_before_training_is_every_row_once(num_rows, mini, epochs, count):
    plan = Batching(mini, 2, epochs).plan([ROW] * num_rows, 0, count)
    rows = [row for step in first_epoch(plan, num_rows) for batch in step for row in batch]
    assert sorted(rows) == list(range(num_rows))


def test_what_ranks_played_comes_back_in_the_order_of_one_rank():
    tasks = [trajectory_of(step_of(), task_id=name).task for name in "cab"]
    played = [
        [trajectory_of(step_of(), task_id=name, attempt=n) for n in range(2)] for name in "cab"
    ]
    parts = [(*played[0], *played[2]), tuple(played[1])]
    assert in_order(parts, tasks) == (*played[0], *played[1], *played[2])


def test_ranks_train_on_their_own_micro_batches_of_each_optimizer_step():
    one = sample_of(trajectory_of(step_of()), num_tokens=2)
    plan = (((0,), (1,), (2,), ()), ((3,), (4,), (), ()))
    experience = replace(experience_of(*[one] * 5), plan=plan)
    parts = [MicroBatches(experience, Ranks(rank, 2), 0, 8, pad_sequences) for rank in range(2)]
    assert [[rows for rows, _ in part.parts] for part in parts] == [
        [(0,), (2,), (3,), ()],
        [(1,), (), (4,), ()],
    ]
    assert [part.num_of_step for part in parts] == [2, 2]
    assert [totals.num_batches for _, totals in parts[0].parts] == [4] * 4
    assert [totals.num_rows for _, totals in parts[0].parts] == [3, 3, 2, 2]


def test_a_rank_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="rank 2 of 2; expected 0 to 1"):
        Ranks(2, 2)


def fit(folder, *overrides):
    """Two iterations of keydoor; the last checkpoint's weights, and the metrics."""
    command = [sys.executable, "-m", "opid_lightning", "fit", "conf=keydoor"]
    settings = (
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
        "data.tasks_per_iteration=3",
        "batching.mini_batch_rows=64",
        "batching.micro_batch_rows=8",  # so that both have work
        f"trainer.default_root_dir={folder}",
    )
    command += [*settings, *overrides]
    # Ranks that do not agree on what to exchange wait for one another.
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return state, rows


def test_two_ranks_train_as_one_does(tmp_path):
    alone, figures = fit(tmp_path / "one")
    pair, of_pair = fit(tmp_path / "two", "trainer.devices=2", "strategy=ddp")
    for name, weight in alone.items():
        torch.testing.assert_close(pair[name], weight, rtol=0, atol=1e-5)
    own_pace = ("time/", "analysis/", "sampler/batch_mean")
    for one, two in zip(figures, of_pair, strict=True):
        compared = [name for name in one if one[name] and not name.startswith(own_pace)]
        for name in compared:
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-4, abs=1e-5), name


def test_servers_of_one_process_are_refused_to_several(tmp_path):
    command = [sys.executable, "-m", "opid_lightning", "fit", "conf=keydoor"]
    settings = (
        *("sampler=vllm_server", "sampler.urls=[http://127.0.0.1:9]", "strategy=ddp"),
        *("trainer.devices=2", "trainer.accelerator=cpu", f"trainer.default_root_dir={tmp_path}"),
    )
    run = subprocess.run([*command, *settings], capture_output=True, text=True)
    assert run.returncode == 2
    assert "sampler=vllm_server serves one process, and there are 2" in run.stderr


class OnGPU(torch.Tensor):
    """A tensor that says it is on a GPU, and whose copy on the CPU is a plain one."""

    @property
    def device(self):
        return torch.device("cuda", 1)

    def cpu(self):
        return torch.Tensor(self.tolist())

    def __reduce_ex__(self, protocol):
        raise AssertionError("pickled where it is")


def test_what_ranks_exchange_is_moved_to_the_cpu_however_deep_it_is():
    tensor = torch.tensor([1.0, 2.0]).as_subclass(OnGPU)
    sample = sample_of(trajectory_of(step_of()), {"episode": [0.5, 1.0]})
    scored = replace(sample.scored, old_logprobs=tensor)
    kept = pickle.loads(pickled_on_cpu([{"x": replace(sample, scored=scored)}, "text"]))
    (found,) = kept[0].values()
    assert type(found.scored.old_logprobs) is torch.Tensor
    assert found.scored.old_logprobs.tolist() == [1.0, 2.0]
    assert kept[1] == "text"
