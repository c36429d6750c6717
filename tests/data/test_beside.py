"""Weights, groups, keys and missing labels: from a folder to batches, loss, metrics and predictions."""

from __future__ import annotations

import json
import math

import pyarrow.parquet as pq
import pytest
import torch
from lightning.pytorch import Trainer

from recsys.data import CTRDataModule, Schema
from recsys.evaluation import auc, gauc
from recsys.models import LogisticRegression
from recsys.prepare.programs import apply, clicks
from recsys.tables import SGD, TorchLookup
from recsys.tasks import CTRTask, PredictionWriter

WORDS = "1 ann x 2 k0,0 ann y 1 k1,0 bob x 3 k2,1 - y 0 k3,1 bob y 1 k4,0 - x 1 k5,1 - x 2 k6,0 cy y 4 k7"
ROWS = [row.replace("-", "").split(" ") for row in WORDS.split(",")]
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


def folder_of(path, rows, *options):
    folds = [[*row, fold] for fold in ("train", "val", "test") for row in rows]
    path.with_suffix(".csv").write_text(
        "\n".join(map(",".join, [["click", "user", "item", "w", "key", "fold"], *folds]))
    )
    command = [str(path.with_suffix(".csv")), "--label", "click", "--categorical", "user", "item", *options]
    # Ids that do not depend on counts.
    clicks.main([*command, "--split", "given:fold", "--min-count", "1", "--hash-bits", "4", "--out", str(path)])
    return path


def predicted(task, folder, into):
    trainer = Trainer(accelerator="cpu", **QUIET, default_root_dir=into, callbacks=[PredictionWriter()])
    trainer.predict(task, CTRDataModule(folder), return_predictions=False)
    return pq.read_table(into / "predictions.parquet")


@pytest.fixture
def weighted(tmp_path):
    return folder_of(tmp_path / "weighted", ROWS, "--weight", "w", "--group", "user", "--key", "key")


@pytest.fixture
def repeated(tmp_path):
    """A row of weight 2 is there twice."""
    return folder_of(tmp_path / "repeated", [row for row in ROWS for _ in range(int(row[3]))], "--group", "user")


def make_task(folder):
    torch.manual_seed(0)
    return CTRTask(
        LogisticRegression,
        Schema.read(folder),
        embedding_dim=4,
        table_optimizer=SGD(learning_rate=0.5),
        optimizer=lambda groups: torch.optim.SGD(groups, lr=0.5),
        lookup=TorchLookup,
    )


def trained(folder):
    task, data = make_task(folder), CTRDataModule(folder, batch_size=1000, shuffle=False)
    trainer = Trainer(max_epochs=3, accelerator="cpu", **QUIET)
    trainer.fit(task, data)
    (metrics,) = trainer.test(task, data, verbose=False)
    return task, metrics


def test_batches_have_what_the_folder_has(weighted):
    data = CTRDataModule(weighted, batch_size=3, shuffle=False)
    batches = list(data.train_dataloader())
    assert [len(batch) for batch in batches] == [3, 3, 2]
    assert torch.cat([batch.weights for batch in batches]).tolist() == [float(row[3]) for row in ROWS]
    groups = torch.cat([batch.groups for batch in batches]).tolist()
    assert [groups[0], groups[2], groups[7]] == [groups[1], groups[4], groups[7]]
    assert len(set(groups)) == 6  # three users, and three rows of nobody known
    assert all(batch.beside is None for batch in batches)
    keys = [key for batch in data.predict_dataloader() for key in batch.beside["key"].to_pylist()]
    assert keys == [row[4] for row in ROWS]


def test_rows_of_nobody_known_stay_apart_in_every_row_group(weighted):
    """Whichever rows are read together: no two of them are one user."""
    for split in ("train", "val"):
        (part,) = (weighted / split).glob("*.parquet")
        pq.write_table(pq.read_table(part), part, row_group_size=2)
    by_hand = json.loads((weighted / "schema.json").read_text())
    (weighted / "schema.json").write_text(json.dumps({**by_hand, "files": {}}))
    data = CTRDataModule(weighted, batch_size=3, shuffle_blocks=2)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        groups = torch.cat([batch.groups for batch in loader]).tolist()
        assert len(set(groups)) == 6
        assert sum(group < 0 for group in groups) == 3


def test_a_row_twice_is_weight_2_in_training_and_metrics(weighted, repeated):
    (first, one), (second, two) = trained(weighted), trained(repeated)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], rtol=1e-5, atol=1e-6, msg=name)
    assert set(one) == set(two) > {"test/gauc", "test/auc"}
    for name in set(one) - {"test/num_samples"}:
        assert one[name] == pytest.approx(two[name], rel=1e-5), name


def test_predictions_keep_weights_groups_and_keys(tmp_path, weighted):
    task, metrics = trained(weighted)
    rows = predicted(task, weighted, tmp_path)
    assert rows["key"].to_pylist() == [row[4] for row in ROWS]
    label, logit, weight, group = (rows[name].to_numpy() for name in ("label", "logit", "weight", "group"))
    assert auc(label, logit, weight) == pytest.approx(metrics["test/auc"], rel=1e-9)
    assert gauc(label, logit, group, weight).value == pytest.approx(metrics["test/gauc"], rel=1e-9)


def test_rows_without_labels_are_predicted_and_nothing_else(tmp_path, weighted):
    (tmp_path / "new.csv").write_text("item,user,key\nx,ann,a\ny,zoe,b\n")
    apply.main([str(weighted), str(tmp_path / "new.csv"), "--out", str(tmp_path / "new")])
    task = make_task(weighted)
    rows = predicted(task, tmp_path / "new", tmp_path)
    assert rows.column_names == ["group", "logit", "user", "item", "key"]
    assert rows["key"].to_pylist() == ["a", "b"]
    with pytest.raises(ValueError, match="has no labels; such rows can only be predicted"):
        Trainer(accelerator="cpu", **QUIET).test(task, CTRDataModule(tmp_path / "new"))


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_that_are_none(weighted, weight):
    path = weighted / "train" / "part-00000.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("weight")
    values = [weight, *table["weight"].to_pylist()[1:]]
    pq.write_table(table.set_column(place, "weight", [values]), path)
    schema = json.loads((weighted / "schema.json").read_text())
    del schema["files"]
    (weighted / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(ValueError, match=r"row 0, column 'weight': the weight is .*, must be finite and at least 0"):
        list(CTRDataModule(weighted).train_dataloader())


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_folder_that_is_not_whole_is_refused(weighted, damage):
    path = weighted / "counts" / "item.parquet"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"counts/item\.parquet'.*; prepare it again"):
        CTRDataModule(weighted)
