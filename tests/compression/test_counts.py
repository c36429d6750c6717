"""Counts that a folder lacks are made of every row of its train split."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq

from recsys.compression.counts import counts_of
from recsys.data import CTRDataModule
from recsys.models import LogisticRegression
from recsys.prepare.programs import clicks
from recsys.tasks import CTRTask


def test_every_row_is_counted(tmp_path):
    rows = [f"{place % 2},u{place * place % 7},t{place % 3}|t{place % 5}" for place in range(50)]
    (tmp_path / "log.csv").write_text("\n".join(["click,user,tags", *rows]))
    words = ["--label", "click", "--categorical", "user", "--lists", "tags:|", "--out", str(tmp_path / "data")]
    clicks.main([str(tmp_path / "log.csv"), *words])
    shutil.rmtree(tmp_path / "data" / "counts")
    schema = json.loads((tmp_path / "data" / "schema.json").read_text())
    del schema["files"]
    (tmp_path / "data" / "schema.json").write_text(json.dumps(schema))
    data = CTRDataModule(str(tmp_path / "data"), batch_size=30, drop_last=True)
    task = CTRTask(LogisticRegression, data.schema, 4)
    task.configure_model()
    train = pq.read_table(tmp_path / "data" / "train")
    counts = counts_of(task, data)
    users = train["user"].to_numpy()
    tags = np.concatenate(train["tags"].to_pylist())
    assert len(users) % 30
    assert counts["user"].tolist() == np.bincount(users, minlength=len(counts["user"])).tolist()
    assert counts["tags"].tolist() == np.bincount(tags, minlength=len(counts["tags"])).tolist()
