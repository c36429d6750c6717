"""Training and evaluation examples of each objective."""

import pytest
import torch
from torch.testing import assert_close

from recsys.tasks import MaskedItems, NextItem
from tests.tasks.made_items import cyclic_sessions, padded


def test_next_item_examples_are_the_shifted_sessions():
    batch = padded([[1, 2, 3], [4], [5, 6]], times=torch.arange(9).view(3, 3))
    examples = NextItem().training(batch, 6)
    assert examples.items.tolist() == [[1, 2], [0, 0], [5, 0]]
    assert examples.lengths.tolist() == [2, 0, 1]
    assert examples.positions.tolist() == [0, 1, 4]
    assert examples.targets.tolist() == [2, 3, 6]
    assert examples.times.tolist() == [[0, 1], [3, 4], [6, 7]]
    evaluation = NextItem().evaluation(batch, 6)
    assert evaluation.positions.tolist() == [2, 3, 7]


def test_masked_examples_hide_events_and_name_them():
    torch.manual_seed(0)
    batch = padded(cyclic_sessions(500, length=9))
    examples = MaskedItems(0.3, last_only_fraction=0.2).training(batch, 9)
    hidden = examples.masked
    is_event = batch.items != 0
    assert not (hidden & ~is_event).any()
    assert hidden.any(1).all(), "every session has something to tell"
    assert_close(batch.items[hidden], examples.targets)
    assert (examples.items[hidden] == 0).all()
    assert_close(examples.items[~hidden], batch.items[~hidden])
    assert_close(batch.items.reshape(-1)[examples.positions], examples.targets)
    long = batch.lengths >= 6
    last = hidden.gather(1, (batch.lengths - 1).unsqueeze(1))[:, 0]
    assert 0.2 + 0.8 * 0.3 == pytest.approx(last[long].float().mean().item(), abs=0.08)


def test_masked_evaluation_appends_a_hidden_event_and_drops_the_first_of_a_full_session():
    batch = padded([[1, 2, 3], [4], [5, 6]], times=torch.tensor([[10, 20, 30], [40, 0, 0], [50, 60, 0]]))
    roomy = MaskedItems().evaluation(batch, 5)
    assert roomy.items.tolist() == [[1, 2, 3, 0], [4, 0, 0, 0], [5, 6, 0, 0]]
    assert roomy.lengths.tolist() == [4, 2, 3]
    assert roomy.positions.tolist() == [3, 5, 10]
    full = MaskedItems().evaluation(batch, 3)
    assert full.items.tolist() == [[2, 3, 0], [4, 0, 0], [5, 6, 0]]
    assert full.lengths.tolist() == [3, 2, 3]
    assert full.times.tolist()[0] == [20, 30, 30]
    assert full.times.tolist()[2] == [50, 60, 60]


@pytest.mark.parametrize("arguments", [{"mask_fraction": 0.0}, {"last_only_fraction": 1.1}])
def test_masked_items_checks_its_fractions(arguments):
    with pytest.raises(ValueError, match=r"MaskedItems: .* must be in"):
        MaskedItems(**arguments)
