"""Sessions one after the other: every event has a place, and models read a session as they read it alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from recsys.models import HSTU, BERT4Rec, GRU4Rec, M2TRec, SASRec
from recsys.models.packing import Packing, take_places
from recsys.models.session import read_packed

LENGTHS = st.lists(st.integers(0, 9), max_size=12)
MAX_PADDING = st.integers(1, 20)


def packing_of(lengths, max_padding=None):
    return Packing(torch.tensor(lengths, dtype=torch.int64), max_padding=max_padding)


def numbered(lengths):
    """[B, L, 2] row and column of every position."""
    longest = max([1, *lengths])
    rows, columns = torch.arange(len(lengths)), torch.arange(longest)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=2)


@given(LENGTHS, MAX_PADDING)
def test_every_event_has_a_place_of_its_own(lengths, max_padding):
    packing = packing_of(lengths, max_padding)
    packed = packing.pack(numbered(lengths))
    events = [[row, column] for row, length in enumerate(lengths) for column in range(length)]
    empty = [[row, 0] for row, length in enumerate(lengths) if not length]
    assert sorted(packed[: packing.num_events].tolist()) == events
    assert sorted(packed[packing.num_events :].tolist()) == empty
    assert torch.equal(packed, torch.stack([packing.rows, packing.positions], dim=1))
    assert packed[packing.first].tolist() == [[row, 0] for row in range(len(lengths))]
    assert packed[packing.last].tolist() == [[row, max(0, length - 1)] for row, length in enumerate(lengths)]
    assert packing.width == max(map(lambda length: max(1, length), lengths), default=0)


@given(LENGTHS, MAX_PADDING)
def test_groups_hold_whole_sessions_and_little_padding(lengths, max_padding):
    packing = packing_of(lengths, max_padding)
    packed = packing.pack(numbered(lengths)) + 1
    parts = packing.split(packed)
    assert torch.equal(packing.join(parts), packed)
    for part, group in zip(parts, packing.groups, strict=True):
        assert part.shape[:2] == (len(group), group.width)
        assert part.shape[0] * part.shape[1] - group.lengths.sum() <= max_padding
        assert group.is_padded == (int(group.lengths.sum()) < part.shape[0] * part.shape[1])
        for session, length in zip(part, group.lengths.tolist(), strict=True):
            assert session[:length, 1].tolist() == list(range(1, length + 1))
            assert not session[length:].any()


@given(LENGTHS)
def test_padded_sessions_come_back(lengths):
    packing, padded = packing_of(lengths), numbered(lengths) + 1
    is_place = torch.arange(padded.shape[1]) < torch.tensor(lengths, dtype=torch.int64).clamp(min=1).unsqueeze(1)
    assert torch.equal(packing.unpack(packing.pack(padded), padded.shape[1]), padded * is_place.unsqueeze(2))


@given(LENGTHS)
def test_time_major_is_by_position_and_then_by_length(lengths):
    packing = packing_of(lengths)
    places, sizes = packing.time_major()
    expected = sorted(range(packing.num_places), key=lambda place: (packing.positions[place], place))
    assert places.tolist() == expected
    assert sizes.tolist() == [sum(max(1, length) > t for length in lengths) for t in range(packing.width)]


def test_sessions_alike_are_one_group_and_far_ones_are_not():
    assert len(packing_of([3, 4, 4], 2).groups) == 1
    assert len(packing_of([3, 50, 4], 2).groups) == 2


def test_places_taken_have_the_gradient_of_their_rows():
    values, places = torch.randn(5, 3, dtype=torch.float64, requires_grad=True), torch.tensor([4, 0, 2])
    assert torch.autograd.gradcheck(lambda x: take_places(x, places), (values,))


class Padded(nn.Module):
    """A model of padded sessions alone."""

    causal = True

    def forward(self, vectors, lengths, times=None):
        assert vectors.shape[:2] == (len(lengths), int(lengths.max()))
        return vectors.cumsum(1) * times.unsqueeze(2)


MODELS = {
    "sasrec": lambda: SASRec(8, 9, num_blocks=2),
    "gru": lambda: GRU4Rec(8, 9, num_blocks=2),
    "bert": lambda: BERT4Rec(8, 9),
    "hstu": lambda: HSTU(8, 9, use_times=True),
    "m2trec": lambda: M2TRec(8, 9),
    "padded alone": Padded,
}


@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"gru", "padded alone"}))
def test_no_device_is_asked_for_a_value(name):
    """A GPU would have to be waited for; a device without values gives no answer at all."""
    packing = Packing(torch.tensor([3, 1, 0, 9, 9]), "meta", max_padding=2)
    values = torch.empty(packing.num_places, device="meta")
    hidden = read_packed(MODELS[name]().to("meta"), values.unsqueeze(1).expand(-1, 8), packing, values, values > 0)
    hidden.sum().backward()
    assert hidden.shape == (23, 8)


@pytest.mark.parametrize("name", MODELS)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), max_padding=MAX_PADDING)
@settings(max_examples=12, deadline=None)
def test_a_session_is_read_as_if_it_were_alone(name, lengths, max_padding):
    """Hidden states and gradients of vectors and parameters are those of one session after the other, unpacked."""
    torch.manual_seed(0)
    model, packing = MODELS[name]().eval(), packing_of(lengths, max_padding)
    shape = len(lengths), max(lengths)
    vectors, times = torch.randn(*shape, 8, requires_grad=True), torch.randint(10**6, shape).cumsum(1)
    masked = torch.rand(shape) < 0.3 if name == "bert" else None
    packed = [packing.pack(values) for values in (vectors, times, masked) if values is not None]
    found = read_packed(model, packed[0], packing, *packed[1:])
    weights = torch.randn(packing.num_places, 8)
    alone = [
        model(
            vectors[row : row + 1, :length],
            torch.tensor([length]),
            times[row : row + 1, :length],
            *([] if masked is None else [masked[row : row + 1, :length]]),
        )[0]
        for row, length in enumerate(lengths)
    ]
    expected = torch.stack([alone[row][place] for row, place in zip(*packing.on_host, strict=True)])
    assert_close(found, expected, rtol=1e-5, atol=1e-5)
    inputs = [vectors, *model.parameters()]
    gradients = [torch.autograd.grad((each * weights).sum(), inputs, allow_unused=True) for each in (found, expected)]
    assert_close(*gradients, rtol=1e-4, atol=1e-4)
