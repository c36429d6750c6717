"""Scores and losses that are no numbers, and which inputs may be why."""

import pytest
import torch

from recsys.tasks.finite import LossWatch, check_logits, large_columns

NAMES = ["price", "age"]


def test_large_inputs_are_named_where_scores_are_not_finite():
    dense = torch.tensor([[1.0, 2.0], [-3e30, 4.0]])
    check_logits(torch.tensor([0.0, 1e30]), dense, NAMES)
    with pytest.raises(ValueError, match=r"1 of 2 scores are NaN or infinite; .* very large: 'price' \(up to 3e\+30\)"):
        check_logits(torch.tensor([0.0, torch.inf]), dense, NAMES)
    with pytest.raises(ValueError, match="training has diverged"):
        check_logits(torch.tensor([0.0, torch.nan]), dense[:1], NAMES)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e5])
def test_a_large_column_is_named(value):
    assert "'age'" in large_columns(torch.tensor([[1.0, value]]), NAMES)
    assert "'price'" not in large_columns(torch.tensor([[1.0, value]]), NAMES)


def test_no_columns_say_nothing():
    assert large_columns(torch.empty(3, 0), []) == ""


def test_a_loss_says_why():
    with pytest.raises(ValueError, match="warmup_steps; because"):
        LossWatch()(torch.tensor(torch.nan), lambda: "; because")
