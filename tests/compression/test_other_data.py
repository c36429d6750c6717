"""Data with weights, and without rows for val: what is measured, and what is refused before anything is done."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.testing import assert_close

from recsys.compression.probe import Probe
from recsys.compression.quality import ClickQuality
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.data.batch import Batch
from recsys.evaluation import auc
from recsys.tables import Bag
from tests.compression.stage_runs import CONFIGS, compress, words_of

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.logger=false"]


@pytest.fixture(scope="module")
def weighted(prepared, tmp_path_factory):
    """The prepared data with weights that are no counts, some of them 0, and no rows for val."""
    folder = tmp_path_factory.mktemp("weighted") / "criteo"
    generator = np.random.default_rng(5)
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        table = pq.read_table(prepared / split / "part-00000.parquet")
        weights = generator.choice(np.float32([0, 0.5, 1, 3]), len(table))
        pq.write_table(table.append_column("w", pa.array(weights)), folder / split / "part-00000.parquet")
    schema = json.loads((prepared / "schema.json").read_text())
    schema |= {"weight": "w", "splits": {**schema["splits"], "val": {"num_rows": 0, "label_rate": None}}}
    (folder / "schema.json").write_text(json.dumps(schema))
    callback = "{class_path: ModelCheckpoint, init_args: {filename: last, enable_version_counter: false}}"
    (folder.parent / "unwatched.yaml").write_text(f"trainer: {{callbacks: [{callback}]}}")
    return folder


def unwatched(weighted):
    """A config that watches no metric of val."""
    return ["-c", str(weighted.parent / "unwatched.yaml")]


@pytest.fixture(scope="module")
def trained(weighted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    words = ["-c", str(CONFIGS / "criteo.yaml"), *unwatched(weighted), f"--data.init_args.path={weighted}", *QUIET]
    cli = RecsysCLI.launch(["fit", *words, "--trainer.max_epochs=1", f"--trainer.default_root_dir={folder}"])
    return next(folder.rglob("last.ckpt")), words, cli


def test_one_method_needs_no_val_split_and_weights_count_as_in_every_other_command(trained, tmp_path):
    checkpoint, words, _ = trained
    out = tmp_path / "out"
    assert compress(checkpoint, out, *words, "--budget_fraction", "30%", "--method", "svd") == 0
    (trial,) = json.loads((out / "compression.json").read_text())["trials"]
    assert trial["val"] == {}
    found = RecsysCLI.launch(
        ["test", "-c", str(out / "config.yaml"), f"--ckpt_path={out / 'model.ckpt'}",
         f"--trainer.default_root_dir={tmp_path}"]
    ).trainer.callback_metrics  # fmt: skip
    for name in ("auc", "log_loss"):
        measured = trial["test"][name]
        assert float(found[f"test/{name}"]) == pytest.approx(measured["second"], abs=1e-6)
        assert measured["low"] < measured["difference"] < measured["high"]


@pytest.mark.parametrize(("more", "said"), [([], "--method auto"), (["--method=svd", "--finetune=1"], "--finetune")])
def test_what_chooses_by_val_is_refused_where_it_has_no_rows(trained, tmp_path, capsys, more, said):
    checkpoint, words, _ = trained
    assert compress(checkpoint, tmp_path / "out", *words, "--budget_fraction", "30%", *more) == 2
    assert f"error: {said} chooses by the val split, of which '" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_split_of_one_label_is_refused_before_work_starts(prepared, weighted, trained, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(weighted, data)
    schema = json.loads((data / "schema.json").read_text())
    schema["splits"]["test"]["label_rate"] = 0.0
    (data / "schema.json").write_text(json.dumps(schema))
    out, said = tmp_path / "out", f"error: all rows of test in '{data}' have label 0, and no AUC tells"
    words = [*unwatched(weighted), "--budget_fraction", "20%"]
    assert compress(out, *words_of(data, "pep"), *words) == 2
    assert said in capsys.readouterr().err
    checkpoint, own, _ = trained
    assert compress(checkpoint, out, *own, f"--data.init_args.path={data}", *words[-2:], "--method", "int8") == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_search_for_widths_without_rows_for_val_is_refused_before_it_trains(weighted, tmp_path, capsys):
    out = tmp_path / "out"
    assert compress(out, *words_of(weighted, "optembed"), *unwatched(weighted), "--budget_fraction", "20%") == 2
    assert "error: widths are searched by the val split, of which '" in capsys.readouterr().err
    assert not (out / "search").exists()


def test_stages_that_search_no_widths_need_no_val_split(weighted, tmp_path):
    out = tmp_path / "out"
    assert (
        compress(
            out, *words_of(weighted, "pep"), *unwatched(weighted), "--budget_fraction", "20%", "--start", "searched"
        )
        == 0
    )
    assert set(json.loads((out / "stages.json").read_text())["compared"]) == {"test"}


def test_sensitivity_and_quality_of_weights_are_those_of_rows_as_often_and_columns_weigh_alike(trained):
    _, _, cli = trained
    task, data = cli.model.eval(), cli.datamodule
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    counts = torch.arange(len(batch)) % 3
    batch.weights = None
    places = torch.arange(len(batch)).repeat_interleave(counts)
    bags = {
        name: Bag(torch.cat([bag.values.split(bag.lengths.tolist())[place] for place in places]), bag.lengths[places])
        for name, bag in batch.bags.items()
    }
    often = Batch(ids=batch.ids[:, places], bags=bags, dense=batch.dense[places], labels=batch.labels[places])
    batch.weights = counts.float()
    once, repeated = Probe(task, [batch]), Probe(task, [often])
    for name, found in once.sensitivity().items():
        assert_close(found, repeated.sensitivity()[name], rtol=1e-4, atol=1e-9)
    means = {feature.name: torch.zeros(task.embedding_dim) for feature in task.collection.features}
    values = repeated.column_values(means, 1, 0)
    for name, found in once.column_values(means, 1, 0).items():
        assert_close(found, values[name], rtol=1e-3, atol=1e-6)
    quality = ClickQuality(task)
    assert quality.value(quality.collect([batch])) == pytest.approx(quality.value(quality.collect([often])), abs=1e-9)
    labels, logits, weights = quality.collect([batch])
    assert weights.min() > 0
    assert quality.value((labels, logits, weights)) != auc(labels, logits)
