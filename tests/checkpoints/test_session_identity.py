"""A checkpoint of sessions knows its items: renumbered ones, and other values of what describes them, are refused."""

import json
import re

import numpy as np
import polars as pl
import pytest

from recsys.checkpoints.reading import read
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.prepare.programs import sessions

NUM_ITEMS = 20


def prepare(folder, more_users=0, num_brands=4):
    """A cycle of items that all users follow; further users, of one event each, turn the counts of items around."""
    rows = [
        {"user": f"u{user}", "item": (user + k) % NUM_ITEMS, "time": 86_400 * user + 60 * k}
        for user in range(100)
        for k in range(4 + user % NUM_ITEMS)
    ]
    rows += [{"user": f"x{number}", "item": number % 7, "time": 86_400 * 200 + number} for number in range(more_users)]
    log = pl.DataFrame(rows).with_columns(brand=pl.col("item") % num_brands)
    folder.mkdir()
    log.write_parquet(folder / "log.parquet")
    words = ["--raw", folder / "log.parquet", "--user", "user", "--item", "item", "--time", "time"]
    words += ["--item-columns", "brand", "--out", folder / "data", "--min-item-count", "1", "--min-length", "1"]
    sessions.main(list(map(str, words)))
    return folder / "data"


def command(data, root, *more):
    return [
        *("--model=NextItemTask", "--model.model=GRU4Rec", "--model.embedding_dim=16", "--model.max_length=20"),
        *("--model.optimizer={class_path: torch.optim.Adam, init_args: {lr: 0.01}}",),
        *("--data=SessionDataModule", f"--data.path={data}", "--data.batch_size=32", "--data.max_length=20"),
        *("--data.filter_seen=false", "--trainer.max_epochs=15", "--trainer.accelerator=cpu"),
        *("--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={root}", *more),
    ]


DESCRIBED = "--model.item_features=[item, brand]"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("sessions")
    data = prepare(root / "old")
    for name, more in (("plain", ()), ("described", (DESCRIBED,))):
        RecsysCLI.launch(["fit", *command(data, root / name, *more)])
    return data, *(next((root / name).rglob("*.ckpt")) for name in ("plain", "described"))


def hit_rate(*words):
    return float(RecsysCLI.launch(["test", *words]).trainer.callback_metrics["test/hr@5"])


def test_renumbered_items_are_refused_or_carried_over(trained, tmp_path):
    old, plain, described = trained
    new = prepare(tmp_path / "new", more_users=300)
    marks = [json.loads((data / "schema.json").read_text())["fingerprints"]["ids"] for data in (old, new)]
    assert marks[0]["item"] != marks[1]["item"]
    for checkpoint, more in ((plain, ()), (described, (DESCRIBED,))):
        words = [*command(new, tmp_path, *more), f"--ckpt_path={checkpoint}"]
        with pytest.raises(ValueError, match=r"the ids of 'item'.* stand for other values"):
            RecsysCLI.launch(["test", *words])
        before = hit_rate(*command(old, tmp_path, *more), f"--ckpt_path={checkpoint}")
        assert before > 0.9
        task = RecsysCLI.launch(["test", *words, f"--remap={old}"])
        assert task.trainer.datamodule.schema.path == new
        values = pl.read_parquet(new / "vocabulary" / "item.parquet")["value"].to_list()
        rows = task.model.collection.lookup.weight("item")
        kept = pl.read_parquet(old / "vocabulary" / "item.parquet")["value"].to_list()
        theirs = read(checkpoint)["state_dict"]["collection.lookup.item.weight"]
        for place, value in enumerate(values, start=1):
            assert np.array_equal(rows[place].detach(), theirs[kept.index(value) + 1])


def test_other_values_of_items_matter_to_those_who_read_them(trained, tmp_path):
    _, plain, described = trained
    other = prepare(tmp_path / "other", num_brands=5)
    assert hit_rate(*command(other, tmp_path), f"--ckpt_path={plain}") > 0.9
    with pytest.raises(ValueError, match=re.escape("other values of 'brand'")):
        hit_rate(*command(other, tmp_path, DESCRIBED), f"--ckpt_path={described}")
