"""Lightning modules and callbacks: the only code that joins tables, a model, a loss and metrics."""

from recsys.tasks.averaging import WeightEMA
from recsys.tasks.base import TableTask
from recsys.tasks.baseline_metrics import BaselineMetrics
from recsys.tasks.ctr import CTRTask
from recsys.tasks.next_item import NextItemTask
from recsys.tasks.objectives import MaskedItems, NextItem, Objective
from recsys.tasks.pisa import PISATask
from recsys.tasks.predictions import PredictionWriter
from recsys.tasks.rows import TableOptions
from recsys.tasks.saved import SavedTable
from recsys.tasks.session import SessionTask
from recsys.tasks.summary import TableSummary
from recsys.tasks.throughput import Throughput

__all__ = [
    "BaselineMetrics",
    "CTRTask",
    "MaskedItems",
    "NextItem",
    "NextItemTask",
    "Objective",
    "PISATask",
    "PredictionWriter",
    "SavedTable",
    "SessionTask",
    "TableOptions",
    "TableSummary",
    "TableTask",
    "Throughput",
    "WeightEMA",
]
