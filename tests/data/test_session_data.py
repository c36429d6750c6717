"""The session data module: windows against slow loops, order, ranks, resuming, and folders that are not right."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from recsys.data import SessionDataModule
from recsys.data.sequences import Sequences
from recsys.data.session_order import SessionOrder, last_events, sliding_windows

NUM_ITEMS = 12


def make_sequences(lengths, with_times=True):
    """Items count up through all events, so that every event is told from its neighbours."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = (np.arange(offsets[-1]) % NUM_ITEMS + 1).astype(np.int32)
    users = np.arange(len(lengths), dtype=np.int64)
    return Sequences(offsets, items, 10 * np.arange(offsets[-1]) if with_times else None, users, None)


def write_folder(folder: Path, rows: dict, num_items=NUM_ITEMS, time_of=lambda k: 100 * k) -> Path:
    """A prepared folder from (user, items, target) of each split, and the time of each session's k-th event."""
    splits = {}
    for split, of in rows.items():
        (folder / split).mkdir(parents=True)
        columns = {
            "user": pa.array([row[0] for row in of], pa.int64()),
            "items": pa.array([row[1] for row in of], pa.list_(pa.int32())),
            "times": pa.array([[time_of(k) for k in range(len(row[1]))] for row in of], pa.list_(pa.int64())),
        }
        if split != "train":
            columns["target"] = pa.array([row[2] for row in of], pa.int32())
        half = len(of) // 2
        pq.write_table(pa.table(columns).slice(0, half), folder / split / "part-00000.parquet")
        pq.write_table(pa.table(columns).slice(half), folder / split / "part-00001.parquet")
        num_events = sum(len(row[1]) for row in of)
        splits[split] = {"num_rows": len(of), "num_events": num_events, "num_targets": len(of) * (split != "train")}
    counts = np.bincount([item for row in rows["train"] for item in row[1]], minlength=num_items + 1)
    (folder / "counts").mkdir()
    pq.write_table(pa.table({"id": np.arange(num_items + 1), "count": counts}), folder / "counts" / "item.parquet")
    pq.write_table(
        pa.table({"item": np.arange(num_items + 1), "colour": np.arange(num_items + 1) % 3}), folder / "items.parquet"
    )
    schema = {"format_version": 1, "dataset": "made", "num_items": num_items, "num_users": 30, "has_times": True}
    schema |= {"item_columns": [{"name": "colour", "kind": "categorical", "num_embeddings": 3}], "vectors": {}}
    (folder / "schema.json").write_text(json.dumps({**schema, "splits": splits, "checksum": "c0ffee"}))
    return folder


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)

    def rows(number):
        lengths = generator.integers(1, 9, number)
        return [(u, generator.integers(1, NUM_ITEMS + 1, n).tolist(), 1 + u % NUM_ITEMS) for u, n in enumerate(lengths)]

    return write_folder(tmp_path / "made", {"train": rows(30), "val": rows(11), "test": rows(7)})


def sessions_of(batches):
    """User and items of every session."""
    found = []
    for batch in batches:
        for user, items, length in zip(batch.users.tolist(), batch.items.tolist(), batch.lengths.tolist(), strict=True):
            assert not any(items[length:])
            assert all(items[:length])
            found.append((user, tuple(items[:length])))
    return found


LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=10)


@given(LENGTHS, st.integers(2, 6), st.integers(1, 9), st.one_of(st.none(), st.integers(1, 3)))
@settings(deadline=None)
def test_windows_equal_the_slow_loop(lengths, width, stride, max_windows):
    sequences = make_sequences(lengths)
    expected, targets = [], set()
    for row, length in enumerate(lengths):
        stop, number = length, 0
        while stop >= 2 and (max_windows is None or number < max_windows):
            start, number = max(0, stop - width), number + 1
            expected.append((row, start, stop))
            targets |= {(row, place) for place in range(start + 1, stop)}
            stop = stop - stride if stop > width else 0
    windows = sliding_windows(sequences, width, stride, max_windows)
    starts = sequences.offsets[windows.rows]
    assert list(zip(windows.rows, windows.start - starts, windows.stop - starts, strict=True)) == expected
    assert windows.num_targets() == len(targets)


@given(LENGTHS, st.integers(1, 6), st.booleans())
@settings(deadline=None)
def test_batches_hold_the_last_events(lengths, max_length, with_times):
    sequences = make_sequences(lengths, with_times)
    windows = last_events(sequences, max_length)
    rows = np.arange(len(lengths))[::-1]
    batch = sequences.stretch(rows, windows.start[rows], windows.stop[rows])
    bag = sequences.bag(rows)
    assert batch.items.shape == (len(lengths), min(max_length, max(lengths)))
    for place, row in enumerate(rows):
        whole = sequences.items[sequences.offsets[row] : sequences.offsets[row + 1]].tolist()
        taken = whole[-max_length:]
        assert batch.items[place].tolist() == taken + [0] * (batch.items.shape[1] - len(taken))
        assert bag.values.split(bag.lengths.tolist())[place].tolist() == whole
        if with_times:
            assert batch.times[place, : len(taken)].diff().tolist() == [10] * (len(taken) - 1)
            assert not batch.times[place, len(taken) :].any()
    assert (batch.times is None) is not with_times


def test_a_batch_without_sessions():
    nobody = np.empty(0, np.int64)
    sequences = make_sequences([3, 2])
    batch = sequences.stretch(nobody, nobody, nobody)
    assert (len(batch), batch.items.shape, len(sequences.bag(nobody))) == (0, (0, 0), 0)


@given(LENGTHS, st.integers(2, 6))
@settings(deadline=None)
def test_every_event_but_the_first_is_a_target_once(lengths, width):
    sequences = make_sequences(lengths)
    windows = sliding_windows(sequences, width, width - 1)
    targets = [place for a, b in zip(windows.start, windows.stop, strict=True) for place in range(a + 1, b)]
    assert sorted(targets) == sorted(set(range(sum(lengths))) - set(sequences.offsets.tolist()))


@given(LENGTHS, st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
@settings(deadline=None)
def test_an_epoch_has_every_window_once_in_batches_of_like_length(lengths, batch_size, bucket_batches, seed):
    windows = sliding_windows(make_sequences(lengths), 4, 2)
    order = SessionOrder(windows, seed, bucket_batches).epoch(3, batch_size)
    assert sorted(order) == list(range(len(windows)))
    assert order.tolist() == SessionOrder(windows, seed, bucket_batches).epoch(3, batch_size).tolist()
    if bucket_batches > 1:
        for first in range(0, len(order), batch_size):
            assert (np.diff(windows.lengths[order[first : first + batch_size]]) >= 0).all()


def test_epochs_differ_and_buckets_save_padding():
    windows = sliding_windows(make_sequences(np.random.default_rng(0).integers(2, 60, 2_000)), 60, 59)

    def padding(buckets):
        lengths = windows.lengths[SessionOrder(windows, 0, buckets).epoch(0, 50)].reshape(-1, 50)
        return (lengths.max(1, keepdims=True) - lengths).mean()

    order = SessionOrder(windows, 0, 8)
    assert (order.epoch(0, 50) != order.epoch(1, 50)).mean() > 0.9
    assert padding(8) < padding(1) / 4


def test_splits_of_a_folder(folder):
    data = SessionDataModule(folder, batch_size=4, max_length=3)
    train = {row["user"]: row["items"] for row in pq.read_table(folder / "train").to_pylist()}
    following = [(user, item) for user, items in train.items() for item in items[1:]]
    found = [(user, item) for user, items in sessions_of(data.train_dataloader()) for item in items[1:]]
    assert sorted(found) == sorted(following), "every event but the first is a target once"
    latest = SessionDataModule(folder, batch_size=4, max_length=3, max_windows=1)
    expected = sorted((user, tuple(items[-4:])) for user, items in train.items() if len(items) > 1)
    assert sorted(sessions_of(latest.train_dataloader())) == expected
    stored = pq.read_table(folder / "test").to_pylist()
    batches = list(data.predict_dataloader())
    assert sessions_of(batches) == [(row["user"], tuple(row["items"][-3:])) for row in stored]
    assert torch.cat([batch.targets for batch in batches]).tolist() == [row["target"] for row in stored]
    seen = [items.tolist() for b in batches for items in b.seen.values.split(b.seen.lengths.tolist())]
    assert seen == [row["items"] for row in stored]
    assert sorted(sessions_of(data.test_dataloader())) == sorted(sessions_of(batches))
    kept = next(iter(SessionDataModule(folder, filter_seen=False).val_dataloader()))
    assert next(iter(SessionDataModule(folder).val_dataloader())).seen is not None
    assert kept.seen is None
    assert kept.history.lengths.tolist() == kept.lengths.tolist()
    assert data.schema.item_values("colour").tolist() == [i % 3 for i in range(NUM_ITEMS + 1)]
    assert data.schema.item_counts().sum() == sum(len(items) for items in train.values())


class Recorder(LightningModule):
    """Notes the sessions of every training batch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(sessions_of([batch]))
        return self.weight * batch.items.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(model, folder, root, ckpt_path=None):
    data = SessionDataModule(folder, batch_size=4, max_length=3, bucket_batches=2)
    saved = ModelCheckpoint(root / "saved", "{step}", every_n_train_steps=9, save_top_k=-1)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_epochs=2, limit_val_batches=0, callbacks=[saved], **quiet)
    trainer.fit(model, data, ckpt_path=ckpt_path)


def test_a_killed_run_goes_on_with_the_next_batch(folder, tmp_path):
    whole, rest = Recorder(), Recorder()
    fit(whole, folder, tmp_path)
    assert 9 % (len(whole.seen) // 2)
    fit(rest, folder, tmp_path, tmp_path / "saved" / "step=9.ckpt")
    assert rest.seen == whole.seen[9:]


def test_several_values_of_an_item(folder):
    tags = [[] if item % 2 else [item % 3, 2] for item in range(NUM_ITEMS + 1)]
    pq.write_table(pa.table({"tags": pa.array([None, *tags[1:]], pa.list_(pa.int32()))}), folder / "items.parquet")
    edit_schema(folder, item_columns=[{"name": "tags", "kind": "multi_valued", "num_embeddings": 3}])
    schema = SessionDataModule(folder).schema
    assert [column.name for column in schema.item_columns] == ["tags"]
    values, lengths = schema.item_bags("tags")
    assert values.tolist() == [value for each in tags[1:] for value in each]
    assert lengths.tolist() == [0, *(len(each) for each in tags[1:])]
    edit_schema(folder, item_columns=[{"name": "tags", "kind": "multi_valued", "num_embeddings": 2}])
    with pytest.raises(ValueError, match=r"column 'tags' must be in \[0, num_embeddings=2\), got 0\.\.2"):
        SessionDataModule(folder).schema.item_bags("tags")


def test_numbers_of_an_item(folder):
    prices = [0.0, *(1.5 * item for item in range(1, NUM_ITEMS + 1))]
    edit_schema(folder, item_columns=[{"name": "price", "kind": "dense"}])
    for kind in (pa.float32(), pa.float64(), pa.int32()):
        stored = [round(price) if kind == pa.int32() else price for price in prices]
        pq.write_table(pa.table({"price": pa.array(stored, kind)}), folder / "items.parquet")
        schema = SessionDataModule(folder).schema
        assert [(column.name, column.kind) for column in schema.item_columns] == [("price", "dense")]
        assert schema.item_numbers("price").tolist() == stored
    with pytest.raises(ValueError, match=r"no categorical column 'price' \(they have: none\)"):
        schema.item_values("price")
    for wrong in (None, float("nan"), float("inf")):
        pq.write_table(pa.table({"price": pa.array([*prices[:-1], wrong], pa.float64())}), folder / "items.parquet")
        with pytest.raises(ValueError, match=r"items.parquet: column 'price' must hold finite numbers"):
            SessionDataModule(folder).schema.item_numbers("price")


def edit_schema(folder, **changes):
    path = folder / "schema.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_wrong_with_a_folder_is_said(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"does not exist; make it with\n  recsys prepare sessions"):
        SessionDataModule(tmp_path / "none")
    with pytest.raises(ValueError, match="max_length must be at least 1, got 0"):
        SessionDataModule(folder, max_length=0)
    with pytest.raises(ValueError, match=r"no categorical column 'size' \(they have: colour\)"):
        SessionDataModule(folder).schema.item_values("size")
    with pytest.raises(ValueError, match=r"no multi_valued column 'colour' \(they have: none\)"):
        SessionDataModule(folder).schema.item_bags("colour")
    with pytest.raises(ValueError, match="has no vectors 'text'"):
        SessionDataModule(folder).schema.item_vectors("text")
    edit_schema(folder, num_items=5)
    with pytest.raises(ValueError, match=r"column 'items' must hold ids 1\.\.num_items=5, got 1\.\.12"):
        SessionDataModule(folder).setup("fit")
    with pytest.raises(ValueError, match=r"must have a row for each of ids 0\.\.5, got 13 rows"):
        SessionDataModule(folder).schema.item_counts()
    edit_schema(folder, num_items="many")
    with pytest.raises(ValueError, match="num_items must be of type int, got 'many'"):
        SessionDataModule(folder)
    edit_schema(folder, num_items=12, format_version=7)
    with pytest.raises(ValueError, match="format_version must be 1, got 7"):
        SessionDataModule(folder)


def test_files_that_do_not_fit_the_schema(folder):
    (folder / "val" / "part-00001.parquet").unlink()
    with pytest.raises(ValueError, match=r"schema.json says 11 rows of .* events, the files have 5 of"):
        SessionDataModule(folder).setup("validate")
    pq.write_table(pa.table({"user": [1]}), folder / "test" / "part-00000.parquet")
    with pytest.raises(ValueError, match="cannot be read as a file with columns user, items, times, target"):
        SessionDataModule(folder).setup("test")
