"""Losses of next-item prediction, how scores are made, and where negatives come from."""

from recsys.losses.base import Catalogue, ItemReader, Loss, Reading
from recsys.losses.full import FullCrossEntropy
from recsys.losses.sampled import GBCE, BinaryCrossEntropy, SampledLoss, SampledSoftmax
from recsys.losses.samplers import InBatchSampler, PopularitySampler, Sampler, UniformSampler
from recsys.losses.scoring import Cosine, DotProduct, Scoring, item_side, query_side
from recsys.losses.totals import linear_cross_entropy, log_totals

__all__ = [
    "GBCE",
    "BinaryCrossEntropy",
    "Catalogue",
    "Cosine",
    "DotProduct",
    "FullCrossEntropy",
    "InBatchSampler",
    "ItemReader",
    "Loss",
    "PopularitySampler",
    "Reading",
    "SampledLoss",
    "SampledSoftmax",
    "Sampler",
    "Scoring",
    "UniformSampler",
    "item_side",
    "linear_cross_entropy",
    "log_totals",
    "query_side",
]
