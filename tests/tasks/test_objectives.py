"""Training and evaluation examples of each objective."""

import pytest
import torch

from recsys.data import SessionBatch
from recsys.tasks import MaskedItems, NextItem
from tests.tasks.made_items import cyclic_sessions, padded


def by_session(examples, values):
    """Values [N] as a list for each session."""
    places = examples.packing.first.tolist(), examples.packing.last.tolist()
    return [values[first : last + 1].tolist() for first, last in zip(*places, strict=True)]


def read(examples):
    """The items that are looked up, 0 where there is none, as a list for each session."""
    items = torch.zeros(examples.packing.num_places, dtype=torch.int64)
    items[range(len(examples.inputs)) if examples.read is None else examples.read] = examples.inputs
    return by_session(examples, items)


def named(examples):
    """The targets at their places, 0 where there is none, as a list for each session."""
    targets = torch.zeros(examples.packing.num_places, dtype=torch.int64)
    targets[range(len(examples.targets)) if examples.scored is None else examples.scored] = examples.targets
    return by_session(examples, targets)


def test_next_item_examples_are_the_shifted_sessions():
    batch = padded([[1, 2, 3], [4], [5, 6]], times=torch.arange(9).view(3, 3))
    examples = NextItem().training(batch, 6)
    assert read(examples) == [[1, 2], [0], [5]]
    assert named(examples) == [[2, 3], [0], [6]]
    assert by_session(examples, examples.times) == [[0, 1], [3], [6]]
    evaluation = NextItem().evaluation(batch, 6)
    assert read(evaluation) == [[1, 2, 3], [4], [5, 6]]
    assert torch.equal(evaluation.scored, evaluation.packing.last)


def test_masked_examples_hide_events_and_name_them():
    torch.manual_seed(0)
    sessions = cyclic_sessions(500, length=9)
    examples = MaskedItems(0.3, last_only_fraction=0.2).training(padded(sessions), 9)
    hidden, targets, items = by_session(examples, examples.masked), named(examples), read(examples)
    for session, *found in zip(sessions, hidden, targets, items, strict=True):
        assert any(found[0]), "every session has something to tell"
        assert found[1] == [item * is_hidden for item, is_hidden in zip(session, found[0], strict=True)]
        assert found[2] == [item * (not is_hidden) for item, is_hidden in zip(session, found[0], strict=True)]
    last = [is_hidden[-1] for is_hidden in hidden if len(is_hidden) >= 6]
    assert 0.2 + 0.8 * 0.3 == pytest.approx(sum(last) / len(last), abs=0.08)


def test_masked_evaluation_appends_a_hidden_event_and_drops_the_first_of_a_full_session():
    batch = padded([[1, 2, 3], [4], [5, 6]], times=torch.tensor([[10, 20, 30], [40, 0, 0], [50, 60, 0]]))
    for max_length, first in ((5, [1, 2, 3, 0]), (3, [2, 3, 0])):
        examples = MaskedItems().evaluation(batch, max_length)
        assert read(examples) == [first, [4, 0], [5, 6, 0]]
        assert by_session(examples, examples.masked) == [[not item for item in items] for items in read(examples)]
        times = [[10, 20, 30, 30][4 - len(first) :], [40, 40], [50, 60, 60]]
        assert by_session(examples, examples.times) == times
        assert torch.equal(examples.scored, examples.packing.last)
        assert not len(examples.targets)


@pytest.mark.parametrize("objective", [NextItem(), MaskedItems()], ids=lambda objective: type(objective).__name__)
@pytest.mark.parametrize("width", [0, 1, 3])
def test_users_without_history_have_a_place_each(objective, width):
    nothing = torch.zeros(2, width, dtype=torch.int64)
    batch = SessionBatch(nothing, torch.zeros(2, dtype=torch.int64), nothing)
    examples = objective.evaluation(batch, 5)
    assert len(examples.inputs) == 0
    assert sorted(examples.scored.tolist()) == [0, 1]
    assert examples.times.tolist() == [0, 0]
    assert len(objective.training(batch, 5).targets) == 0


def test_nothing_is_asked_of_a_device():
    """Places are made from the lengths on the CPU alone: on a device without values they come out all the same."""
    batch = padded(cyclic_sessions(6)).to("meta")
    for objective in (NextItem(), MaskedItems()):
        for examples in (objective.training(batch, 6), objective.evaluation(batch, 6)):
            assert examples.inputs.device.type == "meta"
            assert examples.packing.num_places > 0


@pytest.mark.parametrize("arguments", [{"mask_fraction": 0.0}, {"last_only_fraction": 1.1}])
def test_masked_items_checks_its_fractions(arguments):
    with pytest.raises(ValueError, match=r"MaskedItems: .* must be in"):
        MaskedItems(**arguments)
