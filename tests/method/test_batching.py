from dataclasses import replace
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.method.advantage import Advantage
from opid_lightning.method.batching import Batching, collate, totals_of
from opid_lightning.method.loss import Loss
from opid_lightning.method.rules.additive import Additive
from tests.method.rows import credited, played, scored

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=60)
SIZES = st.integers(1, 20)
ROW = (1,)


@given(LENGTHS, st.none() | SIZES, SIZES, st.integers(1, 3), st.integers(0, 5))
def test_each_row_is_trained_on_once_an_epoch(lengths, mini, micro, epochs, seed):
    plan = Batching(mini, micro, epochs).plan([ROW * n for n in lengths], seed)
    rows = [row for step in plan for micro_batch in step for row in micro_batch]
    for epoch in range(epochs):
        part = rows[epoch * len(lengths) : (epoch + 1) * len(lengths)]
        assert sorted(part) == list(range(len(lengths)))
    assert len({len(step) for step in plan}) == 1
    assert all(len(micro_batch) <= micro for step in plan for micro_batch in step)
    assert all(sum(map(len, step)) <= (mini or len(lengths)) for step in plan)
    assert all(any(step) for step in plan)


@given(LENGTHS, st.integers(0, 5))
def test_the_plan_is_a_function_of_the_seed(lengths, seed):
    batching = Batching(mini_batch_rows=10, micro_batch_rows=3)
    rows = [ROW * length for length in lengths]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    plan = batching.plan(rows, seed)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert batching.plan(rows, seed) == plan


def test_another_seed_and_another_epoch_shuffle_anew():
    plan = Batching(mini_batch_rows=10, ppo_epochs=2).plan([ROW] * 40, seed=0)
    assert plan[:4] != plan[4:]
    assert Batching(mini_batch_rows=10).plan([ROW] * 40, seed=1) != plan[:4]


def test_rows_of_similar_lengths_share_a_micro_batch():
    lengths = [5, 1, 9, 3, 7, 2]
    (step,) = Batching(mini_batch_rows=None, micro_batch_rows=2).plan(
        [ROW * n for n in lengths], seed=0
    )
    assert [[lengths[row] for row in rows] for rows in step] == [[9, 7], [5, 3], [2, 1]]


def test_long_and_short_rows_fill_micro_batches_alike():
    lengths = [5, 1, 9, 1, 3, 2, 1, 2]
    batching = Batching(mini_batch_rows=None, micro_batch_tokens=6)
    (step,) = batching.plan([ROW * n for n in lengths], seed=0)
    # A row that is longer than that is by itself.
    assert [[lengths[row] for row in rows] for rows in step] == [[9], [5], [3, 2], [2, 1, 1], [1]]


def test_a_step_of_fewer_micro_batches_is_filled_with_such_of_no_rows():
    plan = Batching(mini_batch_rows=4, micro_batch_rows=1).plan([ROW] * 7, seed=0)
    assert [[len(rows) for rows in step] for step in plan] == [[1, 1, 1, 1], [1, 1, 1, 0]]


@pytest.mark.parametrize(
    ("rows", "limit", "steps"),
    [(257, 256, [129, 128]), (101, 20, [17, 17, 17, 17, 17, 16]), (40, 20, [20, 20]), (3, 9, [3])],
)
def test_rows_are_shared_out_evenly_over_optimizer_steps(rows, limit, steps):
    plan = Batching(mini_batch_rows=limit).plan([ROW] * rows, seed=0)
    assert [sum(map(len, step)) for step in plan] == steps


def test_few_rows_need_few_micro_batches():
    assert [len(step) for step in Batching(256, 8).plan([ROW] * 9, seed=0)] == [2]


def test_no_rows_are_an_error():
    with pytest.raises(ValueError, match="no rows to train on"):
        Batching().plan([], seed=0)


@pytest.mark.parametrize(
    "name", ["mini_batch_rows", "micro_batch_rows", "ppo_epochs", "micro_batch_tokens"]
)
def test_a_setting_out_of_range_is_named(name):
    with pytest.raises(ValueError, match=rf"batching\.{name} is 0; expected at least 1"):
        Batching(**{name: 0})


WORDS = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=8).map(tuple), min_size=1)


@given(WORDS, st.none() | SIZES, SIZES, st.integers(1, 3), st.integers(0, 5))
def test_sharing_prefixes_moves_no_row_to_another_optimizer_step(
    sequences, mini, tokens, epochs, seed
):
    padded = Batching(mini, ppo_epochs=epochs)
    merged = replace(padded, share_prefixes=True, micro_batch_tokens=tokens)
    plan = merged.plan(sequences, seed)
    for step, as_padded in zip(plan, padded.plan(sequences, seed), strict=True):
        assert sorted(chain(*step)) == sorted(chain(*as_padded))
    assert len({len(step) for step in plan}) == 1
    assert merged.plan(sequences, seed) == plan


def test_rows_that_begin_alike_share_a_micro_batch():
    one, other = [[(start, *[5] * n) for n in (1, 2, 3)] for start in (1, 2)]
    rows = [row for pair in zip(one, other, strict=True) for row in pair]
    batching = Batching(None, share_prefixes=True, micro_batch_tokens=6)
    (step,) = batching.plan(rows, seed=0)
    assert sorted(map(sorted, step)) == [[0, 2, 4], [1, 3, 5]]


def test_a_step_of_fewer_trees_is_filled_with_micro_batches_of_no_rows():
    rows = [(1, 1), (1, 2), (2, 1), (3, 1), (4, 1)]
    plan = Batching(3, share_prefixes=True, micro_batch_tokens=2).plan(rows, seed=0)
    assert [[len(rows) for rows in step] for step in plan] == [[1, 1, 1], [1, 1, 0]]


def two_samples():
    """The rows drawn in types.Batch; the first has an episode skill, the other none."""
    one, other = played(1.0), played(0.0, attempt=1)
    steps = [
        scored(one, old=(-1.0, -2.0, -3.0), prompt=(1, 2, 3), episode=(-1.5, -2.0, -2.0)),
        scored(other, old=(-4.0, -5.0), prompt=(1, 2, 3, 4)),
    ]
    return credited(steps, Additive(episode_weight=0.5), Advantage(epsilon=1e-12))


def test_prompts_end_and_responses_begin_at_one_column():
    samples = two_samples()
    batch = collate(samples, totals_of(samples, 1, 4), pad_id=0, temperature=0.7)
    assert batch.inputs.input_ids.tolist() == [
        # . a  b  c |  x   y   $
        [0, 1, 2, 3, 10, 11, 12],
        # a b  c  d |  x   $   .
        [1, 2, 3, 4, 10, 11, 0],
    ]
    assert batch.inputs.attention_mask.tolist() == [[0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0]]
    assert batch.inputs.response_ids.tolist() == [[10, 11, 12], [10, 11, 0]]
    assert batch.response_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.old_logprobs.tolist() == [[-1, -2, -3], [-4, -5, 0]]
    assert batch.sampler_logprobs.tolist() == [[-1.5, -2.5, -3.5], [-4.5, -5.5, 0]]
    assert batch.advantages.tolist() == [[0.75, 1.0, 1.5], [-1, -1, 0]]
    assert batch.skill_logprobs.tolist() == [[-1.5, -2, -2], [0, 0, 0]]
    assert batch.routed_mask.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert batch.reference_logprobs is None
    assert batch.temperature == 0.7


def test_the_routed_context_is_the_step_skill_where_there_is_one():
    steps = [scored(played(1.0), episode=(-2.0, -2.0), step=(-3.0, -3.0))]
    samples = credited(steps)
    batch = collate(samples, totals_of(samples, 1, 4), pad_id=0, temperature=1.0)
    assert batch.skill_logprobs.tolist() == [[-3, -3]]


def test_reference_log_probs_are_all_there_or_none():
    with_reference = credited([scored(played(1.0), reference=(-7.0, -8.0))])
    batch = collate(with_reference, totals_of(with_reference, 1, 4), pad_id=0, temperature=1.0)
    assert batch.reference_logprobs.tolist() == [[-7, -8]]
    mixed = [*with_reference, *two_samples()]
    with pytest.raises(AssertionError):
        collate(mixed, totals_of(mixed, 1, 4), pad_id=0, temperature=1.0)


def test_a_micro_batch_of_no_rows_is_a_row_that_counts_for_nothing():
    totals = totals_of(two_samples(), 2, 4)
    batch = collate([], totals, pad_id=9, temperature=1.0)
    assert batch.inputs.input_ids.tolist() == [[9, 9]]
    assert batch.inputs.attention_mask.tolist() == [[1, 0]]
    assert batch.response_mask.tolist() == [[0]]
    assert batch.reference_logprobs.tolist() == [[0]]
    assert batch.totals is totals


def test_merged_rows_differ_in_their_inputs_alone():
    samples = two_samples()
    totals = totals_of(samples, 1, 4)
    padded = collate(samples, totals, pad_id=0, temperature=0.7)
    merged = collate(samples, totals, 0, 0.7, Batching(share_prefixes=True).layout)
    # Prompts a b c and a b c d, responses x y $ and x $: a b c d x $ x y $
    assert merged.inputs.input_ids.tolist() == [[1, 2, 3, 4, 10, 11, 10, 11, 12]]
    assert merged.inputs.num_tokens == padded.inputs.num_tokens
    assert torch.equal(merged.inputs.response_ids, padded.inputs.response_ids)
    for name in ("response_mask", "old_logprobs", "advantages", "skill_logprobs", "routed_mask"):
        assert torch.equal(getattr(merged, name), getattr(padded, name))


def test_a_merged_micro_batch_of_no_rows_has_a_gradient_of_zero():
    model = load_policy(PolicySource("keydoor")).model
    totals = totals_of(two_samples(), 2, 4)
    batch = collate([], totals, 9, 1.0, Batching(share_prefixes=True).layout)
    assert batch.inputs.input_ids.tolist() == [[9]]
    assert batch.response_mask.tolist() == [[0]]
    logprobs, entropy = response_logprobs(model, batch.inputs, 1.0, with_entropy=True)
    Loss(kl_weight=0.1, entropy_weight=0.1)(logprobs, entropy, batch).loss.backward()
    for weight in model.parameters():
        assert weight.grad is not None and not weight.grad.any()


def test_totals_count_the_whole_optimizer_step():
    totals = totals_of(two_samples(), num_batches=3, max_response=4)
    assert (totals.num_rows, totals.num_tokens, totals.max_response) == (2, 5, 4)
    assert (totals.num_batches, totals.num_routed_tokens) == (3, 3)
