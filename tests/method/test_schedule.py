import pytest

from opid_lightning.training.optimization import DECAYS, learning_rate_share


def shares(total, warmup, decay):
    return [learning_rate_share(i, total, warmup, decay) for i in range(total)]


def test_without_decay_the_rate_rises_and_stays():
    assert shares(6, 3, "none") == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])
    assert shares(2, 0, "none") == [1, 1]


def test_linear_decay_takes_equal_steps_towards_zero_after_the_last():
    assert shares(4, 0, "linear") == pytest.approx([1, 0.75, 0.5, 0.25])
    assert shares(6, 2, "linear") == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25])


def test_cosine_decay_is_at_half_in_the_middle():
    assert shares(4, 0, "cosine") == pytest.approx([1, 0.853553, 0.5, 0.146447], abs=1e-6)


@pytest.mark.parametrize("decay", DECAYS)
def test_no_iteration_trains_with_nothing_or_with_more_than_the_full_rate(decay):
    for total in range(1, 8):
        for warmup in range(total + 2):
            assert all(0 < share <= 1 for share in shares(total, warmup, decay))
