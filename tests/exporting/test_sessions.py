"""Programs of session models rank as the task does, sessions of any length side by side."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from recsys.data import SessionBatch
from recsys.exporting.formats import OnnxProgram
from recsys.exporting.sessions import ExportableSessions
from recsys.losses import Cosine
from recsys.models import HSTU, SESSION_MODELS, BERT4Rec, SASRec
from recsys.tables import HashTable
from recsys.tasks import MaskedItems
from tests.exporting.test_clicks import written
from tests.tasks.made_items import NUM_ITEMS, make_task


class Timed(torch.nn.Module):
    """A model of padded sessions that weighs events by their times."""

    causal = True

    def forward(self, vectors, lengths, times=None):
        ages = 1.0 if times is None else 1 + (times % 1000).unsqueeze(2) / 1000
        return (vectors * ages).cumsum(1)


TASKS = {
    **{model.__name__: {"model": model} for model in SESSION_MODELS if model is not BERT4Rec},
    "BERT4Rec": {"model": BERT4Rec, "objective": MaskedItems()},
    "times": {"model": partial(HSTU, use_times=True)},
    "one's own": {"model": lambda *sizes: Timed()},
    "cosine": {"model": SASRec, "scoring": Cosine(0.1)},
    "hashed": {"model": SASRec, "tables": {"default": partial(HashTable, num_rows=7)}},
    "described": {"model": SASRec, "item_features": ["colour", "size"]},
    "one place": {"model": SASRec, "max_length": 1},
}


def made(**arguments):
    torch.manual_seed(0)
    task = make_task(**arguments)
    task.configure_model()
    return task.eval()


def drawn(lengths, width=None):
    """Sessions of these lengths; behind them anything may stand."""
    lengths = torch.tensor(lengths)
    width = max(1, int(lengths.max())) if width is None else width
    generator = torch.Generator().manual_seed(int(lengths.sum()))
    items = torch.randint(1, NUM_ITEMS + 1, (len(lengths), width), generator=generator)
    times = torch.randint(0, 1_000_000_000, items.shape, generator=generator).sort(1).values
    return SessionBatch(items.masked_fill(torch.arange(width) >= lengths.unsqueeze(1), 0), lengths, times)


@pytest.mark.parametrize("arguments", TASKS.values(), ids=TASKS.keys())
def test_scores_are_those_of_the_task(tmp_path, arguments):
    task = made(**arguments)
    exportable = ExportableSessions(task)
    run = written(exportable, tmp_path)
    longest = exportable.described()["items"]["max_length"]
    for lengths in ([longest], [0, longest, 1], [min(2, longest)] * 5, [0]):
        batch = drawn(lengths)
        (scores,) = run(exportable.arguments(batch))
        assert_close(scores, exportable.expected(batch)[0], rtol=1e-4, atol=1e-5)


def test_what_stands_behind_a_session_is_not_read(tmp_path):
    exportable = ExportableSessions(made(model=SASRec))
    run = written(exportable, tmp_path)
    batch = drawn([1, 3, 0], width=4)
    noise = torch.where(batch.items == 0, 5, batch.items)
    arguments = {"items": batch.items, "lengths": batch.lengths}
    assert torch.equal(run(arguments)[0], run({**arguments, "items": noise})[0])


def test_the_last_events_of_a_long_session_are_taken(tmp_path):
    exportable = ExportableSessions(made(model=BERT4Rec, objective=MaskedItems()))
    run = written(exportable, tmp_path)
    batch = drawn([6, 2])
    assert_close(run(exportable.arguments(batch))[0], exportable.expected(batch)[0], rtol=1e-4, atol=1e-5)


def test_equal_items_tie_exactly(tmp_path):
    task = made(model=SASRec, tables={"default": partial(HashTable, num_rows=7)})
    exportable = ExportableSessions(task)
    (scores,) = written(exportable, tmp_path)(exportable.arguments(drawn([3, 2])))
    rows = task.collection.table("item").rows_of(torch.arange(1, NUM_ITEMS + 1)).flatten()
    for row in rows.unique():
        alike = scores[:, rows == row]
        assert torch.equal(alike, alike[:, :1].expand_as(alike))


def test_in_onnx(tmp_path):
    pytest.importorskip("onnxscript")
    exportable = ExportableSessions(made(model=SASRec))
    run = written(exportable, tmp_path, OnnxProgram())
    batch = drawn([3, 0, 6, 1])
    assert_close(run(exportable.arguments(batch))[0], exportable.expected(batch)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("items", "lengths", "said"),
    [([[NUM_ITEMS + 1]], [1], "item id is out of range"), ([[1]], [2], "lengths must be"), ([[1]], [-1], "lengths")],
)
def test_mistakes_of_a_caller_are_named(tmp_path, items, lengths, said):
    run = written(ExportableSessions(made(model=SASRec)), tmp_path)
    with pytest.raises(RuntimeError, match=said):
        run({"items": torch.tensor(items), "lengths": torch.tensor(lengths)})
