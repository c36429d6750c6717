from __future__ import annotations

from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.data import BatchLoader, Schema
from recsys.data.batch import concatenate
from recsys.data.order import RowOrder
from recsys.data.parquet import ParquetSplit
from tests.data.folders import column_types, numbers, row, write_folder, write_split


def loader_of(folder, rank=0, num_ranks=1, batch_size=8, seed=0, shuffle=True, shuffle_blocks=2, **options):
    split = ParquetSplit(Schema.read(folder), "train")
    order = RowOrder(split.group_rows, seed=seed, shuffle=shuffle, shuffle_blocks=shuffle_blocks)
    return BatchLoader(split, order, batch_size=batch_size, rank=rank, num_ranks=num_ranks, **options)


def epoch_of(loader, epoch=0):
    loader.set_epoch(epoch)
    return [numbers(batch) for batch in loader]


def flat(batches):
    return list(chain.from_iterable(batches))


def assert_holds(batch, expected):
    """The batch is the rows of these numbers, value by value."""
    rows = [row(number) for number in expected]
    assert_close(batch.ids.long(), torch.tensor([[r["C1"] for r in rows], [r["C2"] for r in rows]]))
    assert_close(batch.dense, torch.tensor([[r["I1"], r["I2"]] for r in rows]).float())
    assert_close(batch.labels, torch.tensor([r["label"] for r in rows]))
    tags = batch.bags["tags"]
    assert tags.values.tolist() == flat(r["tags"] for r in rows)
    assert tags.lengths.tolist() == [len(r["tags"]) for r in rows]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("shuffle_blocks", [1, 3])
def test_a_batch_holds_the_stored_values(tmp_path, shuffle, shuffle_blocks):
    folder = write_folder(tmp_path, num_rows=100, group_rows=(16, 5))
    seen = []
    for batch in loader_of(folder, shuffle=shuffle, shuffle_blocks=shuffle_blocks, batch_size=7):
        assert_holds(batch, numbers(batch))
        assert batch.ids.is_contiguous()
        assert batch.ids.dtype == batch.bags["tags"].values.dtype == torch.int32
        seen += numbers(batch)
    assert sorted(seen) == list(range(100))
    assert (seen == list(range(100))) is not shuffle


def test_wide_ids_are_exact(tmp_path):
    folder = write_folder(tmp_path, num_rows=3, num_embeddings=2**40)
    wanted = [2**40 - 1, 2**24 + 1, 2**31]
    write_split(folder / "train", [{**row(0), "C1": number} for number in wanted], [3], column_types(wide=True))
    (batch,) = loader_of(folder, shuffle=False)
    assert batch.ids.dtype == batch.bags["tags"].values.dtype == torch.int64
    assert batch.ids[0].tolist() == wanted


@given(
    num_rows=st.integers(1, 120),
    group_rows=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    num_ranks=st.integers(1, 5),
    batch_size=st.integers(1, 50),
    shuffle_blocks=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None)
def test_ranks_share_the_rows_exactly(num_rows, group_rows, num_ranks, batch_size, shuffle_blocks, epoch):
    with TemporaryDirectory() as folder:
        write_folder(Path(folder), num_rows, group_rows)
        args = {"num_ranks": num_ranks, "batch_size": batch_size, "shuffle_blocks": shuffle_blocks}
        loaders = [loader_of(folder, rank, **args) for rank in range(num_ranks)]
        ranks = [epoch_of(loader, epoch) for loader in loaders]
        assert sorted(flat(flat(ranks))) == list(range(num_rows))
        assert {len(batches) for batches in ranks} == {len(loader) for loader in loaders}
        assert ranks == [epoch_of(loader, epoch) for loader in loaders]
        full = [len(batch) for batches in ranks for batch in batches[:-1]]
        assert full == [batch_size] * len(full)
        whole = flat(epoch_of(loader_of(folder, shuffle_blocks=shuffle_blocks), epoch))
        assert flat(flat(ranks)) == whole


@given(
    num_rows=st.integers(1, 120),
    group_rows=st.integers(1, 40),
    num_ranks=st.integers(1, 3),
    batch_size=st.integers(1, 50),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_a_loaded_position_goes_on_with_the_next_batch(num_rows, group_rows, num_ranks, batch_size, data):
    with TemporaryDirectory() as folder:
        write_folder(Path(folder), num_rows, [group_rows])
        rank = data.draw(st.integers(0, num_ranks - 1))
        loader = loader_of(folder, rank, num_ranks, batch_size)
        whole = epoch_of(loader, epoch=2)
        num_seen = data.draw(st.integers(0, len(whole)))
        loader.set_epoch(1)
        loader.set_epoch(2)
        seen = [numbers(batch) for batch in islice(loader, num_seen)]
        assert seen == whole[:num_seen]
        resumed = loader_of(folder, rank, num_ranks, batch_size)
        resumed.load_state_dict(loader.state_dict())
        assert epoch_of(resumed, epoch=2) == whole[num_seen:]
        assert epoch_of(resumed, epoch=3) == epoch_of(loader, epoch=3)


@given(num_ranks=st.integers(1, 4), later_ranks=st.integers(1, 4), later_size=st.integers(1, 20), data=st.data())
@settings(max_examples=30, deadline=None)
def test_another_number_of_ranks_and_batch_size_takes_the_epoch_over(num_ranks, later_ranks, later_size, data):
    with TemporaryDirectory() as folder:
        write_folder(Path(folder), 90, [16])
        loaders = [loader_of(folder, rank, num_ranks) for rank in range(num_ranks)]
        num_seen = data.draw(st.integers(0, len(loaders[0])))
        seen = flat(flat([numbers(batch) for batch in islice(loader, num_seen)] for loader in loaders))
        states = [loader.state_dict() for loader in loaders]
        assert all(state == states[0] for state in states)
        later = [loader_of(folder, rank, later_ranks, later_size) for rank in range(later_ranks)]
        for loader in later:
            loader.load_state_dict(states[0])
        rest = [epoch_of(loader) for loader in later]
        assert len({len(batches) for batches in rest}) == 1
        assert sorted(seen + flat(flat(rest))) == list(range(90))


def test_iterating_again_begins_anew_and_the_first_pass_of_an_unstarted_iterator_waits_for_its_epoch(tmp_path):
    loader = loader_of(write_folder(tmp_path))
    waiting = iter(loader)
    loader.set_epoch(5)
    fifth = [numbers(batch) for batch in waiting]
    assert fifth == epoch_of(loader, epoch=5)
    next(iter(loader))
    assert [numbers(batch) for batch in loader] == fifth
    assert fifth != epoch_of(loader, epoch=4)


def test_a_pass_after_a_resumed_one_is_whole(tmp_path):
    folder = write_folder(tmp_path)
    half = loader_of(folder)
    seen = [numbers(batch) for batch in islice(half, 5)]
    loader = loader_of(folder)
    loader.load_state_dict(half.state_dict())
    assert seen + [numbers(batch) for batch in loader] == [numbers(batch) for batch in loader]
    next(iter(loader))
    assert loader.state_dict()["remaining"] == [[8, 100]]


class Count:
    """A trainer that has trained on so many batches."""

    def __init__(self, num_batches):
        self.num_batches = num_batches

    def get(self):
        return self.num_batches

    def set(self, num_batches):
        self.num_batches = num_batches


def test_batches_handed_out_ahead_of_training_are_not_counted_as_used(tmp_path):
    folder = write_folder(tmp_path)
    ahead = loader_of(folder, progress=Count(3))
    assert len(list(islice(ahead, 5))) == 5
    assert ahead.state_dict()["remaining"] == [[24, 100]]
    later = loader_of(folder, progress=Count(3))
    later.load_state_dict(ahead.state_dict())
    later.set_epoch(0)
    assert len(list(islice(later, 5))) == 5
    later.progress.set(7)
    assert later.state_dict()["remaining"] == [[56, 100]]


def test_drop_last_leaves_full_batches(tmp_path):
    folder = write_folder(tmp_path, num_rows=100)
    loaders = [loader_of(folder, rank, 3, batch_size=16, drop_last=True) for rank in range(3)]
    assert [len(loader) for loader in loaders] == [2, 2, 2]
    for loader in loaders:
        batches = epoch_of(loader)
        assert [len(batch) for batch in batches] == [16, 16]
        loader.load_state_dict(loader.state_dict())
        assert epoch_of(loader) == []


@given(
    num_rows=st.integers(1, 120),
    group_rows=st.integers(1, 12),
    num_threads=st.integers(2, 5),
    shuffle_blocks=st.integers(1, 4),
    shuffle=st.booleans(),
    num_seen=st.integers(0, 4),
)
@settings(max_examples=30, deadline=None)
def test_the_number_of_threads_changes_nothing(num_rows, group_rows, num_threads, shuffle_blocks, shuffle, num_seen):
    with TemporaryDirectory() as folder:
        write_folder(Path(folder), num_rows, [group_rows])
        args = {"shuffle": shuffle, "shuffle_blocks": shuffle_blocks, "batch_size": 20}
        one, several = loader_of(folder, **args), loader_of(folder, num_threads=num_threads, **args)
        whole = epoch_of(one, epoch=3)
        assert epoch_of(several, epoch=3) == whole
        several.set_epoch(2)
        several.set_epoch(3)
        assert len(list(islice(several, num_seen))) == min(num_seen, len(whole))
        one.load_state_dict(several.state_dict())
        assert epoch_of(one, epoch=3) == whole[num_seen:]


def test_threads_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="num_threads must be at least 1, got 0"):
        loader_of(write_folder(tmp_path), num_threads=0)


def test_a_rank_without_rows_yields_an_empty_batch(tmp_path):
    folder = write_folder(tmp_path, num_rows=2)
    (batch,) = loader_of(folder, rank=0, num_ranks=3)
    assert len(batch) == 0
    assert batch.ids.shape == (2, 0)
    assert batch.dense.shape == (0, 2)
    assert batch.ids.dtype == batch.bags["tags"].values.dtype == torch.int32
    assert len(batch.bags["tags"]) == 0


@pytest.mark.parametrize("change", [{"seed": 1}, {"shuffle": False}, {"shuffle_blocks": 3}])
def test_a_position_in_another_order_is_refused(tmp_path, change):
    folder = write_folder(tmp_path)
    state = loader_of(folder).state_dict()
    name, value = next(iter(change.items()))
    with pytest.raises(ValueError, match=f"{name}=.*now {name}={value}"):
        loader_of(folder, **change).load_state_dict(state)


def test_batch_size_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        loader_of(write_folder(tmp_path), batch_size=0)


def test_batches_concatenate_and_move(tmp_path):
    batches = list(loader_of(write_folder(tmp_path), shuffle=False))
    whole = concatenate(batches)
    assert_holds(whole, range(100))
    moved = whole.to("meta", non_blocking=True)
    assert {moved.ids.device.type, moved.dense.device.type, moved.labels.device.type} == {"meta"}
    assert moved.bags["tags"].values.device.type == "meta"
    assert len(moved) == len(whole) == 100


@pytest.mark.gpu
def test_pinned_batches_are_copied_without_a_wait(tmp_path):
    folder = write_folder(tmp_path)
    plain = list(loader_of(folder, batch_size=24))
    for batch, pinned in zip(plain, loader_of(folder, batch_size=24, pin_memory=True), strict=True):
        assert all(tensor.is_pinned() for tensor in pinned.tensors() if tensor.numel())
        with torch.cuda.stream(torch.cuda.Stream()):
            on_gpu = pinned.to("cuda")
            back = [tensor.cpu() for tensor in on_gpu.tensors()]
        assert_close(back, batch.tensors(), rtol=0, atol=0)
