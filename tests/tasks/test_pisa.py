"""The PISA task: sessions are cut as a loop cuts them, habits are learnt, and a checkpoint keeps what was counted."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from torch.testing import assert_close
from torch.utils.data import DataLoader

from recsys.data import SessionBatch
from recsys.losses import Cosine, FullCrossEntropy, InBatchSampler, SampledSoftmax, UniformSampler
from recsys.models import PISA
from recsys.tables import Adagrad, DenseGradient, TorchLookup
from recsys.tasks import PISATask
from recsys.tasks.pairwise import pairwise_loss
from recsys.tasks.pisa_sessions import cut_sessions

NUM_ITEMS, DIM, HOUR = 40, 16, 3600


class Items:
    num_items = NUM_ITEMS
    item_columns = ()

    def item_values(self, name):
        raise KeyError(name)

    def item_counts(self):
        return np.ones(NUM_ITEMS + 1, np.int64)


def batch_of(users, targets=None):
    lengths = torch.tensor([len(user) for user in users])
    columns = torch.zeros(2, len(users), int(lengths.max()), dtype=torch.int64)
    for row, user in enumerate(users):
        columns[:, row, : len(user)] = torch.tensor(user).t()
    return SessionBatch(columns[0], lengths, columns[1], None, targets)


def test_sessions_are_cut_at_gaps():
    users = [[(1, 0), (2, 50), (3, 151), (1, 160), (2, 900)], [(4, 7)], [(5, 0), (5, 101)]]
    histories = cut_sessions(batch_of(users), gap=100, horizon=1000)
    assert histories.sessions[0].tolist() == [0, 0, 1, 1, 2]
    assert histories.sessions[2, :2].tolist() == [0, 1]
    assert histories.references.tolist() == [[151, 900, 1900], [1007, 1007, 1007], [101, 1101, 1101]]


def test_pairwise_loss_is_the_mean_over_pairs():
    queries, positives, negatives = torch.randn(3, 5, DIM)
    expected = [-torch.sigmoid(q @ p - q @ n).log() for q, p, n in zip(queries, positives, negatives, strict=True)]
    assert_close(pairwise_loss(queries, positives, negatives), torch.stack(expected).sum())


def habits(number, seed=0):
    """Each user goes round the four places of its quarter in an order of its own, two a day."""
    generator = np.random.default_rng(seed)
    users, targets = [], []
    for _ in range(number):
        places = 4 * generator.integers(NUM_ITEMS // 4) + generator.permutation(4) + 1
        days = int(generator.integers(3, 7))
        events = [(int(places[(2 * day + k) % 4]), 24 * HOUR * day + HOUR * k) for day in range(days) for k in range(2)]
        users.append(events)
        targets.append(int(places[2 * days % 4]))
    return users, torch.tensor(targets)


def make_task(**arguments):
    def model(*sizes):
        return PISA(*sizes, num_blocks=1)

    return PISATask(
        model,
        Items(),
        DIM,
        max_length=10,
        lookup=TorchLookup,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.02),
        **arguments,
    )


def make_trainer(folder, **arguments):
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    return Trainer(**{"default_root_dir": folder, "accelerator": "cpu", **quiet, **arguments})


@pytest.mark.parametrize(
    ("rows", "more"),
    [
        (DenseGradient(), {}),
        (Adagrad(0.1), {}),
        (DenseGradient(), {"loss": FullCrossEntropy(), "scoring": Cosine(0.1)}),
        (Adagrad(0.1), {"loss": SampledSoftmax(UniformSampler(8))}),
        (Adagrad(0.1), {"loss": FullCrossEntropy(), "memory_weight": 40.0}),
        (Adagrad(0.1), {"loss": FullCrossEntropy(), "memory_weight": 40.0, "memory_succession": 0.5}),
    ],
    ids=["dense", "in backward", "loss of the scores", "sampled loss of the scores", "memory", "succession"],
)
def test_it_learns_habits_and_resumes_what_it_counted(tmp_path, rows, more):
    seed_everything(0, verbose=False)
    train = DataLoader([batch_of(habits(32, seed)[0]) for seed in range(6)], batch_size=None)
    evaluation = DataLoader([batch_of(*habits(64, 99))], batch_size=None)
    task = make_task(table_optimizer=rows, **more)
    trainer = make_trainer(tmp_path, max_epochs=12, enable_checkpointing=True)
    trainer.fit(task, train)
    assert all(store.num_steps == trainer.global_step for store in task.collection.lookup.stores if rows.learning_rate)
    (metrics,) = trainer.test(task, evaluation, verbose=False)
    assert metrics["test/hr@5"] > 0.8, metrics
    assert len(task.pairs) > 0
    fresh = make_task(table_optimizer=rows, **more)
    checkpoint = trainer.checkpoint_callback.best_model_path
    (again,) = make_trainer(tmp_path).test(fresh, evaluation, ckpt_path=checkpoint, verbose=False)
    assert_close(again, metrics, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(fresh.pairs, task.pairs)


def test_data_without_times_are_refused():
    batch = batch_of(habits(2)[0])
    batch.times = None
    with pytest.raises(ValueError, match="PISATask cuts sessions by time; the data have no times"):
        cut_sessions(batch, 10, 10)


@pytest.mark.parametrize("memory", [{}, {"memory_weight": 30.0}, {"memory_weight": 30.0, "memory_succession": 0.5}])
def test_a_loss_is_that_of_the_scores_that_rank(memory):
    """The mean, over users and sessions, of the cross-entropy of what comes after the sessions before."""
    seed_everything(0, verbose=False)
    task = make_task(loss=FullCrossEntropy(), scoring=Cosine(0.1), long_term_weight=2.0, **memory)
    task.configure_model()
    task.log_loss = lambda *_: None
    users, _ = habits(6)
    expected = []
    for user in users:
        for first in range(2, len(user), 2):
            before, after = user[:first], user[first : first + 2]
            task._horizon = after[0][1] - before[-1][1]
            scores = task.scores(batch_of([before]))
            expected += [torch.nn.functional.cross_entropy(scores, torch.tensor([item - 1])) for item, _ in after]
    assert_close(task.training_step(batch_of(users), 0), torch.stack(expected).mean())


def test_a_process_without_users_has_a_loss_of_zero():
    task = make_task(loss=FullCrossEntropy(), memory_weight=30.0, memory_succession=0.5)
    task.configure_model()
    task.log_loss = lambda *_: None
    nobody = torch.zeros(0, 0, dtype=torch.int64)
    loss = task.training_step(SessionBatch(nobody, nobody.sum(1), nobody), 0)
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize("succession", [0.0, 0.5])
def test_memory_raises_scores_by_the_log_of_one_plus_its_weight_times_what_it_holds(succession):
    seed_everything(0, verbose=False)
    options = {"loss": FullCrossEntropy(), "horizon": HOUR}
    with_memory = make_task(memory_weight=30.0, memory_succession=succession, **options)
    with_memory.configure_model()
    without = make_task(**options)
    without.configure_model()
    without.load_state_dict(with_memory.state_dict())
    users = [[(3, 0), (5, HOUR), (3, 2 * HOUR)], [(7, 0)]]
    held = [{3: 0.0, 5: succession}, {7: 0.0}]  # item 5 alone has followed item 3
    added = torch.zeros(2, NUM_ITEMS)
    for row, user in enumerate(users):
        strength = {item: 0.0 for item, _ in user}
        for item, time in user:
            strength[item] += (user[-1][1] + HOUR - time) ** -0.5
        for item, value in strength.items():
            added[row, item - 1] = np.log1p(30 * (value / sum(strength.values()) + held[row][item]))
    batch = batch_of(users)
    assert_close(with_memory.scores(batch), without.scores(batch) + added)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory_weight": -1.0}, "memory_weight must be at least 0, got -1.0"),
        ({"memory_succession": -1.0}, "memory_succession must be at least 0, got -1.0"),
        ({"memory_weight": 1.0}, "memory_weight=1.0 needs loss: FullCrossEntropy .* got NoneType"),
        ({"memory_weight": 1.0, "loss": FullCrossEntropy(8)}, "with chunk_items of 40, all items, or more"),
    ],
)
def test_memory_weights_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_task(**arguments)


def test_scoring_without_a_loss_is_refused():
    with pytest.raises(ValueError, match="PISATask: scoring needs a loss"):
        make_task(scoring=Cosine(0.1))


def test_a_sampler_is_of_the_pairwise_losses():
    with pytest.raises(ValueError, match="sampler is of the paper's pairwise losses, and not of FullCrossEntropy"):
        make_task(loss=FullCrossEntropy(), sampler=UniformSampler(1, per_target=True))


@pytest.mark.parametrize("sampler", [InBatchSampler(), UniformSampler(1), UniformSampler(5, per_target=True)])
def test_every_target_has_a_negative_of_its_own(sampler):
    task = make_task(sampler=sampler)
    task.configure_model()
    users, batch_targets = habits(4)
    batch = batch_of(users, batch_targets)
    task.count_pairs([batch])
    with pytest.raises(ValueError, match=f"one negative for every target, .*; {type(sampler).__name__} gives"):
        task.training_step(batch, 0)


@pytest.mark.parametrize("name", ["session_share", "cosine_share"])
def test_shares_are_checked(name):
    with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\], got 1.5"):
        make_task(**{name: 1.5})
