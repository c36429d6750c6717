"""Sessions in groups of similar length: the same hidden states, whatever the groups."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.models import HSTU, BERT4Rec, GRU4Rec, M2TRec, SASRec
from recsys.tasks.length_groups import LengthGroups

LENGTHS = st.lists(st.integers(0, 9), max_size=12)
MAX_PADDING = st.integers(1, 20)


@given(LENGTHS, MAX_PADDING)
def test_every_event_has_a_place_of_its_own(lengths, max_padding):
    num_positions = max([1, *lengths])
    groups = LengthGroups(torch.tensor(lengths, dtype=torch.long), num_positions, max_padding)
    events = [(row, column) for row, length in enumerate(lengths) for column in range(length)]
    positions = torch.tensor([row * num_positions + column for row, column in events], dtype=torch.long)
    places = groups.places(positions)
    assert len(places.unique()) == len(events)
    values = torch.zeros(groups.num_places, 2, dtype=torch.long)
    values[places] = torch.tensor(events, dtype=torch.long).reshape(-1, 2)
    numbers = torch.arange(len(lengths) * num_positions).view(len(lengths), num_positions)
    parts = [groups.split(values), groups.take(torch.tensor(lengths, dtype=torch.long)), groups.take(numbers)]
    seen = []
    for part, own_lengths, own_numbers in zip(*parts, strict=True):
        assert part.shape[:2] == own_numbers.shape
        assert part.shape[0] * part.shape[1] - own_lengths.clamp(min=1).sum() <= max_padding
        for session, length, row in zip(part, own_lengths, own_numbers, strict=True):
            found = session[:length].tolist()
            assert [r * num_positions + c for r, c in found] == row[:length].tolist()
            seen += found
    assert sorted(map(tuple, seen)) == events


def test_sessions_alike_are_one_group_and_far_ones_are_not():
    assert LengthGroups(torch.tensor([3, 4, 4]), 4, 2).num_groups == 1
    assert LengthGroups(torch.tensor([3, 50, 4]), 50, 2).num_groups == 2


def test_a_batch_without_sessions_is_one_empty_group():
    groups = LengthGroups(torch.empty(0, dtype=torch.long), 0)
    (part,) = groups.split(torch.empty(0, 2))
    (times,) = groups.take(torch.empty(0, 0))
    assert part.shape[:2] == times.shape == (0, 0)


MODELS = {
    "sasrec": lambda: SASRec(8, 9, num_blocks=2),
    "gru": lambda: GRU4Rec(8, 9),
    "bert": lambda: BERT4Rec(8, 9),
    "hstu": lambda: HSTU(8, 9),
    "m2trec": lambda: M2TRec(8, 9),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_read_a_session_alike_beside_longer_ones(name):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    lengths = torch.tensor([2, 9, 1, 5, 9, 3])
    vectors, times = torch.randn(6, 9, 8), torch.arange(54).view(6, 9) * 1000
    masked = torch.arange(9) == (lengths - 1).unsqueeze(1)
    events = (torch.arange(9) < lengths.unsqueeze(1)).flatten().nonzero().squeeze(1)
    whole = model(vectors, lengths, times, *([masked] if name == "bert" else []))
    groups = LengthGroups(lengths, 9, 1)
    assert groups.num_groups > 2
    padded = torch.zeros(groups.num_places, 8).index_copy(0, groups.places(events), vectors.flatten(0, 1)[events])
    inputs = [groups.split(padded), groups.take(lengths), groups.take(times)]
    inputs += [groups.take(masked)] if name == "bert" else []
    found = torch.cat([model(*part).flatten(0, 1) for part in zip(*inputs, strict=True)])
    assert_close(found[groups.places(events)], whole.flatten(0, 1)[events], rtol=1e-5, atol=1e-6)
