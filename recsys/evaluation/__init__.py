"""Offline evaluation of predictions, without torch: exact metrics, intervals, slices, comparisons and a report."""

from recsys.evaluation.auc import Comparison, Interval, auc, auc_interval, compare_auc
from recsys.evaluation.calibration import Reliability, reliability
from recsys.evaluation.external import pair_counts_of_batches
from recsys.evaluation.files import Names, PredictionFiles, Rows
from recsys.evaluation.grouped import GroupedAUC, gauc
from recsys.evaluation.lists import ListMetrics, list_metrics
from recsys.evaluation.means import log_loss, normalised_entropy, rmse
from recsys.evaluation.precision_recall import average_precision, roc_points

__all__ = [
    "Comparison",
    "GroupedAUC",
    "Interval",
    "ListMetrics",
    "Names",
    "PredictionFiles",
    "Reliability",
    "Rows",
    "auc",
    "auc_interval",
    "average_precision",
    "compare_auc",
    "gauc",
    "list_metrics",
    "log_loss",
    "normalised_entropy",
    "pair_counts_of_batches",
    "reliability",
    "rmse",
    "roc_points",
]
