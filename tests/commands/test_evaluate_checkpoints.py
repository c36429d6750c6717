"""A checkpoint is evaluated as `lightning test` tests it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys.commands.checkpoint_predictions import predict_for
from recsys.configuration.lightning_cli import RecsysCLI
from tests.commands.evaluations import compared, run, values
from tests.data.test_session_data import write_folder


def test_a_checkpoint_is_evaluated_on_its_data(prepared, tmp_path, capsys):
    config = Path(__file__).resolve().parents[2] / "configs" / "criteo_80k.yaml"
    words = ["-c", str(config), f"--data.init_args.path={prepared}", "--trainer.enable_progress_bar=false"]
    fit = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1", "--trainer.logger=false"]
    cli = RecsysCLI.launch(["fit", *words, *fit])
    checkpoint = cli.trainer.checkpoint_callback.best_model_path
    (expected,) = cli.trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, verbose=False)
    assert run("--ckpt_path", checkpoint, *words, "--slice", "C1", "--out", tmp_path / "out") == 0
    found = values(tmp_path / "out")
    for name in ("auc", "log_loss", "normalised_entropy", "calibration"):
        assert found[name] == expected[f"test/{name}"], f"{name} is that of `lightning test`, to the bit"
    metrics = pq.read_table(tmp_path / "out" / "metrics.parquet").to_pylist()
    counted = {row["part"]: row["num_rows"] for row in metrics if row["cut"] == "C1"}
    stored = pq.read_table(prepared / "test")["C1"].to_pylist()
    assert counted == {str(value): stored.count(value) for value in set(stored)}
    assert run("--ckpt_path", checkpoint, *words, "--slice", "C9") == 2
    assert "no column 'C9'" in capsys.readouterr().err
    assert run("--ckpt_path", tmp_path / "no.ckpt", *words) == 2
    assert "no.ckpt' does not exist" in capsys.readouterr().err
    cli.trainer.predict(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, return_predictions=False)
    alike = ["--slice", "C1", "--against", tmp_path / "predictions.parquet"]
    assert run("--ckpt_path", checkpoint, *words, *alike, "--out", tmp_path / "out") == 0
    assert {of["difference"] for of in compared(tmp_path / "out")[0].values()} == {0.0}
    assert (
        run(tmp_path / "predictions.parquet", "--group", "C2", "--slice", "C1", "tags", "--out", tmp_path / "out") == 0
    )
    assert values(tmp_path / "out")["auc"] == expected["test/auc"]
    assert run("--ckpt_path", checkpoint, *words[:2], "--data.init_args.path", prepared, *words[3:]) == 0


def test_predictions_lie_in_a_folder_that_is_named_from_here(prepared, tmp_path, monkeypatch):
    config = Path(__file__).resolve().parents[2] / "configs" / "criteo_80k.yaml"
    words = ["-c", str(config), f"--data.init_args.path={prepared}", "--trainer.enable_progress_bar=false"]
    fit = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1", "--trainer.logger=false"]
    cli = RecsysCLI.launch(["fit", *words, *fit])
    monkeypatch.chdir(tmp_path)
    Path("kept").mkdir()
    path = predict_for(Path(cli.trainer.checkpoint_callback.best_model_path), words, [], Path("kept"))
    assert path == tmp_path / "kept" / "predictions.parquet"
    assert pq.read_table(path).num_rows == pq.read_table(prepared / "test").num_rows


def test_a_checkpoint_of_sessions_is_evaluated_as_it_is_tested(tmp_path, capsys):
    generator = np.random.default_rng(0)
    rows = [(user, generator.integers(1, 9, 6).tolist(), user % 8 + 1) for user in range(40)]
    folder = write_folder(tmp_path / "sessions", {"train": rows, "val": rows[:9], "test": rows[9:]})
    config = Path(__file__).resolve().parents[2] / "configs" / "beauty.yaml"
    words = ["-c", str(config), f"--data.init_args.path={folder}", "--trainer.enable_progress_bar=false"]
    words += ["--data.init_args.filter_seen=false"]
    fit = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1", "--trainer.logger=false"]
    cli = RecsysCLI.launch(["fit", *words, *fit])
    checkpoint = cli.trainer.checkpoint_callback.best_model_path
    (expected,) = cli.trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, verbose=False)
    cli.trainer.predict(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, return_predictions=False)
    against = ["--against", tmp_path / "predictions.parquet", "--key", "user"]
    assert run("--ckpt_path", checkpoint, *words, *against, "--out", tmp_path / "out") == 0
    found = values(tmp_path / "out")
    assert set(found) == {f"{name}@{k}" for name in ("hr", "ndcg", "mrr") for k in (5, 10, 20)}
    assert found == pytest.approx({name: expected[f"test/{name}"] for name in found}, abs=1e-7)
    assert {of["difference"] for of in compared(tmp_path / "out")[0].values()} == {0.0}
    assert run("--ckpt_path", checkpoint, *words, "--slice", "device") == 2
    assert "predictions have no column 'device'" in capsys.readouterr().err
