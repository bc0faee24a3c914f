import pytest
import torch

from opid_lightning.envs.search.passages import Passage
from opid_lightning.envs.search.retriever.dense import Dense, Encoder, pooled
from opid_lightning.lm.policy import EMBEDDED


@pytest.fixture(scope="module")
def encoder():
    return Encoder.load(str(EMBEDDED / "small"))


def test_what_is_padded_does_not_count_and_vectors_have_length_one():
    states = torch.tensor([[[3.0, 0.0], [3.0, 8.0], [99.0, 99.0]]])
    # mean of the first two: (3, 4), which has length 5
    assert torch.allclose(pooled(states, torch.tensor([[1, 1, 0]])), torch.tensor([[0.6, 0.8]]))


def test_a_text_encodes_alike_alone_and_beside_longer_ones(encoder):
    alone = encoder(["go to desk 1"])
    beside = encoder(["go to desk 1", "you arrive at desk 1, on which you see a mug 1"])[:1]
    assert torch.allclose(alone, beside, atol=1e-5)


def test_a_passage_is_nearest_to_itself_and_scores_fall(encoder):
    texts = ["take the mug from the desk", "heat an egg", "open fridge 1", "look"]
    index = Dense([Passage(str(i), text) for i, text in enumerate(texts)], encoder)
    for i, found in enumerate(index.scored(texts, topk=9)):
        assert found[0][0].id == str(i)
        assert found[0][1] == pytest.approx(1.0, abs=1e-4)
        assert [score for _, score in found] == sorted((s for _, s in found), reverse=True)
        assert len(found) == len(texts)


def test_prefixes_are_put_before_queries_and_passages(encoder):
    prefixed = Encoder(encoder.model, encoder.tokenizer, query_prefix="the ", passage_prefix="a ")
    index = Dense([Passage("0", "mug")], prefixed)
    ((_, score),) = index.scored(["mug"], 1)[0]
    one, two = encoder(["the mug", "a mug"])
    assert score == pytest.approx(float(one @ two), abs=1e-5)


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"dense={tmp_path} is no model"):
        Encoder.load(str(tmp_path))
