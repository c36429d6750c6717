"""consolidate: what it writes gives the trained vectors to the bit, and bad files are refused."""

import json
import pickle

import pytest
import torch
from contract import EXAMPLES, make
from lightning.pytorch import Trainer

from recsys.checkpoints.consolidated import consolidate, load
from recsys.checkpoints.table_description import build_collection, describe_collection
from recsys.checkpoints.table_differences import differences
from recsys.cli import main
from recsys.data import CTRDataModule
from recsys.models import DeepFM
from recsys.tables import (
    FbgemmLookup,
    Feature,
    HashTable,
    ManagedCollisionTable,
    MixedDimTable,
    QRTable,
    TableCollection,
    TorchLookup,
)
from recsys.tasks import CTRTask


def small_model(*sizes):
    return DeepFM(*sizes, hidden_dims=(8,), dropout=0.0)


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """A task after an epoch, its checkpoint, and a batch."""
    data = CTRDataModule(prepared, batch_size=200)
    tables = {
        "default": QRTable,
        "hash": lambda name, v, d: HashTable(name, v, d, num_rows=50),
        "mixed": lambda name, v, d: MixedDimTable(name, v, d, row_dim=4),
        "managed": lambda name, v, d: ManagedCollisionTable(name, v, d, num_rows=30, eviction_interval=4),
    }
    assign = {"hash": ["C2"], "mixed": ["tags"], "managed": ["C3"]}
    task = CTRTask(small_model, data.schema, embedding_dim=8, tables=tables, assign=assign)
    off = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, **off)
    trainer.fit(task, data)
    file = tmp_path_factory.mktemp("trained") / "last.ckpt"
    trainer.save_checkpoint(file)
    task.eval()
    return task, file, next(iter(data.val_dataloader()))


@pytest.mark.parametrize("lookup", [TorchLookup, FbgemmLookup])
def test_the_vectors_are_those_trained_to_the_bit(trained, tmp_path, lookup):
    task, file, batch = trained
    consolidate(file, tmp_path / "out")
    with torch.no_grad():
        expected = task.collection(batch.ids, batch.bags)
        assert torch.equal(load(tmp_path / "out", lookup)(batch.ids, batch.bags), expected)
        assert torch.equal(load(file, lookup)(batch.ids, batch.bags), expected)


def test_the_command_writes_no_pickle_and_keeps_optimiser_state_on_request(trained, tmp_path, capsys):
    from safetensors import safe_open

    _, file, _ = trained
    for flags, wanted in (([], False), (["--optimizer-state"], True)):
        out = tmp_path / f"out{wanted}"
        with pytest.raises(SystemExit) as stop:
            main(["consolidate", str(file), str(out), *flags])
        assert stop.value.code == 0
        assert sorted(path.name for path in out.iterdir()) == ["recsys.json", "tensors.safetensors"]
        with safe_open(out / "tensors.safetensors", "pt") as tensors:
            assert any(name.startswith("state.") for name in tensors.keys()) is wanted
            assert any(name.startswith("dense.model.") for name in tensors.keys())
    assert not list(tmp_path.glob("*.partial*"))


class _Code:
    def __reduce__(self):
        return (eval, ("open('ran', 'w')",))


def bad(trained, folder, case):
    file = folder / "bad.ckpt"
    if case == "truncated":
        file.write_bytes(trained[1].read_bytes()[:-1000])
    elif case == "code":
        torch.save({"state_dict": {}, "recsys": _Code()}, file)
    elif case == "bare pickle":
        file.write_bytes(pickle.dumps(_Code()))
    elif case == "other project":
        torch.save({"state_dict": {}}, file)
    elif case == "folder":
        file.mkdir()
    return file


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("missing", "does not exist"),
        ("truncated", "truncated"),
        ("code", "could run code"),
        ("bare pickle", "not a checkpoint"),
        ("other project", "does not describe its tables"),
        ("folder", "is not a whole checkpoint"),
    ],
)
def test_bad_checkpoints_are_refused_and_nothing_runs(trained, tmp_path, monkeypatch, case, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=words):
        consolidate(bad(trained, tmp_path, case), tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


def test_an_output_that_exists_is_kept(trained, tmp_path):
    with pytest.raises(ValueError, match="exists"):
        consolidate(trained[1], tmp_path)


def test_damage_is_noticed(trained, tmp_path):
    consolidate(trained[1], tmp_path / "out")
    file = tmp_path / "out" / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / "out")


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_method_is_rebuilt_from_json(example):
    collection = TableCollection([Feature("f", "f")], {"f": make(example)})
    description = json.loads(json.dumps(describe_collection(collection)))
    state = {f"f.{name}": value for name, value in collection.table("f").state_dict().items()}
    again = build_collection(description, state=state)
    # What is rebuilt is for reading: its rows are frozen.
    for physical in description["physical_tables"].values():
        physical["optimizer"] = "Frozen"
    assert describe_collection(again) == description
    description["tables"]["f"]["constants"]["extra"] = [1]
    with pytest.raises(ValueError, match="constants"):
        build_collection(description, state=state)


def test_differences_name_every_table():
    def described(**sizes):
        tables = {name: HashTable(name, 100, 8, num_rows=rows) for name, rows in sizes.items()}
        return describe_collection(TableCollection([Feature(name, name) for name in sizes], tables))

    assert differences(described(a=5, b=6), described(a=5, b=6)) == []
    found = "\n".join(differences(described(a=5, b=6, c=9), described(a=5, b=7, d=9)))
    assert "table 'b': arguments.num_rows is 6 in the checkpoint and 7 here" in found
    assert "table 'c' is only in the checkpoint" in found
    assert "table 'd' is not in the checkpoint" in found
    assert "'a'" not in found


@pytest.mark.parametrize(
    ("content", "out", "message"),
    [
        ({"state_dict": {"a": 1}, "recsys": {"tables": {}}}, "out", "'a' is no tensor"),
        ({"state_dict": {}, "recsys": {}}, "out", "its description names no tables"),
        ({"state_dict": {}, "recsys": {"tables": {}}}, "last.ckpt/out", "cannot be written"),
    ],
)
def test_what_cannot_be_consolidated_is_said(tmp_path, content, out, message):
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=message):
        consolidate(tmp_path / "last.ckpt", tmp_path / out)
