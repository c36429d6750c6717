"""What simple recommenders reach on the same split, beside the model."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table as RichTable

from recsys.argument_types import typed
from recsys.baselines import Baseline, baseline_metrics, default_baselines
from recsys.data.session import SessionDataModule, SessionSplit
from recsys.human import console

SHOWN = ("hr@10", "ndcg@10", "mrr@10")


class BaselineMetrics(Callback):
    """Logs and prints metrics of baselines before training (on val) and before testing (on test).

    They are logged as val/item_knn/ndcg@10 and so on. Does nothing where the data are not sessions.

    Args:
        baselines: what runs; by default MostPopular, PersonalPopular, BaseLevel and ItemKNN. Empty turns it off.
    """

    @typed
    def __init__(self, baselines: Sequence[Baseline] | None = None) -> None:
        self.baselines = default_baselines() if baselines is None else tuple(baselines)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the first training batch, unless a run is only tried out."""
        if not getattr(trainer, "fast_dev_run", False):
            self._log(trainer, "val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the first test batch."""
        self._log(trainer, "test")

    def _log(self, trainer: Trainer, split: SessionSplit) -> None:
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, SessionDataModule) or not self.baselines:
            return
        found = baseline_metrics(data, split, self.baselines, trainer.global_rank, trainer.world_size)
        if not trainer.is_global_zero:
            return
        values = {f"{split}/{name}/{key}": value for name, of in found.items() for key, value in of.items()}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        console().print(render(found, split))


def render(found: dict[str, dict[str, float]], split: str) -> RichTable:
    """The main metrics as a table to print."""
    view = RichTable(title=f"Baselines on {split}")
    view.add_column("baseline")
    # A list is no longer than the catalogue, so that coverage may be one at fewer than 10 items.
    shown = [*SHOWN, *(key for key in next(iter(found.values())) if key.startswith("coverage@"))]
    for heading in shown:
        view.add_column(heading, justify="right")
    for name, metrics in found.items():
        view.add_row(name, *(f"{metrics[key]:.4f}" for key in shown))
    return view
