"""The proof of a sync, without an engine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.sampling.weights import (
    TensorRecord,
    WeightSyncError,
    as_json,
    check_parity,
    check_received,
    from_json,
    manifest_of,
    probe_ids,
    trainer_logprobs,
    weights_of,
)
from opid_lightning.types import Policy


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(PolicySource("keydoor"))


def test_a_tied_head_is_sent_under_its_own_name() -> None:
    small = load_policy(PolicySource("small"))
    weights = dict(weights_of(small))
    assert small.model.config.tie_word_embeddings  # type: ignore[union-attr]
    assert torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"])


def test_a_manifest_survives_json(policy: Policy) -> None:
    manifest = manifest_of(weights_of(policy))
    assert from_json(json.loads(json.dumps(as_json(manifest)))) == manifest


def test_the_smallest_change_of_one_number_changes_the_fingerprint() -> None:
    tensor = torch.randn(40, 30)
    changed = tensor.clone()
    changed[3, 5] = torch.nextafter(changed[3, 5], torch.tensor(9.0))
    assert TensorRecord.of(tensor) == TensorRecord.of(tensor.clone())
    assert TensorRecord.of(tensor).fingerprint != TensorRecord.of(changed).fingerprint


def test_what_arrived_whole_passes(policy: Policy) -> None:
    sent = manifest_of(weights_of(policy))
    check_received(sent, dict(sent), "the engine")


def test_each_kind_of_difference_is_named_with_its_tensor(policy: Policy) -> None:
    sent = dict(manifest_of(weights_of(policy)))
    missing, stale, cast, cut, *_ = sent
    received = {name: record for name, record in sent.items() if name != missing}
    received[stale] = replace(sent[stale], fingerprint=1)
    received[cast] = replace(sent[cast], dtype="float16", fingerprint=2)
    received[cut] = replace(sent[cut], shape=(1,))
    received["ghost"] = sent[stale]
    with pytest.raises(WeightSyncError) as error:
        check_received(sent, received, "the engine")
    message = str(error.value)
    for fault in (
        f"missing: {missing}",
        "unexpected: ghost",
        f"of another shape: {cut}",
        f"of another dtype: {cast}",
        f"of other contents (stale): {stale}",
    ):
        assert fault in message


def test_probes_are_the_same_every_time_and_within_the_vocabulary() -> None:
    assert probe_ids(50) == probe_ids(50)
    assert set(probe_ids(50, 1000)) == set(range(50))


def test_the_trainers_logprobs_are_of_each_id_after_those_before_it(policy: Policy) -> None:
    ids = (1, 2, 3, 4)
    logits = policy.model(input_ids=torch.tensor([ids])).logits[0]
    by_hand = [logits[i].log_softmax(-1)[ids[i + 1]].item() for i in range(3)]
    policy.model.train()
    assert trainer_logprobs(policy, ids).tolist() == pytest.approx(by_hand)
    assert policy.model.training
    policy.model.eval()


def test_parity_is_the_mean_and_the_largest_gap() -> None:
    parity = check_parity(torch.tensor([-1.0, -2.0]), torch.tensor([-1.1, -2.3]), 0.3, "it")
    assert (parity.mean, parity.max) == (pytest.approx(0.2), pytest.approx(0.3))


@pytest.mark.parametrize("sampled", [[-1.1, -2.3], [-1.0, float("nan")]])
def test_a_gap_above_the_bound_or_no_number_stops(sampled: list[float]) -> None:
    with pytest.raises(WeightSyncError, match=r"it took the weights.*sampler\.parity_bound"):
        check_parity(torch.tensor([-1.0, -2.0]), torch.tensor(sampled), 0.1, "it")
