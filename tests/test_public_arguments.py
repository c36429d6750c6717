"""Whatever is public refuses, by name, an argument of another type than its annotation says."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys import baselines, evaluation, losses, models, tasks
from recsys.argument_types import check_types
from recsys.comparison import pareto_front
from recsys.data import Column, CTRDataModule, SessionDataModule, SessionSplitInfo, SplitInfo
from recsys.description import effective_rank
from recsys.metrics.next_item import RankingMetrics
from recsys.planning import allocate
from recsys.tables import (
    CodeFile,
    FbgemmLookup,
    FullTable,
    NumbaLookup,
    Sharding,
    StoredCodes,
    StoredVectors,
    TableSharding,
    TorchLookup,
    VectorFile,
    quantized,
    served,
)

LABELS, SCORES = np.array([0, 1]), np.array([0.1, 0.2])
VALUES = {
    **{"num_features": 3, "embedding_dim": 8, "num_dense": 2, "max_length": 5, "num_items": 4, "num_rows": 3},
    **{"labels": LABELS, "scores": SCORES, "probabilities": SCORES, "first": SCORES, "second": SCORES},
    **{"groups": LABELS, "queries": LABELS, "ranks": LABELS + 1, "scoring": losses.DotProduct()},
    **{"num_bytes": [1.0], "quality": [1.0], "label_rate": 0.5, "num_events": 2, "num_targets": 1, "width": 4},
    **{"num_levels": 2, "num_codes": 4, "path": "nowhere", "paths": [Path("nowhere")], "names": evaluation.Names()},
    **{"items": torch.ones(3, 2), "hidden": torch.ones(3, 2), "vectors": torch.ones(3, 2)},
    **{"item_counts": torch.tensor([0, 1, 2]), "model": partial(models.DeepFM, hidden_dims=[4]), "columns": []},
    **{"tables": {}, "optimizers": {}, "reads": {}, "budget_bytes": 100, "name": "a", "kind": "dense"},
}
MATRICES = {"queries": torch.ones(3, 2), "targets": torch.tensor([0, 1, 2])}
MODELS = [*models.CLICK_MODELS, *models.SESSION_MODELS, models.SumFusion, models.ConcatFusion]
LOSSES = [losses.GBCE, losses.BinaryCrossEntropy, losses.SampledSoftmax, losses.FullCrossEntropy, losses.Cosine]
SAMPLERS = [losses.UniformSampler, losses.PopularitySampler, losses.Catalogue, losses.item_side, losses.query_side]
TASKS = [tasks.CTRTask, tasks.NextItemTask, tasks.PISATask, tasks.MaskedItems, tasks.WeightEMA, tasks.Throughput]
CALLBACKS = [tasks.TableSummary, tasks.BaselineMetrics, tasks.PredictionWriter, RankingMetrics]
DATA = [CTRDataModule, SessionDataModule, Column, SplitInfo, SessionSplitInfo]
BASELINES = [baselines.BaseLevel, baselines.ItemKNN, allocate, pareto_front, effective_rank]
METRICS = [evaluation.log_loss, evaluation.rmse, evaluation.normalised_entropy, evaluation.calibration]
INTERVALS = [evaluation.auc_interval, evaluation.calibration_error, evaluation.compare_auc, evaluation.reliability]
EVALUATION = [evaluation.roc_points, evaluation.ranking_metrics, evaluation.list_metrics, evaluation.PredictionFiles]
TABLES = [CodeFile, VectorFile, StoredCodes, StoredVectors, Sharding, TableSharding]
LOOKUPS = [TorchLookup, NumbaLookup, FbgemmLookup]
PUBLIC = [
    *MODELS,
    *LOSSES,
    *SAMPLERS,
    *TASKS,
    *CALLBACKS,
    *DATA,
    *BASELINES,
    *METRICS,
    *INTERVALS,
    *EVALUATION,
    *TABLES,
    *LOOKUPS,
    evaluation.Names,
]


def takes_all(callable_, name):
    try:
        check_types("", callable_, {name: object()})
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("public", PUBLIC, ids=lambda each: each.__name__)
def test_no_argument_is_of_any_type(public):
    parameters = inspect.signature(public).parameters
    required = {name: VALUES[name] for name, each in parameters.items() if each.default is inspect.Parameter.empty}
    refused = [name for name in parameters if not takes_all(public, name)]
    assert refused
    for name in refused:
        with pytest.raises(ValueError, match=rf"\b{name} must be .*, got <object"):
            public(**{**required, name: object()})


@pytest.mark.parametrize("public", [losses.linear_cross_entropy, losses.log_totals], ids=lambda each: each.__name__)
def test_no_matrix_of_a_loss_is_of_any_type(public):
    for name in inspect.signature(public).parameters:
        given = {"items": torch.ones(3, 2), **MATRICES, name: object()}
        with pytest.raises(ValueError, match=f"{name} must be a Tensor, got <object"):
            public(**{key: given[key] for key in inspect.signature(public).parameters})


@pytest.mark.parametrize("public", [served, quantized], ids=lambda each: each.__name__)
def test_what_is_served_is_a_collection(public):
    with pytest.raises(ValueError, match=f"{public.__name__}: collection must be TableCollection, got FullTable"):
        public(FullTable("f", 5, 2))
