"""A checkpoint compressed without training: methods tried, one chosen, a checkpoint and a report written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recsys.checkpoints.file import write
from recsys.checkpoints.reading import read
from recsys.compression.config_file import write_config
from recsys.compression.counts import counts_of
from recsys.compression.method import Method
from recsys.compression.model import TrainedModel, checkpoint_of
from recsys.compression.pictures import kept_figures
from recsys.compression.quality import SHOWN, measured_splits, quality_of, scores_in_bf16
from recsys.compression.report import CompressionReport
from recsys.compression.stage_run import MODEL, check_run, fit
from recsys.compression.trials import Trial, Trials, best
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.tables.budget import BudgetError
from recsys.tables.sizing import stored_bytes

CHECKPOINT, CONFIG, FINETUNE = "model.ckpt", "config.yaml", "finetune"


class OneShot:
    """Compression of a checkpoint.

    Args:
        title: of the report.
        cli: with the checkpoint's task, its rows loaded, and data.
        content: of the checkpoint.
        counts: folder of counts; None for that of the data.
        seed: of what is sampled.

    Raises:
        ValueError: on a task that is neither CTRTask nor NextItemTask, a precision that rounds its tables, or data
            without rows to measure on.
    """

    def __init__(self, title: str, cli: RecsysCLI, content: Mapping[str, Any], counts: Path | None, seed: int) -> None:
        task, data = cli.model, cli.datamodule
        quality_of(task)
        bf16 = scores_in_bf16(cli.trainer)
        if not measured_splits(data):
            raise ValueError(f"'{data.schema.path}' has no rows in val or test, on which compression is measured.")
        self._title, self._cli, self._content = title, cli, content
        self._model = TrainedModel(task, data, counts_of(task, data, counts), seed, bf16)
        tables = {feature.table: task.collection.table(feature.table) for feature in task.collection.features}
        self._trained_bytes = stored_bytes(tables)

    @property
    def full_bytes(self) -> int:
        """Of the V x D matrices that the tables stand for."""
        return self._model.full_bytes

    def run(
        self,
        methods: Sequence[Method],
        budget_bytes: int | None,
        sweep: Sequence[int],
        metric: str | None,
        out: Path,
        finetune_epochs: int = 0,
    ) -> None:
        """Try, choose, write.

        Args:
            methods: to try; one alone must meet the budget.
            budget_bytes: of the checkpoint that is written; None writes none.
            sweep: budgets to measure besides.
            metric: by which the one that surely loses least is chosen on the val split; None for the task's first.
            out: folder for the checkpoint, its config and the report.
            finetune_epochs: epochs to train what was chosen; it is kept if it validates better.

        Raises:
            BudgetError: if no method meets the budget.
            ValueError: if the task has no such metric, the data no rows to choose by, or the trainer leaves no
                checkpoint to choose.
        """
        metric = self._checked(metric)
        if finetune_epochs:
            check_run(self._cli.trainer)
        if budget_bytes is not None and (len(methods) > 1 or finetune_epochs):
            self._require_val("--finetune" if finetune_epochs else "--method auto")
        tables = self._model.tables(any(method.needs_column_values for method in methods))
        runner = Trials(self._model)
        tried = [self._try(runner.run(methods, tables, each)) for each in sweep]
        winner = None
        if budget_bytes is not None:
            here, why = self._try(runner.run(methods, tables, budget_bytes))
            if not here:
                raise min(why, key=lambda error: error.smallest_bytes)
            winner = best(here, metric)
            tried.append((here, why))
        trials = [trial for found, _ in tried for trial in found]
        out.mkdir(parents=True, exist_ok=True)
        if winner is not None:
            self._write(winner, out)
            if finetune_epochs:
                tuned = self._finetune(winner, out, finetune_epochs, runner)
                trials.append(tuned)
                if tuned.quality(metric) > winner.quality(metric):
                    winner = tuned
                    write(out / CHECKPOINT, checkpoint_of(self._model.task, read(out / FINETUNE / MODEL)))
        self._report(trials, winner, [str(error) for _, refused in tried for error in refused], out)

    def _report(self, trials: Sequence[Trial], winner: Trial | None, refused: Sequence[str], out: Path) -> None:
        """Write and print what was tried, what was chosen and what could not be."""
        report = CompressionReport(
            self._title,
            self.full_bytes,
            self._trained_bytes,
            trials,
            self._model.quality.metrics,
            None if winner is None else trials.index(winner),
            refused,
            self._pictures(winner),
        )
        report.write(out)
        report.print()
        print(f"report: {out / 'report.html'}")

    def _checked(self, metric: str | None) -> str:
        known = self._model.quality.metrics
        if metric is not None and metric not in known:
            raise ValueError(
                f"--metric '{metric}' is none of a {type(self._model.task).__name__}; give {' or '.join(known)}."
            )
        return metric or known[0]

    def _require_val(self, option: str) -> None:
        """Refuse what is chosen by the val split where there is none."""
        data = self._model.data
        if "val" not in measured_splits(data):
            raise ValueError(
                f"{option} chooses by the val split, of which '{data.schema.path}' has no rows; give one --method "
                "and no --finetune, or data with rows for val."
            )

    def _try(self, found: Iterable[Trial | BudgetError]) -> tuple[list[Trial], list[BudgetError]]:
        """What methods gave, each printed when it is there, and why others gave nothing."""
        trials: list[Trial] = []
        refused: list[BudgetError] = []
        for each in found:
            if isinstance(each, Trial):
                trials.append(each)
                first = self._model.quality.metrics[0]
                split, values = ("val", each.val) if each.val else ("test", each.test)
                print(f"{each.method}: {each.num_bytes:,} bytes, {split} {SHOWN[first]} {values[first].second:.5f}")
            else:
                refused.append(each)
        return trials, refused

    def _pictures(self, winner: Trial | None) -> dict[str, Any]:
        if winner is None:
            return {}
        return kept_figures({name: table for name, (table, _) in winner.compressed.items()}, self._model.counts)

    def _finetune(self, winner: Trial, out: Path, epochs: int, runner: Trials) -> Trial:
        """Train the compressed model on, with the config's optimizers."""
        started = time.perf_counter()
        command = ["-c", str(out / CONFIG), f"--trainer.max_epochs={epochs}"]
        fit(command, out / FINETUNE, read(out / CHECKPOINT)["state_dict"])
        self._model.use(winner.compressed)
        self._model.task.load_state_dict(read(out / FINETUNE / MODEL)["state_dict"])
        found = runner.compare()
        return replace(
            winner,
            method=f"{winner.method}, fine-tuned",
            seconds=time.perf_counter() - started,
            val=found["val"],
            test=found.get("test", {}),
        )

    def _write(self, winner: Trial, out: Path) -> None:
        self._model.use(winner.compressed)
        write(out / CHECKPOINT, checkpoint_of(self._model.task, self._content))
        write_config(self._cli, out / CHECKPOINT, out / CONFIG)
        print(
            f"{winner.method}: {winner.num_bytes:,} bytes of tables; lightning test -c {out / CONFIG} "
            f"--ckpt_path {out / CHECKPOINT}"
        )
