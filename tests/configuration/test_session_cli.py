"""The command line on sessions: every config trains, every table method applies, a run is tested and predicted."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml

from recsys.configuration.lightning_cli import RecsysCLI
from recsys.prepare.programs import sessions

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
EXPERIMENTS = sorted(path.name for path in CONFIGS.glob("*.yaml") if "SessionDataModule" in path.read_text())
OF_ITEMS = {"semantic_id.yaml"}  # needs files about items: see test_semantic_configs
OVERRIDES = sorted({path.name for path in (CONFIGS / "tables").glob("*.yaml")} - OF_ITEMS)
OF_MANY_ITEMS = ("dedup.yaml", "path_qr.yaml")
"""Methods whose smallest table is larger than that of the few items of a test."""
COLUMNS = ["category", "parent_category", "brand", "price", "fine_price"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Sessions of 80 users among 60 items with metadata, prepared."""
    folder = tmp_path_factory.mktemp("shop")
    generator = np.random.default_rng(0)
    rows = [
        {"user": user, "item": int(item), "time": user * 10**6 + 20_000 * k}
        for user in range(80)
        for k, item in enumerate(generator.integers(0, 60, generator.integers(4, 12)))
    ]
    items = pl.col("item")
    metadata = {"category": items % 7, "parent_category": items % 3, "brand": items % 11, "price": items // 10}
    metadata["fine_price"] = items // 2
    pl.DataFrame(rows).with_columns(**metadata).write_parquet(folder / "log.parquet")
    command = ["--raw", str(folder / "log.parquet"), "--user", "user", "--item", "item", "--time", "time"]
    sessions.main([*command, "--item-columns", *COLUMNS, "--out", str(folder / "prepared")])
    return folder / "prepared"


def arguments(shop, folder, config, *more):
    swap = [f"--data.init_args.path={shop}", f"--trainer.default_root_dir={folder}", "--trainer.accelerator=cpu"]
    return ["-c", str(CONFIGS / config), *more, *swap, "--trainer.enable_progress_bar=false"]


@pytest.mark.parametrize("config", EXPERIMENTS)
def test_every_experiment_takes_two_steps(shop, tmp_path, config):
    small = ["--data.init_args.batch_size=16"]
    cli = RecsysCLI.launch(["fit", *arguments(shop, tmp_path, config, *small), "--trainer.fast_dev_run=2"])
    assert cli.trainer.global_step == 2
    assert 0 <= cli.trainer.callback_metrics["val/ndcg@10"] <= 1


@pytest.mark.parametrize("override", [each for each in OVERRIDES if each not in OF_MANY_ITEMS])
def test_every_override_swaps_the_item_table(shop, tmp_path, override):
    more = ["-c", str(CONFIGS / "tables" / override), "--data.init_args.batch_size=16"]
    more += ["--model.init_args.exact_up_to=0"]  # so few items would stay exact
    cli = RecsysCLI.launch(["fit", *arguments(shop, tmp_path, "beauty.yaml", *more), "--trainer.fast_dev_run=2"])
    entry = yaml.safe_load((CONFIGS / "tables" / override).read_text())["model"]["init_args"]["tables"]["default"]
    wanted = entry if isinstance(entry, str) else entry["class_path"]
    assert type(cli.model.collection.table("item")).__name__ == wanted


@pytest.mark.parametrize("model", ["GRU4Rec", "HSTU", "BERT4Rec"])
def test_other_models_of_the_movielens_config(shop, tmp_path, model):
    more = [f"--model.init_args.model={model}"]
    if model == "BERT4Rec":
        more += ["--model.init_args.objective=MaskedItems", "--data.init_args.train_length=200"]
    more = arguments(shop, tmp_path, "ml-1m_sessions.yaml", *more)
    cli = RecsysCLI.launch(["fit", *more, "--trainer.fast_dev_run=2"])
    assert type(cli.model.model).__name__ == model


@pytest.mark.parametrize("config", ["beauty.yaml", "foursquare.yaml"])
def test_fit_then_validate_test_and_predict(shop, tmp_path, config):
    cli = RecsysCLI.launch(["fit", *arguments(shop, tmp_path, config), "--trainer.max_epochs=1"])
    checkpoint = cli.trainer.checkpoint_callback.best_model_path
    for command in ("validate", "test", "predict"):
        RecsysCLI.launch([command, *arguments(shop, tmp_path, config), f"--ckpt_path={checkpoint}"])
    written = pq.read_table(tmp_path / "predictions.parquet")
    assert len(written) == 80
    assert len(written["items"][0]) == 10
