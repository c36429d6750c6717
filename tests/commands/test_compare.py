"""The command: runs are skipped when done, crashes stop nothing but themselves, a killed comparison goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from recsys.cli import main
from recsys.commands.doctor import _import_failure
from recsys.comparison import RunStore, read_comparison
from recsys.comparison.found import with_found_settings
from recsys.comparison.metric_check import check_logged
from recsys.comparison.search import search

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
QUICK = {
    "trainer": {"max_epochs": 1, "accelerator": "cpu", "logger": False},
    "model": {"init_args": {"table_optimizer": {"class_path": "DenseGradient"}, "warmup_steps": 0}},
}
MODELS = {
    "LR": {"model": {"init_args": {"model": "LogisticRegression"}}},
    "Unfinished": {"model": {"init_args": {"model": "LogisticRegression"}}, "trainer": {"limit_val_batches": 0}},
}


@pytest.fixture
def comparison(prepared, tmp_path):
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    path = tmp_path / "comparison.yaml"

    def write(**changes):
        configs = [str(CONFIGS / "criteo_80k.yaml"), "quick.yaml"]
        content = {"configs": configs, "data": str(prepared), "seeds": [0], "axes": {"model": MODELS}, **changes}
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main(["compare", *map(str, words)])
    return stop.value.code


def test_a_comparison_with_a_crash_is_reported_and_not_run_twice(comparison, tmp_path, capsys):
    store, out = tmp_path / "runs", tmp_path / "out"
    assert run("run", comparison(), "--store", store, "--out", out) == 1
    printed = capsys.readouterr()
    rows = pq.read_table(out / "runs.parquet").to_pylist()
    assert [(row["contender"], row["status"]) for row in rows] == [("LR", "done"), ("Unfinished", "failed")]
    assert "no epoch had a val/auc" in " ".join(rows[1]["error"].split())
    assert rows[1]["seconds"] is None
    assert "LR" in printed.out
    assert "no epoch had a val/auc" in " ".join(printed.out.split())
    (result,) = store.glob("*/result.json")
    content, written = json.loads(result.read_text()), result.stat().st_mtime_ns
    assert 0.5 < content["test"]["auc"] <= 1
    assert content["samples_per_second"] > 0 or content["samples_per_second"] != content["samples_per_second"]
    # DenseGradient rows have two Adam moments each.
    assert content["training_bytes"] == 3 * content["table_bytes"] > 0
    assert content["peak_memory_bytes"] > 10**8
    assert not list(result.parent.rglob("*.ckpt"))
    only = comparison(axes={"model": {"LR": MODELS["LR"]}})
    assert run("run", only, "--store", store) == 0
    assert result.stat().st_mtime_ns == written
    assert run("report", only, "--store", store) == 0
    assert run("report", only, "--store", tmp_path / "empty") == 2
    assert "has no finished run" in capsys.readouterr().err


def test_contenders_that_cannot_be_built_are_named_before_any_run(comparison, tmp_path, capsys):
    wrong = {
        "Typo": {"model": {"init_args": {"model": "LogisticRegresion"}}},
        "LR": MODELS["LR"],
        "Budget": {"model": {"init_args": {"tables": {"default": "HashTable"}, "budget_bytes": 3}}},
    }
    assert run("run", comparison(axes={"model": wrong}), "--store", tmp_path / "runs") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "2 contenders cannot be built: 'Budget': budget_bytes is a budget of 3 bytes" in error
    assert "'Typo': there is no class 'LogisticRegresion'; did you mean 'LogisticRegression'?" in error
    assert not (tmp_path / "runs").exists()


def test_other_labels_of_the_same_size_are_another_run(comparison, prepared, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(prepared, other)
    before = [run.key for run in read_comparison(comparison()).runs()]
    assert [run.key for run in read_comparison(comparison(data=str(other))).runs()] == before
    file = other / "test" / "part-00000.parquet"
    table = pq.read_table(file)
    table = table.set_column(table.column_names.index("label"), "label", pc.subtract(1, table["label"]))
    pq.write_table(table, file, row_group_size=256)
    assert not {run.key for run in read_comparison(comparison(data=str(other))).runs()} & set(before)


def test_a_worker_imports_nothing_from_the_working_folder(comparison, tmp_path, monkeypatch):
    for name in ("statistics", "lightning", "yaml"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working folder')\n")
    monkeypatch.chdir(tmp_path)
    assert run("run", comparison(axes={"model": {"LR": MODELS["LR"]}}), "--store", tmp_path / "runs") == 0
    assert "working folder" not in _import_failure("lightning")


SLOW = {
    "trainer": {
        "max_epochs": 10_000,
        "callbacks": [{"class_path": "ModelCheckpoint", "init_args": {"monitor": "val/auc", "mode": "max"}}],
    }
}


def wait_for(found, seconds=120):
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def test_a_killed_comparison_leaves_its_worker_the_run_and_an_ended_one_an_unfinished_run(comparison, tmp_path):
    path = comparison(axes={"model": {"Slow": {**MODELS["LR"], **SLOW}}})
    store = RunStore(tmp_path / "runs")
    (planned,) = read_comparison(path).runs()
    lock = store.path(planned) / "lock"
    command = [sys.executable, "-m", "recsys", "compare", "run", str(path), "--store", str(store.folder)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    worker = wait_for(lambda: lock.exists() and lock.read_text())
    first.kill()
    first.wait()
    log = tmp_path / "second.txt"
    with log.open("w") as output:
        second = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    wait_for(lambda: f"process {worker} works on this run" in log.read_text())
    assert lock.read_text() == worker, "no second worker in the same folder"
    os.kill(int(worker), signal.SIGKILL)
    wait_for(lambda: lock.read_text() not in ("", worker))
    wait_for(lambda: (store.path(planned) / "lightning_logs").exists() or list(store.path(planned).rglob("*.ckpt")))
    os.killpg(second.pid, signal.SIGINT)  # Ctrl-C
    assert second.wait(60) == 130
    assert "the same command goes on" in log.read_text()
    assert store.result(planned) is None
    assert store.error(planned) is None
    assert run("run", comparison(axes={"model": {"LR": MODELS["LR"]}}), "--store", store.folder) == 0


def test_an_end_by_sigterm_ends_the_workers_and_says_how_to_go_on(comparison, tmp_path):
    path = comparison(axes={"model": {"Slow": {**MODELS["LR"], **SLOW}}})
    store, log = RunStore(tmp_path / "runs"), tmp_path / "log.txt"
    (planned,) = read_comparison(path).runs()
    lock = store.path(planned) / "lock"
    command = [sys.executable, "-m", "recsys", "compare", "run", str(path), "--store", str(store.folder)]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    worker = wait_for(lambda: lock.exists() and lock.read_text())
    process.terminate()
    assert process.wait(60) == 143
    assert "the same command goes on" in log.read_text()
    assert not Path(f"/proc/{worker}").exists()
    assert store.error(planned) is None


def test_a_metric_that_nothing_monitors_is_named_before_any_run(comparison, tmp_path, capsys):
    path = comparison(axes={"model": {"LR": MODELS["LR"]}}, metric="aucc")
    assert run("run", path, "--store", tmp_path / "runs") == 2
    assert "nothing in the configs of 'LR' monitors val/aucc; did you mean 'auc'?" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_where_no_report_can_go_is_named_before_any_run(comparison, tmp_path, capsys):
    path = comparison()
    assert run("run", path, "--store", tmp_path / "runs", "--out", path) == 2
    assert f"--out '{path}' is a file; give a folder" in capsys.readouterr().err
    assert run("run", path, "--store", tmp_path / "runs", "--update", tmp_path / "page.md") == 2
    assert "page.md: needs one line '<!-- comparison: comparison -->'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_metric_that_the_task_does_not_log_ends_a_run_before_training(comparison, tmp_path, capsys):
    watch = {"class_path": "ModelCheckpoint", "init_args": {"monitor": "val/aucc", "mode": "max"}}
    override = {**MODELS["LR"], "trainer": {"max_epochs": 10_000, "callbacks": [watch]}}
    path = comparison(axes={"model": {"LR": override}}, metric="aucc")
    assert run("run", path, "--store", tmp_path / "runs") == 2
    assert "the task logs no val/aucc; did you mean 'auc'?" in " ".join(capsys.readouterr().err.split())


def test_a_slice_may_be_missing_from_the_first_batches():
    check_logged("ndcg@10_cold", ["val/ndcg@10", "train/loss"])
    with pytest.raises(ValueError, match=r"the task logs no val/ndcg@100"):
        check_logged("ndcg@100", ["val/ndcg@10", "train/loss"])


class FakeStore(RunStore):
    """Results from a formula, so that a search needs no training; rates above 0.9 fail."""

    def __init__(self, folder):
        super().__init__(folder)
        self.rounds = []

    def execute(self, runs):
        self.rounds.append([(run.contender, run.overrides[-1]["model"]["rate"], run.key) for run in runs])

    def executed(self):
        return [trial for trials in self.rounds for trial in trials]

    def result(self, run):
        rate = self._rate(run)
        return None if rate is None or rate > 0.9 else type("Result", (), {"val": -((rate - 0.3) ** 2)})

    def error(self, run):
        rate = self._rate(run)
        return "diverged" if rate is not None and rate > 0.9 else None

    def _rate(self, run):
        return next((rate for _, rate, key in self.executed() if key == run.key), None)


RANGES = {"model.rate": {"low": 0.0, "high": 1.0}}


@pytest.fixture
def plan(comparison):
    pytest.importorskip("optuna")
    return read_comparison(comparison(search=RANGES))


def test_a_search_gives_every_contender_equal_trials_and_its_best_setting(plan, tmp_path):
    store = FakeStore(tmp_path)
    assert with_found_settings(plan, store) is None
    tuned = search(plan, store, store.execute, num_trials=15)
    names = [name for name, _, _ in store.executed()]
    assert [names.count(contender.name) for contender in plan.contenders] == [15, 15]
    for contender in tuned.contenders:
        assert contender.overrides[-1]["model"]["rate"] == pytest.approx(0.3, abs=0.12)
        assert contender.found.settings == {"model.rate": contender.overrides[-1]["model"]["rate"]}
        assert contender.found.num_trials == 15
    assert with_found_settings(plan, store) == tuned, "a report finds the settings again"


def test_a_search_that_was_stopped_goes_on_and_does_not_repeat_failures(plan, tmp_path):
    whole, halves = FakeStore(tmp_path / "whole"), FakeStore(tmp_path / "halves")
    tuned = search(plan, whole, whole.execute, num_trials=12)

    def stop_after_five(runs):
        if len(halves.rounds) == 5:
            raise KeyboardInterrupt
        halves.execute(runs)

    with pytest.raises(KeyboardInterrupt):
        search(plan, halves, stop_after_five, num_trials=12)
    assert with_found_settings(plan, halves) is None
    assert search(plan, halves, halves.execute, num_trials=12) == tuned
    assert halves.executed() == whole.executed()
    assert any(rate > 0.9 for _, rate, _ in whole.executed())
    assert sum(contender.found.num_failed for contender in tuned.contenders) > 0


def test_a_search_has_as_many_runs_at_a_time_as_jobs(plan, tmp_path):
    store = FakeStore(tmp_path)
    search(plan, store, store.execute, num_trials=7, num_jobs=5)
    assert [len(trials) for trials in store.rounds] == [6, 6, 2]
    assert len({key for _, _, key in store.executed()}) == 14


def test_a_search_without_ranges_is_refused(comparison, tmp_path):
    with pytest.raises(ValueError, match="has no 'search'"):
        search(read_comparison(comparison()), RunStore(tmp_path), lambda runs: None, 3)


def test_a_report_after_a_search_shows_the_settings_that_it_found(comparison, tmp_path, capsys):
    pytest.importorskip("optuna")
    path = comparison(
        axes={"model": {"LR": MODELS["LR"]}},
        search={"model.init_args.optimizer.init_args.lr": {"low": 0.001, "high": 0.002}},
    )
    store = tmp_path / "runs"
    assert run("search", path, "--store", store, "--trials", 1) == 0
    assert len(list(store.glob("*/result.json"))) == 1, "the best trial is the run of the first seed"
    assert "found by search, LR: model.init_args.optimizer.init_args.lr = 0.00" in capsys.readouterr().out
    assert run("report", path, "--store", store, "--out", tmp_path / "out") == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Settings found by search" in page
    assert "the best of 1 trials" in (tmp_path / "out" / "table.md").read_text()
    (row,) = pq.read_table(tmp_path / "out" / "runs.parquet").to_pylist()
    assert (row["contender"], row["seed"], row["status"], row["error"]) == ("LR", 0, "done", None)
    assert row["seconds"] > 0
    assert row["test/auc"] > 0.5
    assert run("report", path, "--store", store, "--as-written") == 2


@pytest.mark.parametrize("path", sorted((CONFIGS / "compare").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_comparisons_parse(path, prepared):
    assert len(read_comparison(path, prepared).runs()) >= 6
