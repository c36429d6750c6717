"""Programs of click models: every table and model gives what the task gives, at any batch size, in torch alone."""

import json
import subprocess
import sys

import pytest
import torch
from contract import EXAMPLES, make
from torch.testing import assert_close

from recsys.data import CTRDataModule, Schema
from recsys.data.batch import Batch
from recsys.exporting.clicks import ExportableClicks
from recsys.exporting.formats import OnnxProgram, TorchProgram
from recsys.models import CLICK_MODELS
from recsys.tables import Bag, FullTable, Lookup, UnifiedTable
from recsys.tasks import CTRTask
from tests.tasks.test_ctr import make_task, small_model

KINDS = list({table_type: example for example, (table_type, _) in reversed(EXAMPLES.items())}.values())
SIZES = {"C1": 8, "C2": 300, "C3": 900}


def of_the_data(prepared, **arguments):
    task = make_task(CTRDataModule(prepared), **arguments)
    task.configure_model()
    return task.eval()


def drawn(task, num_samples, num_tags=3, seed=0):
    """A batch of the columns of a task's schema."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [column.num_embeddings for column in task.schema.categorical]
    ids = torch.stack([torch.randint(0, size, (num_samples,), generator=generator) for size in sizes])
    bags = {}
    for column in task.schema.multi_valued:
        lengths = torch.randint(0, num_tags + 1, (num_samples,), generator=generator)
        values = torch.randint(0, column.num_embeddings, (int(lengths.sum()),), generator=generator)
        bags[column.name] = Bag(values, lengths)
    return Batch(ids, bags, torch.randn(num_samples, len(task.schema.dense), generator=generator), None)


def written(exportable, folder, format=None):
    format = format or TorchProgram()
    format.write(exportable.program, exportable.interface, folder / format.file)
    return format.read(folder / format.file, exportable.interface)


def assert_equal_outputs(task, exportable, run, batch):
    logits, probabilities = run(exportable.arguments(batch))
    with torch.no_grad():
        wanted = task(batch)
    assert_close(logits, wanted, rtol=1e-5, atol=1e-5)
    assert_close(probabilities, torch.sigmoid(wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", CLICK_MODELS)
def test_every_model(prepared, tmp_path, model):
    task = of_the_data(prepared, model=model)
    exportable = ExportableClicks(task)
    run = written(exportable, tmp_path)
    for batch in (drawn(task, 1), drawn(task, 2, num_tags=0), drawn(task, 33)):
        assert_equal_outputs(task, exportable, run, batch)


@pytest.mark.parametrize("part", range(4))
def test_every_table(tmp_path, part):
    """A feature of each kind, all in one program."""
    examples = KINDS[part::4]
    columns = [{"name": name, "kind": "categorical", "num_embeddings": 3_000} for name in examples]
    (tmp_path / "schema.json").write_text(_schema(columns))
    task = CTRTask(
        small_model,
        Schema.read(tmp_path),
        embedding_dim=24,
        tables={name: lambda own, v, d: make(own, own, v, d) for name in examples},
        assign={name: [name] for name in examples},
    )
    task.configure_model()
    _settle(task.collection.lookup)
    exportable = ExportableClicks(task)
    run = written(exportable, tmp_path)
    for batch in (drawn(task, 1), drawn(task, 40)):
        assert_equal_outputs(task.eval(), exportable, run, batch)
    with pytest.raises(RuntimeError, match="out of range"):
        run({"ids": torch.full((len(examples), 2), 3_000)})


def _schema(columns):
    splits = {"train": {"num_rows": 0, "label_rate": None}}
    return json.dumps({"format_version": 1, "dataset": "made", "label": "label", "features": columns, "splits": splits})


def _settle(lookup: Lookup):
    """Rows that are no longer what they start as."""
    generator = torch.Generator().manual_seed(1)
    for name, physical in lookup.tables.items():
        if physical.dtype is None or physical.dtype.is_floating_point:
            rows = lookup.weight(name)
            lookup.load_weight(name, rows + 0.1 * torch.randn(rows.shape, generator=generator))


def test_in_onnx(prepared, tmp_path):
    pytest.importorskip("onnxscript")
    task = of_the_data(prepared)
    exportable = ExportableClicks(task)
    run = written(exportable, tmp_path, OnnxProgram())
    for batch in (drawn(task, 1), drawn(task, 7), drawn(task, 5, num_tags=0)):
        assert_equal_outputs(task, exportable, run, batch)


@pytest.mark.parametrize("example", ["compact", "sparse", "robe-signed"])
def test_tables_that_read_bits_in_onnx(tmp_path, example):
    pytest.importorskip("onnxscript")
    (tmp_path / "schema.json").write_text(_schema([{"name": "f", "kind": "categorical", "num_embeddings": 3_000}]))
    tables = {"default": lambda own, v, d: make(example, own, v, d)}
    task = CTRTask(small_model, Schema.read(tmp_path), embedding_dim=24, tables=tables)
    task.configure_model()
    exportable = ExportableClicks(task.eval())
    run = written(exportable, tmp_path, OnnxProgram())
    assert_equal_outputs(task, exportable, run, drawn(task, 40))


def test_bags_are_no_loop_in_onnx(prepared, tmp_path):
    """A runtime would take the bags of a batch one after the other."""
    pytest.importorskip("onnxscript")
    import onnx

    exportable = ExportableClicks(of_the_data(prepared))
    OnnxProgram().write(exportable.program, exportable.interface, tmp_path / OnnxProgram.file)
    assert "Loop" not in {node.op_type for node in onnx.load(tmp_path / OnnxProgram.file).graph.node}


def test_rows_that_tables_share_are_written_once(prepared, tmp_path):
    shared = {"default": lambda name, v, d: UnifiedTable(name, v, d, num_rows=20_000)}
    task = of_the_data(prepared, tables=shared)
    exportable = ExportableClicks(task)
    run = written(exportable, tmp_path)
    assert (tmp_path / TorchProgram.file).stat().st_size < 1.5 * 20_000 * 8 * 4
    assert_equal_outputs(task, exportable, run, drawn(task, 9))


def test_training_goes_on_after_it(prepared):
    """The task, compiled or not, stays as it is, and the program does not follow it."""
    task = of_the_data(prepared, compile_model=True)
    batch = drawn(task, 4)
    with torch.no_grad():
        exportable = ExportableClicks(task)
        before = exportable.program(**exportable.arguments(batch))[0]
        for parameter in task.model.parameters():
            parameter.add_(1)
        after = exportable.program(**exportable.arguments(batch))[0]
    assert torch.equal(before, after)
    assert all(parameter.requires_grad for parameter in task.model.parameters())


def test_mistakes_of_a_caller_are_named(prepared, tmp_path):
    task = of_the_data(prepared)
    exportable = ExportableClicks(task)
    run = written(exportable, tmp_path)
    good = exportable.arguments(drawn(task, 4))
    with pytest.raises(RuntimeError, match="id of C2 is out of range"):
        run({**good, "ids": torch.tensor([[0] * 4, [300] * 4, [0] * 4])})
    values, lengths = torch.tensor([1, 2, 3]), torch.tensor([1, 1, 0, 0])
    with pytest.raises(RuntimeError, match="lengths of tags must be"):
        run({**good, "bags": {"tags": (values, lengths)}})


def test_the_file_needs_torch_alone(prepared, tmp_path):
    task = of_the_data(prepared, tables={"default": FullTable})
    written(ExportableClicks(task), tmp_path)
    program = (
        "import sys; sys.modules['recsys'] = sys.modules['torchrec'] = sys.modules['lightning'] = None\n"
        "import torch\n"
        "program = torch.export.load('model.pt2').module()\n"
        "bags = {'tags': (torch.tensor([4]), torch.tensor([1, 0]))}\n"
        "ids = torch.zeros(3, 2, dtype=torch.int64)\n"
        "logit, probability = program(ids=ids, dense=torch.zeros(2, 2), bags=bags)\n"
        "assert torch.equal(torch.sigmoid(logit), probability) and logit.shape == (2,)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, env={"PATH": ""})


def test_a_model_that_looks_at_values_is_refused(prepared, tmp_path):
    class Peeking(torch.nn.Module):
        def forward(self, embeddings, dense):
            total = embeddings.sum((1, 2))
            return total if float(total.sum()) > 0 else -total

    task = of_the_data(prepared, model=lambda *sizes: Peeking())
    exportable = ExportableClicks(task)
    with pytest.raises(ValueError, match="torch cannot make a program of this model"):
        written(exportable, tmp_path)
