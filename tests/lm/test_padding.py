import pytest
import torch

from opid_lightning.lm.forward.layouts import pad_right, pad_sequences


def test_prompts_end_and_responses_begin_at_one_column():
    padded = pad_sequences([(1, 2, 3), (1, 2, 3, 4)], [(7, 8, 9), (7, 9)], pad_id=0)
    assert padded.input_ids.tolist() == [[0, 1, 2, 3, 7, 8, 9], [1, 2, 3, 4, 7, 9, 0]]
    assert padded.attention_mask.tolist() == [[0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0]]
    assert padded.response_ids.tolist() == [[7, 8, 9], [7, 9, 0]]
    assert padded.position_ids.tolist() == [[0, 0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 5]]
    assert padded.kept.tolist() == [3, 4, 5]
    assert padded.predictors.tolist() == [[0, 1, 2], [3, 4, 3]]
    assert padded.num_tokens == 12


def test_a_padding_token_inside_a_response_counts():
    padded = pad_sequences([(1,)], [(0, 5, 0)], pad_id=0)
    assert padded.attention_mask.tolist() == [[1, 1, 1, 1]]


def test_empty_responses_leave_one_column_of_nothing():
    padded = pad_sequences([(1, 2), (3,)], [(), ()], pad_id=0)
    assert padded.input_ids.tolist() == [[1, 2, 0], [0, 3, 0]]
    assert padded.attention_mask.tolist() == [[1, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize("prompts", [[], [()]])
def test_a_row_without_a_prompt_cannot_be_scored(prompts):
    with pytest.raises(AssertionError, match="prompt of at least one token"):
        pad_sequences(prompts, [() for _ in prompts], pad_id=0)


def test_numbers_are_filled_up_with_zero():
    rows = [torch.tensor([1.0, 2.0]), torch.empty(0)]
    assert pad_right(rows, 3).tolist() == [[1, 2, 0], [0, 0, 0]]
