"""Baselines against slow loops, and against published numbers where the data are at hand."""

from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger

from recsys.baselines import BaseLevel, ItemKNN, MostPopular, PersonalPopular, baseline_metrics
from recsys.data import SessionDataModule
from recsys.data.sequences import Sequences
from recsys.prepare.programs import sessions
from recsys.tasks import BaselineMetrics

NUM_ITEMS = 6
SESSIONS = st.lists(st.lists(st.integers(1, NUM_ITEMS), min_size=1, max_size=7), min_size=1, max_size=8)


def make_sequences(rows, times=None):
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    items = np.array([item for row in rows for item in row], np.int32)
    return Sequences(offsets, items, times, np.arange(len(rows)), None)


def slow_knn(train, history, num_events, decay):
    """One pair of items at a time."""
    users = {item: {u for u, row in enumerate(train) if item in row} for item in range(1, NUM_ITEMS + 1)}

    def cosine(a, b):
        return len(users[a] & users[b]) / (len(users[a]) * len(users[b])) ** 0.5 if users[a] and users[b] else 0.0

    latest = list(enumerate(reversed(history[-num_events:])))
    return [sum(decay**k * cosine(e, i) for k, e in latest if e != i) for i in range(1, NUM_ITEMS + 1)]


@given(SESSIONS, SESSIONS, st.integers(1, 5), st.floats(0.1, 1))
@settings(deadline=None)
def test_item_knn_equals_the_slow_way(train, histories, num_events, decay):
    knn = ItemKNN(num_events, decay)
    knn.fit(make_sequences(train), NUM_ITEMS)
    rows = np.arange(len(histories))[::2]
    expected = [slow_knn(train, histories[row], num_events, decay) for row in rows]
    assert knn.scores(make_sequences(histories), rows) == pytest.approx(np.array(expected), abs=1e-5)


@given(SESSIONS, SESSIONS, st.integers(1, 35))
@settings(deadline=None)
@pytest.mark.filterwarnings("ignore:ItemKNN counts")
def test_item_knn_counts_as_many_of_the_latest_events_as_it_may(train, histories, max_pairs):
    def pairs(counted):
        return sum(min(len(row), counted) ** 2 for row in train)

    counted = max([n for n in range(1, 8) if pairs(n) <= max_pairs], default=1)
    knn = ItemKNN(max_pairs=max_pairs)
    knn.fit(make_sequences(train), NUM_ITEMS)
    latest = [row[-counted:] for row in train]
    expected = [slow_knn(latest, history, 10, 0.8) for history in histories]
    found = knn.scores(make_sequences(histories), np.arange(len(histories)))
    assert found == pytest.approx(np.array(expected), abs=1e-5)


def test_item_knn_says_what_it_leaves_out():
    with pytest.warns(match="ItemKNN counts the latest 2 events of each sequence"):
        ItemKNN(max_pairs=5).fit(make_sequences([[1, 2, 3]]), NUM_ITEMS)


@given(SESSIONS, SESSIONS)
@settings(deadline=None)
def test_popularities_equal_counts(train, histories):
    counts = np.bincount([item for row in train for item in row], minlength=NUM_ITEMS + 1)[1:]
    own = np.array([np.bincount(row, minlength=NUM_ITEMS + 1)[1:] for row in histories])
    rows, sequences = np.arange(len(histories)), make_sequences(histories)
    popular, personal = MostPopular(), PersonalPopular()
    for baseline in (popular, personal):
        baseline.fit(make_sequences(train), NUM_ITEMS)
    assert (popular.scores(sequences, rows) == counts).all()
    found = personal.scores(sequences, rows)
    assert (np.floor(found) == own).all()
    assert found - own == pytest.approx(np.tile(counts / (counts.max() + 1), (len(rows), 1)), abs=1e-5)


def slow_base_level(history, since, decay, succession, popularity):
    """One item at a time: above 1 its shares of the presence and of what followed the last item, else popularity."""
    events = [(item, seconds**-decay) for item, seconds in zip(history, since, strict=True)]
    followers = [event for before, event in zip(history, events[1:], strict=False) if before == history[-1]]

    def share(item, among):
        return sum(s for other, s in among if other == item) / sum(s for _, s in among) if among else 0

    return [
        1 + share(item, events) + succession * share(item, followers) if item in history else popularity[item - 1]
        for item in range(1, NUM_ITEMS + 1)
    ]


@given(
    SESSIONS,
    SESSIONS,
    st.floats(0.1, 1),
    st.integers(1, 10),
    st.sampled_from([0, 0.5]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_the_base_level_equals_the_slow_way(train, histories, decay, horizon, succession, timed, random):
    counts = np.bincount([item for row in train for item in row], minlength=NUM_ITEMS + 1)[1:]
    times = [sorted(random.randint(0, 50) for _ in row) for row in histories]
    baseline = BaseLevel(decay, horizon, succession)
    baseline.fit(make_sequences(train), NUM_ITEMS)
    rows = np.arange(len(histories))[::2]
    expected = []
    for row in rows:
        since = [times[row][-1] + horizon - at for at in times[row]] if timed else range(len(histories[row]), 0, -1)
        expected.append(slow_base_level(histories[row], since, decay, succession, counts / (counts.max() + 1)))
    sequences = make_sequences(histories, np.concatenate(times) if timed else None)
    assert baseline.scores(sequences, rows) == pytest.approx(np.array(expected), abs=1e-5)


def test_an_empty_history_gets_the_most_popular():
    baseline = BaseLevel()
    baseline.fit(make_sequences([[1, 1, 2]]), NUM_ITEMS)
    for times in (None, np.array([5])):
        scores = baseline.scores(make_sequences([[], [3]], times), np.arange(2))
        assert scores[0].argmax() == 0
        assert scores[1].argmax() == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0.0, 1), "decay .* got 0.0"), ((0.5, 0), "horizon .* got 0"), ((0.5, 1, -1.0), "succession .* got -1.0")],
)
def test_the_base_level_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        BaseLevel(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 0.5), "num_events .* got 0"), ((1, 0.0), "decay .* got 0.0"), ((1, 0.5, 0), "max_pairs .* got 0")],
)
def test_item_knn_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        ItemKNN(*arguments)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    generator = np.random.default_rng(0)
    rows = [(u, i) for u in range(40) for i in generator.choice(30, generator.integers(3, 9), replace=False).tolist()]
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_parquet(folder / "log.parquet")
    command = ["--raw", str(folder / "log.parquet"), "--user", "user", "--item", "item"]
    sessions.main([*command, "--out", str(folder / "out")])
    return folder / "out"


def test_without_targets_nothing_is_measured(prepared):
    with pytest.raises(ValueError, match="split 'train' has no targets; choose 'val' or 'test'"):
        baseline_metrics(SessionDataModule(prepared), "train")


class Nothing(LightningModule):
    """A task that measures nothing itself."""

    def test_step(self, batch, batch_idx):
        pass


def test_the_callback_logs_what_baselines_reach(prepared, tmp_path, capsys):
    data, logger = SessionDataModule(prepared), CSVLogger(tmp_path)
    trainer = Trainer(accelerator="cpu", logger=logger, callbacks=[BaselineMetrics()], enable_progress_bar=False)
    trainer.test(Nothing(), data, verbose=False)
    logger.save()
    (logged,) = pl.read_csv(Path(logger.log_dir) / "metrics.csv").to_dicts()
    for name, metrics in baseline_metrics(data, "test").items():
        assert logged[f"test/{name}/ndcg@10"] == pytest.approx(metrics["ndcg@10"])
    assert "Baselines on test" in capsys.readouterr().out


MEASURED = {  # HR@10 and NDCG@10 of the project's reference runs: leave-one-out test, full ranking, ties against
    "s3rec-beauty": {"item_knn": (0.0640, 0.0384)},
    "ml-1m": {"item_knn": (0.1669, 0.0921), "most_popular": (0.0369, 0.0180)},
}


@pytest.mark.parametrize("name", MEASURED)
def test_reference_numbers(name, tmp_path, shared_data):
    sessions.main(["--set", name, "--raw", str(shared_data / name), "--out", str(tmp_path / "out")])
    begin = perf_counter()
    found = baseline_metrics(SessionDataModule(tmp_path / "out"), "test", (MostPopular(), ItemKNN()))
    seconds = perf_counter() - begin
    for baseline, (hit_rate, ndcg) in MEASURED[name].items():
        assert round(found[baseline]["hr@10"], 4) == hit_rate
        assert round(found[baseline]["ndcg@10"], 4) == ndcg
    assert seconds < 120  # measured 11 s for both on one core; loose, because tests share machines
