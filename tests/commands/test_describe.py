"""The command, and what it says of files that are no checkpoint of its config."""

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from recsys.cli import main
from recsys.configuration.lightning_cli import RecsysCLI

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    words = ["-c", str(CONFIGS / "criteo_80k.yaml"), f"--data.init_args.path={prepared}"]
    words += ["--model.init_args.table_optimizer=DenseGradient"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.logger=false", "--trainer.max_epochs=1"]
    cli = RecsysCLI.launch(["fit", *words, *quiet, f"--trainer.default_root_dir={folder}"])
    return Path(cli.trainer.checkpoint_callback.best_model_path), words


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main(["describe", *map(str, words)])
    return stop.value.code


def test_a_checkpoint_is_described(trained, tmp_path, capsys):
    checkpoint, words = trained
    counts = tmp_path / "counts"
    counts.mkdir()
    pq.write_table(pa.table({"id": range(8), "count": [0, 9, 8, 7, 6, 5, 4, 3]}), counts / "C1.parquet")
    out = tmp_path / "out"
    assert run("--ckpt_path", checkpoint, *words, "--counts", counts, "--out", out) == 0
    assert "effective rank" in capsys.readouterr().out
    tables = {table["name"]: table for table in json.loads((out / "tables.json").read_text())["tables"]}
    assert set(tables) == {"C1", "C2", "C3", "tags"}
    assert tables["C1"]["unused_rows"] == 1
    # Rows with dense gradients, and the model: two moments of Adam each.
    assert all(table["training_bytes"] == 3 * table["serving_bytes"] for table in tables.values())
    dense = json.loads((out / "tables.json").read_text())["dense"]
    assert dense["state_bytes"] == 2 * dense["stored_bytes"] == 8 * dense["num_parameters"] > 0
    assert tables["C1"]["norms"]
    assert not tables["C2"]["norms"]
    assert pq.read_table(out / "tables.parquet").num_rows == 4
    assert (out / "report.html").read_text().count("<svg") == 3
    assert {path.name for path in out.glob("*.png")} == {
        "bytes_of_the_tables.png", "singular_values.png", "norms_by_frequency.png"
    }  # fmt: skip


class Code:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_what_is_no_checkpoint_of_the_config_is_named(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint, words = trained
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    (tmp_path / "cut.ckpt").write_bytes(checkpoint.read_bytes()[:-500])
    torch.save({"weights": torch.ones(2)}, tmp_path / "foreign.ckpt")
    torch.save({"state_dict": Code()}, tmp_path / "code.ckpt", pickle_module=pickle)
    for name, message in (
        ("none.ckpt", "none.ckpt' does not exist"),
        ("text.ckpt", "is truncated or not a checkpoint"),
        ("cut.ckpt", "is truncated or not a checkpoint"),
        ("foreign.ckpt", "has no state_dict"),
        ("code.ckpt", "could run code"),
    ):
        assert run("--ckpt_path", tmp_path / name, *words) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "executed").exists()
    swap = ["-c", str(CONFIGS / "tables" / "hash.yaml")]
    assert run("--ckpt_path", checkpoint, *words, *swap) == 2
    assert "the checkpoint has other tables than this config" in capsys.readouterr().err


def test_counts_of_no_table_are_refused(trained, tmp_path, capsys):
    checkpoint, words = trained
    assert run("--ckpt_path", checkpoint, *words, "--counts", "nowhere") == 2
    assert "--counts 'nowhere' is no folder of counts" in capsys.readouterr().err
    assert run("--ckpt_path", checkpoint, *words, "--counts", tmp_path) == 2
    assert f"--counts '{tmp_path}' counts none of the tables (C1, C2, C3, tags)" in capsys.readouterr().err


def test_counts_of_another_table_are_named(trained, tmp_path, capsys):
    checkpoint, words = trained
    pq.write_table(pa.table({"id": [8], "count": [1]}), tmp_path / "C1.parquet")
    assert run("--ckpt_path", checkpoint, *words, "--counts", tmp_path) == 2
    assert "ids must be in [0, 8) as in table 'C1', got 8" in capsys.readouterr().err
