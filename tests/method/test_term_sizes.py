import pytest
import torch

from tests.golden.term_sizes import term_sizes


def test_sizes_and_shares_over_response_tokens_by_hand():
    mask = torch.tensor([[1, 1], [1, 0]])
    outcome = torch.tensor([[1.0, -2.0], [3.0, 100.0]])
    skill = torch.tensor([[0.5, 0.0], [-1.0, 100.0]])
    sizes = term_sizes({"outcome": outcome, "skill": skill}, mask, epsilon=0.5)
    assert sizes == pytest.approx(
        {
            "outcome_mean": 2 / 3,
            "outcome_abs_mean": 2.0,
            "outcome_share": 2.0 / (2.5 + 0.5),
            "skill_mean": -0.5 / 3,
            "skill_abs_mean": 0.5,
            "skill_share": 0.5 / (2.5 + 0.5),
            "total_abs_mean": 2.5,
        }
    )


def test_without_any_token_all_is_zero():
    terms = {"outcome": torch.ones(1, 2)}
    assert set(term_sizes(terms, torch.zeros(1, 2)).values()) == {0.0}
