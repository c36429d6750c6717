"""Session models compressed: at once and in stages, measured by ranking, with probes against slow references."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from torch.testing import assert_close

from recsys.checkpoints import load
from recsys.cli import main
from recsys.compression.counts import counts_of
from recsys.compression.model import TrainedModel
from recsys.compression.probe import first_batches
from recsys.compression.quality import SessionQuality
from recsys.compression.session_probe import SessionProbe
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.evaluation.ranking import ranking_metrics
from recsys.prepare.programs import sessions
from recsys.tables.sizing import stored_bytes
from tests.compression.stage_runs import CONFIGS, compress

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.logger=false"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Sessions of 90 users among 60 items, each of which follows the one before; items have a category."""
    folder = tmp_path_factory.mktemp("shop")
    generator = np.random.default_rng(0)
    rows = [
        {"user": user, "item": int(start + k) % 60, "time": user * 10**6 + 20_000 * k}
        for user in range(90)
        for start in [int(generator.integers(0, 60))]
        for k in range(int(generator.integers(5, 12)))
    ]
    frame = pl.DataFrame(rows).with_columns(category=pl.col("item") % 7)
    frame.write_parquet(folder / "log.parquet")
    command = ["--raw", str(folder / "log.parquet"), "--user", "user", "--item", "item", "--time", "time"]
    sessions.main([*command, "--item-columns", "category", "--out", str(folder / "prepared")])
    return folder / "prepared"


def words_of(shop, *more):
    return [
        "-c", str(CONFIGS / "ml-1m_sessions.yaml"), *more, f"--data.init_args.path={shop}", *QUIET,
        "--model.init_args.embedding_dim=16", "--trainer.max_epochs=2", "--trainer.accelerator=cpu",
        "--model.init_args.item_features=[item,category]",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(shop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    words = words_of(shop)
    cli = RecsysCLI.launch(["fit", *words, f"--trainer.default_root_dir={folder}"])
    return cli.trainer.checkpoint_callback.best_model_path, words, cli


def test_a_checkpoint_is_compressed_and_tested_with_the_metrics_that_were_printed(trained, tmp_path):
    checkpoint, words, _ = trained
    out = tmp_path / "out"
    assert compress(checkpoint, out, *words, "--budget_fraction", "40%") == 0
    report = json.loads((out / "compression.json").read_text())
    chosen = next(trial for trial in report["trials"] if trial["method"] == report["chosen"])
    best = max(trial["val"]["ndcg@10"]["second"] for trial in report["trials"])
    assert chosen["val"]["ndcg@10"]["second"] == best
    collection = load(out / "model.ckpt")
    tables = {feature.table: collection.table(feature.table) for feature in collection.features}
    assert stored_bytes(tables) == chosen["num_bytes"] <= 0.4 * report["full_bytes"]
    root = f"--trainer.default_root_dir={tmp_path}"
    cli = RecsysCLI.launch(["test", "-c", str(out / "config.yaml"), root, f"--ckpt_path={out / 'model.ckpt'}"])
    for name in ("ndcg@10", "hr@10"):
        assert float(cli.trainer.callback_metrics[f"test/{name}"]) == pytest.approx(
            chosen["test"][name]["second"], abs=1e-6
        )
    assert (out / "ndcg@10_against_bytes.png").is_file()


def test_a_compact_model_is_exported(trained, tmp_path, capsys):
    checkpoint, words, _ = trained
    assert compress(checkpoint, tmp_path / "small", *words, "--budget_fraction", "50%", "--method", "fp16") == 0
    small = tmp_path / "small"
    with pytest.raises(SystemExit) as stop:
        main(["export", f"{small / 'model.ckpt'}", f"{tmp_path / 'served'}", "-c", f"{small / 'config.yaml'}"])
    assert stop.value.code == 0
    assert "compared with the checkpoint on 90 samples" in capsys.readouterr().out


def test_a_metric_of_another_task_is_refused(trained, tmp_path, capsys):
    checkpoint, words, _ = trained
    asked = ["--budget_fraction", "40%", "--metric", "auc"]
    assert compress(checkpoint, tmp_path / "out", *words, *asked) == 2
    assert "--metric 'auc' is none of a NextItemTask; give ndcg@10 or hr@10" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["optembed", "pep", "deeplight", "gradual"])
def test_stages_give_a_compact_model(kind, shop, tmp_path):
    more = ["-c", str(CONFIGS / "tables" / f"{kind}.yaml"), "--model.init_args.exact_up_to=10"]
    out, words = tmp_path / "out", words_of(shop, *more)
    assert compress(out, *words, "--budget_fraction", "50%", "--generations", "1") == 0
    collection = load(out / "model.ckpt")
    tables = {feature.table: collection.table(feature.table) for feature in collection.features}
    full = sum(table.logical_bytes() for table in tables.values())
    assert 0.3 * full < stored_bytes(tables) <= 0.5 * full
    report = json.loads((out / "stages.json").read_text())
    assert set(report["compared"]["test"]) == {"ndcg@10", "hr@10"}
    assert (out / "ndcg@10_along_the_search.png").is_file() == (kind == "optembed")


def test_counts_of_what_describes_items_are_those_of_the_items(trained):
    _, _, cli = trained
    task, schema = cli.model, cli.datamodule.schema
    found = counts_of(task, cli.datamodule)
    of_items, categories = schema.item_counts(), schema.item_values("category")
    assert found["item"].tolist() == of_items.tolist()
    expected = [int(of_items[categories == number].sum()) for number in range(len(found["category"]))]
    assert found["category"].tolist() == expected


def test_quality_is_that_of_the_task(trained):
    _, _, cli = trained
    task, data = cli.model.eval(), cli.datamodule
    data.setup("validate")
    ranks = SessionQuality(task).collect(data.val_dataloader())
    expected = []
    with torch.no_grad():
        for batch in data.val_dataloader():
            for row, target in zip(task.scores(batch), batch.targets.tolist(), strict=True):
                expected.append(int((row >= row[target - 1]).sum()))
    assert ranks.tolist() == expected
    wanted = ranking_metrics(np.array(expected), (10,))
    assert SessionQuality(task).value(ranks) == pytest.approx(wanted["ndcg@10"])
    other = np.minimum(ranks + 3, 60)
    found = SessionQuality(task).compare(ranks, other)
    assert found["hr@10"].difference == pytest.approx(ranking_metrics(other, (10,))["hr@10"] - wanted["hr@10"])


def test_sensitivity_is_the_square_of_the_slope_of_the_loss(trained):
    """By finite differences, for the column of one vector that a batch reads; and the weights have no gradient."""
    _, _, cli = trained
    task, data = cli.model.eval(), cli.datamodule
    data.setup("fit")
    batches = first_batches(data.train_dataloader(), 2, torch.device("cpu"))
    probe = SessionProbe(task, batches)
    found = probe.sensitivity()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in task.model.parameters())
    total, step = torch.zeros(2, dtype=torch.float64), 1e-3
    sizes: list[torch.Size] = []
    probe._loss(batches[0], lambda vectors: (sizes.append(vectors.shape), vectors)[1])
    assert len(batches) == 1
    assert len(sizes) == 1
    for feature in range(2):
        for row in range(sizes[0][0]):
            ends = []
            for sign in (1, -1):
                moved = torch.zeros(sizes[0])
                moved[row, feature, 3] = sign * step
                with torch.no_grad():
                    ends.append(float(probe._loss(batches[0], lambda vectors, by=moved: vectors + by)[0]))
            total[feature] += ((ends[0] - ends[1]) / (2 * step)) ** 2
    number = probe._loss(batches[0], lambda vectors: vectors)[1]
    assert_close(torch.stack([found["item"][3], found["category"][3]]).double(), total / number, rtol=0.05, atol=1e-5)


def test_values_of_columns_add_up_to_what_all_of_them_save(trained):
    _, _, cli = trained
    task, data = cli.model, cli.datamodule
    model = TrainedModel(task, data, counts_of(task, data))
    batches = first_batches(data.train_dataloader(), 2, torch.device("cpu"))
    probe, means = SessionProbe(task, batches), {table.name: table.mean() for table in model.tables(False)}
    values = probe.column_values(means, 2, seed=0)
    absent = torch.stack([means["item"], means["category"]])
    with torch.no_grad():
        whole, number = probe._loss(batches[0], lambda vectors: vectors)
        without, _ = probe._loss(batches[0], lambda vectors: absent.expand_as(vectors))
    saved = float(without - whole) / number
    assert sum(float(each.sum()) for each in values.values()) == pytest.approx(saved, abs=1e-4)
